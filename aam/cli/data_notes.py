"""Notes of `aam.workflows.notes` for commands that print them themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aam.cli.terminal import TERMINAL

if TYPE_CHECKING:
    from aam.io.table import Table
    from aam.models.chunked_encoder import ChunkedEncoder


def tell_data(table: Table, dropped: Mapping[str, Sequence[str]]) -> None:
    """What was left out of a table, and reasons to doubt it, on stderr."""
    from aam.workflows import notes

    notes.say_dropped(dropped, TERMINAL)
    notes.warn_of_doubtful_counts(table, TERMINAL)


def tell_dropped(dropped: Mapping[str, Sequence[str]]) -> None:
    """One line on stderr for each reason why something was left out, with the first ids."""
    from aam.workflows import notes

    notes.say_dropped(dropped, TERMINAL)


def tell_misfit(encoder: ChunkedEncoder, sequences: Sequence[str]) -> None:
    """Warn on stderr where ASVs are from another region, or the other strand, than those the encoder has learned."""
    from aam.workflows import notes

    notes.warn_of_other_region(encoder, sequences, TERMINAL)
