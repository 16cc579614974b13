"""How names stand in messages, tables and figures: an id may be a whole sequence, and there may be thousands."""

from __future__ import annotations

from collections.abc import Sequence

QUOTED = 40
"""Characters of an id that a message shows."""


def cut(text: str, most: int) -> str:
    """A text in at most `most` characters, the last of them "…" where it has more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quote(text: str) -> str:
    """An id as it stands in a message: quoted, control characters escaped, cut to `QUOTED` characters."""
    return repr(cut(text, QUOTED))


def few(names: Sequence[str], most: int) -> str:
    """`a, b, c and 5 more`: at most so many of the names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
