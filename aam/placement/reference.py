"""A reference: a rooted tree, the sequence of each tip on the columns of the gene, and the lineage of each tip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aam.models.placer import RANKS
from aam.phylogeny.ancestors import Ancestors
from aam.phylogeny.tree import Tree


@dataclass(frozen=True)
class Reference:
    """R tips of a tree on C columns of the gene.

    `tree.tip_names` are the tips from left to right, and everything else is in that order. `codes` uint8 [C, R]: A C G
    T as 0 to 3, 4 for no base, on the columns `first`, `first + 1`, ... of the gene (counted from 1); a window of
    columns is one piece of memory. `lineages`: the taxonomy of each tip, ranks joined by "; ", "" if unknown; None if
    there is none.
    """

    tree: Tree
    codes: NDArray[np.uint8]
    first: int
    lineages: Sequence[str] | None = None

    @property
    def last(self) -> int:
        """The last column of the gene that the reference has."""
        return self.first + len(self.codes) - 1

    @cached_property
    def ancestors(self) -> Ancestors:
        """Lookups of last common ancestors."""
        return Ancestors(self.tree)

    def on(self, first: int, last: int) -> NDArray[np.uint8]:
        """Codes [last - first + 1, R] of the tips on columns; ValueError for columns it does not have."""
        if not self.first <= first <= last <= self.last:
            raise ValueError(f"columns {first} to {last} of a reference with columns {self.first} to {self.last}")
        return self.codes[first - self.first : last - self.first + 1]

    @cached_property
    def taxa(self) -> NDArray[np.int32]:
        """Numbers of the taxa of each tip, int32 [R, RANKS]: tips of one number have one lineage down to that rank; -1
        where the rank has no name."""
        numbers = np.full((len(self.tree.tip_names), RANKS), -1, np.int32)
        if self.lineages is None:
            return numbers
        different, place = np.unique(np.array(self.lineages, dtype=object), return_inverse=True)
        seen: dict[tuple[str, ...], int] = {}
        found = np.full((len(different), RANKS), -1, np.int32)
        for row, lineage in enumerate(different.tolist()):
            names = [part.strip() for part in lineage.split(";")]
            for rank, name in enumerate(names[:RANKS]):
                if is_named(name):
                    found[row, rank] = seen.setdefault(tuple(names[: rank + 1]), len(seen))
        return found[place]

    @cached_property
    def named(self) -> NDArray[np.bool_]:
        """Whether each tip has a name at each rank, [R, RANKS]."""
        return self.taxa >= 0


def is_named(name: str) -> bool:
    """Whether a rank has a name: "g__Blautia", not "g__" or ""."""
    return bool(name.rpartition("__")[2])
