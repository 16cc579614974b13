"""Text of a Newick file: its structural bytes, its names, and positions of faults for messages."""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np

from aam.errors import TreeError
from aam.text import quote

MAX_BYTES = 2**30
"""Largest Newick text that is parsed: one GiB holds about 20 million tips."""
OPEN, CLOSE, COMMA, COLON, END, QUOTE, BRACKET_OPEN, BRACKET_CLOSE = (ord(character) for character in "(),:;'[]")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HIDDEN = ord("x")
"""Stands in the skeleton for each byte of a quoted name; any byte without a meaning of its own would do."""
BEGINNING = 1 << 22
"""Bytes of a tree, before which a comma stands: even of a ladder of a million tips."""
MAX_TIPS = 1 << 25
FREE_MARKS = 1 << 20
_MOST_PER_TIP = {b"(": 2, b")": 2, b":": 32, b"[": 8, b"]": 8, b"'": 16}
"""Most of a character for each tip, beyond `FREE_MARKS`: parentheses alone would take 50 times their size in memory."""
_EDGE_NUMBER = re.compile(rb":[0-9.eE+-]+\{[0-9]+\}")
"""A branch length with the number of an edge, as the trees of jplace files have."""


class NewickText:
    """The bytes of a tree with comments blanked; `fail` raises for a place in them.

    `data` uint8 has the bytes of `text`; in `skeleton` uint8 the bytes inside quoted names are replaced.
    Without comments and quotes all share the memory of the given text, which is 40 MB for a tree of 200,000 tips.
    """

    def __init__(self, raw: bytes, source: str):
        _refuse_other_texts(raw, source)
        self.raw, self.source = raw.removeprefix(BYTE_ORDER_MARK), source
        self.text = self.raw
        self.data = self.skeleton = np.frombuffer(self.raw, dtype=np.uint8)
        if any(mark in self.raw for mark in (b"'", b"[", b"]")):
            self.data = self.data.copy()
            quoted = self._blank_comments()
            self.skeleton = self.data.copy()
            for begin, end in quoted:
                self.skeleton[begin:end] = HIDDEN
            self.text = self.data.tobytes()

    def fail(self, at: int, problem: str) -> NoReturn:
        """Raise `TreeError` for byte `at`; the message has the 1-based character position."""
        raise TreeError(f"{self.source}, character {character_number(self.raw, at):,}: {problem}")

    def name(self, begin: int, end: int) -> str:
        """The name written in bytes [begin, end): outer white space and quotes removed, decoded as UTF-8."""
        try:
            name = self.text[begin:end].strip().decode()
        except UnicodeDecodeError:
            self.fail(begin, "the name is not UTF-8 text; save the tree as UTF-8")
        if not name.startswith("'"):
            return name
        if not name.endswith("'"):
            self.fail(begin, f"found text after the closing quote of {quote(name)}; quote the whole name")
        return name[1:-1].replace("''", "'")

    def _blank_comments(self) -> list[tuple[int, int]]:
        """Overwrite comments in `data` with spaces; return the byte ranges of quoted names."""
        special = np.flatnonzero((self.data == QUOTE) | (self.data == BRACKET_OPEN) | (self.data == BRACKET_CLOSE))
        quoted, resume, comment, depth = [], 0, 0, 0
        for at in special.tolist():
            found = self.raw[at]
            if at < resume:
                continue
            if found == BRACKET_OPEN:
                comment = at if depth == 0 else comment
                depth += 1
            elif found == BRACKET_CLOSE and depth > 0:
                depth -= 1
                if depth == 0:
                    self.data[comment : at + 1] = ord(" ")
            elif found == QUOTE and depth == 0 and self._begins_name(at):
                resume = self._quote_end(at)
                quoted.append((at, resume))
        if depth:
            self.fail(comment, "a comment begins here and never ends; add the closing ']'")
        return quoted

    def _begins_name(self, at: int) -> bool:
        """Whether the quote at byte `at` opens a quoted name; inside a name, as in 5'-end, it is an ordinary letter."""
        before = at - 1
        while before >= 0 and chr(self.data[before]).isspace():
            before -= 1
        return before < 0 or self.data[before] in (OPEN, CLOSE, COMMA, COLON)

    def _quote_end(self, at: int) -> int:
        """Byte after the quote that closes the one at `at`; a doubled quote does not close."""
        closing = self.raw.find(b"'", at + 1)
        while closing >= 0 and self.raw[closing + 1 : closing + 2] == b"'":
            closing = self.raw.find(b"'", closing + 2)
        if closing < 0:
            self.fail(at, "a quoted name begins here and never ends; add the closing single quote")
        return closing + 1


def character_number(raw: bytes, at: int) -> int:
    """The 1-based number of the character that begins at byte `at`, not counting a byte order mark."""
    return len(raw.removeprefix(BYTE_ORDER_MARK)[:at].decode("utf-8", errors="replace")) + 1


def quote_bytes(text: bytes, most: int) -> str:
    """The first bytes of a text for a message."""
    return repr(text[:most].decode("latin-1"))


def check_tree_size(size: int, source: str) -> None:
    """Refuse a tree of more than `MAX_BYTES` bytes; raises `TreeError`."""
    if size > MAX_BYTES:
        raise TreeError(
            f"{source}: the tree is {size / 2**30:.1f} GiB of text, more than {MAX_BYTES / 2**30:.0f} GiB; "
            "reduce it to the features of the table first (`qiime phylogeny filter-tree`)"
        )


def check_beginning(head: bytes, source: str) -> None:
    """Refuse a tree whose first `BEGINNING` bytes, `head`, have no second tip; raises `TreeError`."""
    if len(head) == BEGINNING and b"," not in head:
        raise TreeError(
            f"{source}: the first {BEGINNING >> 20} MiB are {quote_bytes(head, 20)} and more without a comma, as in no "
            "tree of sequences; give the tree that was made from the ASVs"
        )


def _refuse_other_texts(data: bytes, source: str) -> None:
    check_tree_size(len(data), source)
    if not data.removeprefix(BYTE_ORDER_MARK)[:512].strip() and not data.removeprefix(BYTE_ORDER_MARK).strip():
        raise TreeError(f"{source}: the file is empty; expected a Newick tree such as ((a:1,b:1):1,c:2);")
    if b"{" in data and _EDGE_NUMBER.search(data):
        raise TreeError(
            f"{source}: these are placements on a tree (jplace), not a tree: its branches are numbered; "
            "graft them onto it first (`gappa examine graft`)"
        )
    tips = data.count(b",") + 1
    if tips > MAX_TIPS:
        raise TreeError(
            f"{source}: {tips:,} tips by its commas, more than the {MAX_TIPS:,} that are read; reduce the tree to the "
            "features of the table first (`qiime phylogeny filter-tree`)"
        )
    for mark, most in _MOST_PER_TIP.items():
        if (found := data.count(mark)) > most * tips + FREE_MARKS:
            raise TreeError(
                f"{source}: {found:,} {mark.decode()!r} for {tips:,} tips, as no tree of sequences has; give the tree "
                "that was made from the ASVs"
            )
