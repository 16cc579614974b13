"""What a command says of how many ASVs of a table its model has learned from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aam.evaluation.known_asvs import KnownASVs


def share_of(checkpoint: Path, tokens: NDArray[np.uint8]) -> float | None:
    """Part of some ASVs, tokens [A, L], that the model of a checkpoint has learned from; None where it is not known."""
    from aam.evaluation.known_asvs import read_known

    known = read_known(checkpoint)
    return None if known is None else known.share(tokens)


def share_text(share: float, asvs: int) -> str:
    """The part in words."""
    return f"{share:.0%} of the {asvs:,} ASVs were in training"


def tell_known(checkpoint: Path, tokens: NDArray[np.uint8]) -> None:
    """Say on stderr how many of the ASVs, tokens [A, L], were in training, where that is known."""
    share = share_of(checkpoint, tokens)
    if share is not None:
        click.echo(share_text(share, len(tokens)), err=True)


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
