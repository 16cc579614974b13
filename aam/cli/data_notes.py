"""What commands say of the data they are given, on stderr: what was left out, what is new to a model, what to doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aam.text import QUOTED, counted, cut, few

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aam.inference.known_asvs import KnownASVs
    from aam.io.table import Table
    from aam.models.chunked_encoder import ChunkedEncoder


SHOWN = 3
"""Ids that are named of all that were left out for one reason."""


def tell_data(table: Table, dropped: Mapping[str, Sequence[str]]) -> None:
    """What was left out of a table, and reasons to doubt it, on stderr."""
    tell_dropped(dropped)
    for text in table.doubts():
        click.echo(f"Warning: {text}", err=True)


def tell_dropped(dropped: Mapping[str, Sequence[str]]) -> None:
    """One line on stderr for each reason why something was left out, with the first ids."""
    for reason, ids in dropped.items():
        shown = few([cut(name, QUOTED) for name in ids], SHOWN)
        click.echo(f"left out: {counted(len(ids), reason)} ({shown})", err=True)


def share_text(known: KnownASVs, asked: NDArray[np.uint64]) -> str:
    """How many of the ASVs, hashes [A], were in training, in words; empty where that cannot be told."""
    share = known.share(asked)
    return "" if share is None else f"{share:.0%} of the {len(asked):,} ASVs were in training"


def tell_known(checkpoint: Path, tokens: NDArray[np.uint8]) -> None:
    """Say on stderr how many of the ASVs, tokens [A, L], were in training, where that is known."""
    from aam.inference.known_asvs import hashes_of, read_known

    known = read_known(checkpoint)
    if known is not None and (text := share_text(known, hashes_of(tokens))):
        click.echo(text, err=True)


def tell_misfit(encoder: ChunkedEncoder, sequences: Sequence[str]) -> None:
    """Warn on stderr where ASVs are from another region, or the other strand, than those the encoder has learned."""
    from aam.inference.known_asvs import misfit

    if text := misfit(encoder, sequences):
        click.echo(f"Warning: {text}", err=True)


def tell_flattered(model: Path, scored: Sequence[str]) -> None:
    """Warn on stderr where samples that were scored had been trained on."""
    from aam.cli.study_folds import seen_in_training

    if seen := seen_in_training(model).intersection(scored):
        click.echo(
            f"Warning: {len(seen):,} of the {len(scored):,} samples that were scored had been trained on, which "
            "flatters these figures; those of samples never seen stand in metrics.json of the run",
            err=True,
        )
