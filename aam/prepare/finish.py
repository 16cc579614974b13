"""What needs all tables: ids without doubles, tokens of one length, the tree of all; then the corpus is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from aam.corpus import OF_ASVS
from aam.data.ids import quote
from aam.data.table import STORED_ZEROS
from aam.data.texts import Texts
from aam.data.tokenizer import tokenize
from aam.errors import CorpusError
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


def add_ids(growing: Growing, studies: Sequence[str], say: Callable[[str], None]) -> None:
    """Write the ids of samples, and of what was left out, under names that occur once.

    A sample that one study left out may have a namesake in another; an ASV is left out only if no study has it. Raises
    `CorpusError` where two samples have one name even so.
    """
    raw, lost = growing.texts("ids"), growing.texts("lost")
    study, lost_study, reason = (growing.array(name).read() for name in ("samples.study", "lost.study", "lost.reason"))
    reasons = np.array(growing.writer.record.setdefault("reasons", []), dtype=str)[reason]
    of_asvs = np.isin(reasons, list(OF_ASVS))
    gone = np.flatnonzero(~of_asvs & (reasons != STORED_ZEROS))  # a sample that lost its stored zeros is still there
    ids = [*raw, *lost.take(gone)]
    owners = [studies[number] for number in (*study.tolist(), *lost_study[gone].tolist())]
    twice = repeated(ids)
    if twice:
        example = next((text, owner) for text, owner in zip(ids, owners, strict=True) if text in twice)
        say(
            f"{len(twice):,} sample ids occur in several tables and begin with the table's name now, e.g. "
            f"{quote(example[0])} is {quote(f'{example[1]}.{example[0]}')}"
        )

    def name(text: str, owner: str) -> str:
        return f"{owner}.{text}" if text in twice else text

    found = [name(text, owner) for text, owner in zip(ids, owners, strict=True)]
    if again := repeated(found):
        raise CorpusError(f"sample id {quote(min(again))} occurs twice with the table's name; rename the sample")
    growing.append_texts("samples", found[: len(raw)])
    growing.append(samples_by_id=np.array(sorted(range(len(raw)), key=found.__getitem__)))
    absent = np.array([place for place, is_asv in enumerate(of_asvs) if not is_asv or not growing.holds(lost[place])])
    absent = absent.astype(np.int64)
    growing.append_texts(
        "dropped",
        [lost[place] if of_asvs[place] else name(lost[place], studies[lost_study[place]]) for place in absent.tolist()],
    )
    growing.append(dropped_reason=reason[absent])


def repeated(ids: Sequence[str]) -> set[str]:
    """The ids that occur more than once."""
    return {one for one, other in pairwise(sorted(ids)) if one == other}


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
