"""What a command says of how many ASVs of a table its model has learned from, and whether it could have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aam.evaluation.known_asvs import KnownASVs
    from aam.models.chunked_encoder import ChunkedEncoder


def share_text(known: KnownASVs, asked: NDArray[np.uint64]) -> str:
    """How many of the ASVs, hashes [A], were in training, in words; empty where that cannot be told."""
    share = known.share(asked)
    return "" if share is None else f"{share:.0%} of the {len(asked):,} ASVs were in training"


def tell_known(checkpoint: Path, tokens: NDArray[np.uint8]) -> None:
    """Say on stderr how many of the ASVs, tokens [A, L], were in training, where that is known."""
    from aam.evaluation.known_asvs import hashes_of, read_known

    known = read_known(checkpoint)
    if known is not None and (text := share_text(known, hashes_of(tokens))):
        click.echo(text, err=True)


def tell_misfit(encoder: ChunkedEncoder, sequences: Sequence[str]) -> None:
    """Warn on stderr where ASVs are from another region, or the other strand, than those the encoder has learned."""
    from aam.evaluation.direction import misfit

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


def keep_known(checkpoint: Path, own: KnownASVs, start: Path | None) -> None:
    """Put what a model has learned from beside it, with that of the run whose encoder it began with, if with any.

    Where the latter is not known nothing is written.
    """
    from aam.checkpoint import find_members
    from aam.evaluation.known_asvs import read_known, write_known

    began = None if start is None else read_known(find_members(start)[0])
    if began is not None:
        own = own.joined(began)
    if began is not None or start is None:
        write_known(checkpoint, own)
