"""Which ASVs of a table are tips of a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aam.errors import TreeError
from aam.phylogeny.tree import Tree
from aam.wording import quote

EXAMPLES = 3
"""Names quoted in a message."""


@dataclass(frozen=True)
class TipMatch:
    """`columns` int64 [K]: the ASVs of the table that are tips, in table order; `tips`: their names in the tree.

    `missing`: ids of the ASVs that are no tips.
    """

    columns: np.ndarray
    tips: list[str]
    missing: list[str]


def match_tips(asv_ids: Sequence[str], sequences: Sequence[str], tree: Tree, max_missing: float) -> TipMatch:
    """Find the tip of each ASV by its id or, where that is no tip (a hash, lower case, RNA), by its sequence.

    ASVs of one sequence share a tip.

    Raises `TreeError` where no ASV is a tip, or more than the fraction `max_missing` of them is not.
    """
    tips = set(tree.tip_names)
    names = [name if name in tips else sequence for name, sequence in zip(asv_ids, sequences, strict=True)]
    if tips.isdisjoint(names):
        raise TreeError(
            f"{tree.source}: none of the {len(asv_ids):,} ASVs is a tip of the tree, neither by id "
            f"(e.g. {_examples(asv_ids)}) nor by sequence; its tips are e.g. {_examples(tree.tip_names)}; "
            "use the tree that was made from these ASVs"
        )
    present = np.fromiter((name in tips for name in names), dtype=bool, count=len(names))
    columns = np.flatnonzero(present)
    missing = [name for name, found in zip(asv_ids, present.tolist(), strict=True) if not found]
    fraction = len(missing) / len(asv_ids)
    if fraction > max_missing:
        raise TreeError(
            f"{tree.source}: {len(missing):,} of {len(asv_ids):,} ASVs ({fraction:.1%}, allowed {max_missing:.1%}) "
            f"are no tips of the tree, e.g. {_examples(missing)}; use the tree made from these ASVs, insert them "
            "(`qiime fragment-insertion sepp`), or allow it with --max-missing"
        )
    return TipMatch(columns, [names[column] for column in columns.tolist()], missing)


def _examples(names: Sequence[str]) -> str:
    return ", ".join(map(quote, names[:EXAMPLES]))
