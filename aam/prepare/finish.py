"""What needs all tables: ids without doubles, tokens of one length, the tree of all; then the corpus is complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

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
    ids = unique_ids(growing, sources, say)
    growing.append_texts("samples", ids)
    growing.append(samples_by_id=np.array(sorted(range(len(ids)), key=ids.__getitem__)))
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


def unique_ids(growing: Growing, sources: Sequence[Source], say: Callable[[str], None]) -> list[str]:
    """Sample ids; those that occur in several tables begin with the name of their study."""
    ids = list(Texts(growing.array("ids.text").read(), growing.array("ids.bounds").read()))
    times = Counter(ids)
    study = growing.array("samples.study").read().tolist()
    found = [
        f"{sources[number].name}.{text}" if times[text] > 1 else text for text, number in zip(ids, study, strict=True)
    ]
    changed = [place for place, text in enumerate(ids) if times[text] > 1]
    if changed:
        example = f"{quote(ids[changed[0]])} is now {quote(found[changed[0]])}"
        say(f"{len(changed):,} sample ids occur in several tables and begin with the table's name now: {example}")
    if len(set(found)) < len(found):
        again = next(text for text, number in Counter(found).items() if number > 1)
        raise CorpusError(f"sample id {quote(again)} occurs twice even with the table's name; rename the sample")
    return found


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
