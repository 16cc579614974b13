"""Conversion of Newick text to arrays and back, without recursion and with one pass of numpy over the bytes.

The structure of a tree is given by its parentheses and commas. Their positions are found in one pass and matched by
depth with two sorted searches; then names and lengths are cut out between them. 200,000 tips take about a second, also
in a tree that is as deep as it has tips.

It replaces the reader of scikit-bio, which builds a Python object for each node. Errors name the character.

Supported syntax: names in single quotes (`''` is a quote), comments in `[...]` (nested ones too), white space and
line breaks between tokens, lengths in any decimal notation. Underscores in names stay underscores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aam.phylogeny.newick_text import CLOSE, COLON, COMMA, END, OPEN, NewickText, quote_bytes

_SPECIAL = re.compile(r"[^A-Za-z0-9.+|-]")
"""Characters of names that are written in quotes."""
BYTES_AT_ONCE, NODES_AT_ONCE = 1 << 20, 1 << 13
"""Bytes and nodes processed together; they bound memory and change nothing."""


@dataclass(frozen=True)
class Newick:
    """A parsed tree of N nodes in postorder (children before parents, root last), its tips numbered from left to right.

    `first` and `last` int64 [N]: node k is above exactly the tips `first[k] <= tip < last[k]`. `parent` int64 [N], -1
    for the root. `length` float64 [N], NaN if `given` (bool [N]) is False. `start` int64 [N]: byte where the node's
    own text (name and length) begins. `tips` int64: the node of each tip.
    """

    tip_names: list[str]
    tips: np.ndarray
    first: np.ndarray
    last: np.ndarray
    parent: np.ndarray
    length: np.ndarray
    given: np.ndarray
    start: np.ndarray


@dataclass(frozen=True)
class _Marks:
    """Parentheses, commas, colons and the semicolon outside of quotes and comments, after one virtual leading comma.

    `at` int64 [M] byte positions (-1 for the virtual one), `kind` uint8 [M], `depth` int64 [M] open parentheses after
    it.
    """

    at: np.ndarray
    kind: np.ndarray
    depth: np.ndarray


def parse_newick(data: bytes, source: str) -> Newick:
    """Parse one Newick tree; `source` names it in messages.

    Raises `TreeError` for text that is no Newick, unbalanced parentheses, a missing semicolon, a second tree, tips
    without a name, lengths that are not numbers. `aam.phylogeny.tree` checks what UniFrac needs
    of a well-formed tree.
    """
    text = NewickText(data, source)
    marks = _marks(text)
    ends = np.flatnonzero((marks.kind == COMMA) | (marks.kind == CLOSE) | (marks.kind == END))[1:]
    given = marks.kind[ends - 1] == COLON
    begins = ends - 1 - given
    if (marks.kind[begins] == COLON).any():
        text.fail(int(marks.at[begins[marks.kind[begins] == COLON][0]]), "found a second ':' in one node")
    is_tip = marks.kind[begins] != CLOSE
    first, last, parent = _ranges(marks, ends, begins, is_tip)
    start, name_end = marks.at[begins] + 1, np.where(given, marks.at[ends - 1], marks.at[ends])
    length, given = _lengths(text, name_end + 1, marks.at[ends], given)
    tips = np.flatnonzero(is_tip)
    names = [text.name(begin, end) for some in _pieces(tips) for begin, end in _spans(start[some], name_end[some])]
    if "" in names:
        text.fail(int(start[tips[names.index("")]]), "found a tip without a name; every tip needs the id of its ASV")
    return Newick(names, tips, first, last, parent, length, given, start)


def _marks(text: NewickText) -> _Marks:
    """Find and check the structure of the tree."""
    meaning = np.zeros(256, dtype=bool)
    meaning[[OPEN, CLOSE, COMMA, COLON, END]] = True
    pieces = range(0, text.skeleton.size, BYTES_AT_ONCE)
    at = np.concatenate(
        [np.flatnonzero(meaning[text.skeleton[start : start + BYTES_AT_ONCE]]) + start for start in pieces]
    )
    kind = text.skeleton[at]
    stops = np.flatnonzero(kind == END)
    stop = int(stops[0]) if stops.size else kind.size - 1
    at, kind = at[: stop + 1], kind[: stop + 1]
    depth = np.cumsum((kind == OPEN).astype(np.int64) - (kind == CLOSE))
    _check_balance(text, at, kind, depth, ended=bool(stops.size))
    if rest := text.text[at[-1] + 1 :].strip():
        text.fail(
            int(at[-1]) + 1,
            f"found {quote_bytes(rest, 20)} after the ';' that ends the tree; keep one tree in the file",
        )
    at, kind, depth = np.r_[-1, at], np.r_[np.uint8(COMMA), kind], np.r_[0, depth]
    _check_openings(text, at, kind)
    stray = np.flatnonzero((kind == COMMA) & (depth == 0))[1:]
    if stray.size:
        text.fail(
            int(at[stray[0]]), "found ',' outside the outermost parentheses; expected ';' or one more pair of them"
        )
    return _Marks(at, kind, depth)


def _check_balance(text: NewickText, at: np.ndarray, kind: np.ndarray, depth: np.ndarray, ended: bool) -> None:
    if (depth < 0).any():
        text.fail(int(at[np.argmax(depth < 0)]), "found ')' without its '('; the parentheses are unbalanced")
    if not ended:
        text.fail(text.data.size, "the tree ends without ';'; the file may be cut off, write it again")
    if depth[-1] > 0:
        never_closed = np.minimum.accumulate(depth[::-1])[::-1] >= depth
        place = int(at[np.argmax(never_closed & (kind == OPEN))])
        text.fail(place, f"found '(' without its ')'; the parentheses are unbalanced by {depth[-1]:,}")


def _check_openings(text: NewickText, at: np.ndarray, kind: np.ndarray) -> None:
    """A '(' may follow '(' or ',' only, with nothing but white space between."""
    opens = np.flatnonzero(kind == OPEN)
    before = kind[opens - 1]
    wrong = opens[(before != OPEN) & (before != COMMA)]
    if wrong.size:
        found = chr(kind[wrong[0] - 1])
        text.fail(int(at[wrong[0]]), f"found '(' after '{found}'; expected ',' between siblings")
    for mark in opens[at[opens] - at[opens - 1] > 1].tolist():
        if between := text.text[at[mark - 1] + 1 : at[mark]].strip():
            text.fail(
                int(at[mark]), f"found {quote_bytes(between, 20)} before '('; a name stands after the ')' of its node"
            )


def _ranges(
    marks: _Marks, ends: np.ndarray, begins: np.ndarray, is_tip: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`first`, `last`, `parent` int64 [N] of the nodes whose text lies between marks `begins` and `ends`, in text
    order.

    Text order is postorder. Brackets are matched by sorting them by (depth, position): the bracket that closes a level
    is the first of its depth after a place, the one that opened it the last of its depth before.
    """
    span = marks.kind.size + 1
    closes, opens = np.flatnonzero(marks.kind == CLOSE), np.flatnonzero(marks.kind == OPEN)
    close_keys, open_keys = marks.depth[closes] * span + closes, marks.depth[opens] * span + opens
    close_order, open_order = np.argsort(close_keys), np.argsort(open_keys)
    node_of_close = np.full(span, -1)
    inner = ~is_tip
    node_of_close[begins[inner]] = np.flatnonzero(inner)

    own_depth = marks.depth[ends] + (marks.kind[ends] == CLOSE)
    parent = np.full(ends.size, -1)
    above = np.searchsorted(close_keys[close_order], (own_depth[:-1] - 1) * span + ends[:-1])
    parent[:-1] = node_of_close[closes[close_order[above]]]

    last = np.cumsum(is_tip)
    tips_before = np.zeros(span, dtype=np.int64)
    tips_before[ends + 1] = is_tip
    tips_before = np.cumsum(tips_before)
    first = last - 1
    closing = begins[inner]
    opening = np.searchsorted(open_keys[open_order], (marks.depth[closing] + 1) * span + closing) - 1
    first[inner] = tips_before[opens[open_order[opening]]]
    return first, last, parent


def _lengths(text: NewickText, begin: np.ndarray, end: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Branch lengths float64 [N] (NaN if there is none) and which are given bool [N]; 'a:' counts as not given."""
    length, given = np.full(given.size, np.nan), given.copy()
    for nodes in _pieces(np.flatnonzero(given)):
        written = [text.text[a:b] for a, b in _spans(begin[nodes], end[nodes])]
        numbers = _numbers(written)
        if numbers is None:
            blank = np.fromiter((not number.strip() for number in written), dtype=bool, count=len(written))
            given[nodes[blank]] = False
            nodes, written = nodes[~blank], [number for number in written if number.strip()]
            numbers = _numbers(written)
        if numbers is None:
            wrong = next(place for place, number in enumerate(written) if _numbers([number]) is None)
            found = quote_bytes(written[wrong].strip(), 30)
            text.fail(
                int(begin[nodes[wrong]]), f"found the branch length {found}; expected a number such as 0.01 or 1e-2"
            )
        length[nodes] = numbers
    return length, given


def _numbers(written: list[bytes]) -> list[float] | None:
    """The numbers of these texts, None if one is not a number."""
    try:
        return None if b"_" in b" ".join(written) else [float(number) for number in written]  # to Python 1_0 is 10
    except ValueError:
        return None


def _pieces(places: np.ndarray) -> Iterator[np.ndarray]:
    """Blocks of `NODES_AT_ONCE`, since Python objects take much more memory than array elements."""
    for start in range(0, len(places), NODES_AT_ONCE):
        yield places[start : start + NODES_AT_ONCE]


def _spans(begin: np.ndarray, end: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs of Python integers, which slice faster than numpy ones."""
    return zip(begin.tolist(), end.tolist(), strict=True)


def quote_name(name: str) -> str:
    """A name as Newick text that every reader takes back to the same: in single quotes, if a character needs them.

    To scikit-bio an underscore outside of quotes is a blank.
    """
    return "'" + name.replace("'", "''") + "'" if _SPECIAL.search(name) else name


def format_newick(
    names: Sequence[str], first: np.ndarray, last: np.ndarray, length: np.ndarray, marks: Sequence[str] = ()
) -> str:
    """Newick text of a tree given as in `Newick`, [N] each, lengths with all their digits; `names` must need no quotes.

    `marks` [N], if given, stand behind the lengths, such as the edge numbers of a jplace file.
    The nodes come in postorder. One pass over the tips: before a tip stand the parentheses of the nodes that begin with
    it, after it those of the nodes that end with it.
    """
    tip_of = np.searchsorted(last, np.arange(1, len(names) + 1))
    inner = np.ones(len(first), dtype=bool)
    inner[tip_of] = False
    opening = np.bincount(first[inner], minlength=len(names)).tolist()
    pieces, written = [], list(map(repr, np.array(length, dtype=float).tolist()))
    if len(marks):
        written = [text + mark for text, mark in zip(written, marks, strict=True)]
    bounds = np.r_[tip_of, len(first)].tolist()
    for tip, name in enumerate(names):
        pieces.append(f"{',' if tip else ''}{'(' * opening[tip]}{name}:{written[bounds[tip]]}")
        pieces.extend(f"):{written[node]}" for node in range(bounds[tip] + 1, bounds[tip + 1]))
    return "".join(pieces) + ";"
