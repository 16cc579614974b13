"""How names and numbers stand in messages, tables and figures: an id may be a sequence, and there may be thousands."""

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


def counted(count: int, things: str) -> str:
    """`1,200 samples without reads`, `1 sample without reads`: a number, and what begins with a plural noun."""
    noun, blank, rest = things.partition(" ")
    if count == 1:
        noun = f"{noun[:-3]}y" if noun.endswith("ies") else noun.removesuffix("s")
    return f"{count:,} {noun}{blank}{rest}"


def one_line(value: object) -> str:
    """The text of an error, or of anything else, in one line."""
    return " ".join(str(value).split())
