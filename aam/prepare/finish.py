"""What needs all tables: ids without doubles, tokens of one length, the tree of all; then the corpus is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from aam.data.texts import Texts
from aam.data.tokenizer import tokenize
from aam.prepare.names import add_ids
from aam.prepare.part import WORKING, Growing, add_tree
from aam.prepare.sources import Source

PIECE = 1 << 16
"""Sequences whose tokens are in memory at a time."""


def finish(growing: Growing, sources: Sequence[Source], say: Callable[[str], None]) -> None:
    """Complete the corpus and say what it holds."""
    add_ids(growing, [source.name for source in sources], say)
    longest = add_tokens(growing)
    if growing.tree is not None:
        leaves = growing.array("leaf").read()
        names = [growing.tree.tip_names[leaf] for leaf in leaves.tolist()]
        add_tree(growing, growing.tree, names, np.arange(len(names)))
    counts = {
        "samples": growing.array("samples.depth").rows, "ASVs": len(growing.index), "studies": len(sources),
        "trees": growing.array("trees.nodes").rows, "counts": growing.array("counts.data").rows,
    }  # fmt: skip
    growing.writer.complete({"longest": longest, "counts": counts}, without=tuple(WORKING))


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
