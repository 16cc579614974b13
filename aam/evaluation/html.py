"""What a report is built of: titled parts, tables and pictures as HTML; text that is not its own is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

DASH = "–"
SCALE = 0.65
"""Pixels of the page for one of a picture, which is drawn with 150 to the inch."""


class Part(NamedTuple):
    """A titled piece of a report; one whose `body` is empty is left out."""

    title: str
    body: str


def section(part: Part) -> str:
    """A part with its heading, nothing where there is nothing to say."""
    return f"<section>\n<h2>{escape(part.title)}</h2>\n{part.body}\n</section>" if part.body else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of text, the first column left, the others right; nothing where there are no rows."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>" if body else ""


def text(words: str) -> str:
    """A paragraph, nothing without words."""
    return f"<p>{escape(words)}</p>" if words else ""


def folded(title: str, body: str) -> str:
    """What is shown on a click."""
    return f"<details>\n<summary>{escape(title)}</summary>\n{body}\n</details>" if body else ""


def number(value: Any, form: str) -> str:
    """A number in its format; text stays."""
    return form.format(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def picture(title: str, png: bytes, caption: str = "") -> Part:
    """A PNG that lies in the page, with what stands under it; all have the same scale, so that letters are alike."""
    data, width = base64.b64encode(png).decode("ascii"), int.from_bytes(png[16:20])  # of the header, after its name
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    image = f'<img alt="{escape(title)}" width="{round(SCALE * width)}" src="data:image/png;base64,{data}">'
    return Part(title, f"<figure>{image}{below}</figure>")
