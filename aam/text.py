"""Formatting of names and numbers in messages, tables and figures; an id may be a long sequence."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ANNOTATIONS = re.compile(r"(;(size|ee|length)=[0-9.eE+-]*)+;?$")
_OPTION = re.compile(r"`[^`]*`|(?<![\w-])--(no-)?([a-z][a-z0-9-]*)(?: (?=[A-Z]{2}|\d))?")
QUOTED = 40
"""Characters of an id that a message shows."""


def shorten(text: str, most: int) -> str:
    """Shorten a text to at most `most` characters; if it is longer, the last one is "…"."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def quote(text: str) -> str:
    """An id as it stands in a message: quoted, control characters escaped, cut to `QUOTED` characters."""
    return repr(shorten(text, QUOTED))


def without_annotations(text: str) -> str:
    """An id without what vsearch and usearch write behind it: "ASV1;size=12;ee=0.1;" is "ASV1"."""
    return _ANNOTATIONS.sub("", text) if ";" in text else text


def name_few(names: Sequence[str], most: int) -> str:
    """List at most `most` names: `a, b, c and 5 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def counted(count: int, things: str) -> str:
    """Number and plural noun, with the singular for 1: `1,200 samples without reads`, `1 sample without reads`."""
    noun, blank, rest = things.partition(" ")
    if count == 1:
        noun = f"{noun[:-3]}y" if noun.endswith("ies") else noun.removesuffix("s")
    return f"{count:,} {noun}{blank}{rest}"


def python_words(text: str) -> str:
    """A message of the command line for callers of functions: `max_minutes=3` for --max-minutes 3, `preflight=False`
    for --no-preflight. What stands in backquotes is a command, and stays."""

    def word(found: re.Match[str]) -> str:
        if found[2] is None:
            return found[0]
        name = found[2].replace("-", "_")
        return f"{name}=False" if found[1] else f"{name}=" if found[0].endswith(" ") else name

    return _OPTION.sub(word, text)


def one_line(value: object) -> str:
    """The text of an error, or of anything else, in one line."""
    return " ".join(str(value).split())


def table_text(rows: Sequence[Sequence[str]], indent: int = 2) -> str:
    """Rows of cells as aligned lines: the first column left, the others right, two blanks between columns.

    In a row with fewer cells, the last one is a remark: it is left-aligned and widens no column.
    """
    columns = max(map(len, rows), default=0)
    widths = [
        max((len(row[place]) for row in rows if place < len(row) and (place == 0 or len(row) == columns)), default=0)
        for place in range(columns)
    ]
    lines = []
    for row in rows:
        last = len(row) - 1 if 1 < len(row) < columns else columns
        cells = [
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)
