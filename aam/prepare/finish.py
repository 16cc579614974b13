"""What needs all tables: ids without doubles, tokens of one length, the tree of all; then the corpus is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aam.data.ids import quote
from aam.data.texts import Texts
from aam.data.tokenizer import tokenize
from aam.errors import CorpusError
from aam.prepare.part import WORKING, Growing, add_tree
from aam.prepare.sources import Source

PIECE = 1 << 16
"""Sequences whose tokens are in memory at a time."""


def finish(growing: Growing, sources: Sequence[Source], say: Callable[[str], None]) -> None:
    """Complete the corpus and say what it holds."""
    raw = Texts(growing.array("ids.text").read(), growing.array("ids.bounds").read())
    study = growing.array("samples.study").read()
    ids, by_id = unique_ids(list(raw), [sources[number].name for number in study.tolist()], say)
    growing.append_texts("samples", ids)
    growing.append(samples_by_id=by_id)
    longest = add_tokens(growing)
    if growing.tree is not None:
        leaves = growing.array("leaf").read()
        names = [growing.tree.tip_names[leaf] for leaf in leaves.tolist()]
        add_tree(growing, growing.tree, names, np.arange(len(names)))
    counts = {
        "samples": growing.array("samples.depth").rows, "ASVs": len(growing.index), "studies": len(sources),
        "trees": growing.array("trees.nodes").rows, "counts": growing.array("counts.data").rows,
    }  # fmt: skip
    working = tuple(name for name in WORKING if name != "leaf" or growing.tree is not None)
    growing.writer.complete({"longest": longest, "counts": counts}, without=working)


def unique_ids(
    ids: list[str], studies: Sequence[str], say: Callable[[str], None]
) -> tuple[list[str], NDArray[np.int64]]:
    """Ids [n] of samples of the named studies [n], and their numbers in the order of the ids.

    Those that occur in several studies begin with the study's name. Raises `CorpusError` where that is not enough.
    """
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    twice = repeated(ids, by_id)
    if not twice:
        return ids, by_id
    found = list(ids)
    for place in twice:
        found[place] = f"{studies[place]}.{ids[place]}"
    example = f"{quote(ids[twice[0]])} is now {quote(found[twice[0]])}"
    say(f"{len(twice):,} sample ids occur in several tables and begin with the table's name now, e.g. {example}")
    by_id = np.array(sorted(range(len(found)), key=found.__getitem__))
    if again := repeated(found, by_id):
        raise CorpusError(f"sample id {quote(found[again[0]])} occurs twice with the table's name; rename the sample")
    return found, by_id


def repeated(ids: Sequence[str], by_id: NDArray[np.int64]) -> list[int]:
    """The numbers, ascending, of ids that equal another; `by_id` has them sorted."""
    order = by_id.tolist()
    pairs = [(one, other) for one, other in pairwise(order) if ids[one] == ids[other]]
    return sorted({place for pair in pairs for place in pair})


def add_tokens(growing: Growing) -> int:
    """Write the tokens of all ASVs; returns the bases of the longest."""
    bounds = growing.array("asvs.bounds").read()
    texts = Texts(growing.array("asvs.text").read(), bounds)
    longest, max_bp = int(np.diff(bounds).max()), growing.writer.record["config"]["max_bp"]
    width = 1 + min(longest, max_bp)
    array = growing.writer.array("tokens", "|u1", (width,))
    for start in range(0, len(texts), PIECE):
        piece = tokenize(texts[start : start + PIECE], max_bp)
        rows = np.zeros((len(piece), width), np.uint8)
        rows[:, : piece.shape[1]] = piece
        array.append(rows)
    return longest
