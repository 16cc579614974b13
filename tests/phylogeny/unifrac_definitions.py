"""UniFrac and its kin written down as their definitions say, in plain Python, and random trees to try them on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass
class Node:
    """A branch and what is above it: a tip has a name, an inner node children."""

    length: float
    name: str = ""
    children: tuple[Node, ...] = ()

    def newick(self) -> str:
        inner = f"({','.join(child.newick() for child in self.children)})" if self.children else ""
        return f"{inner}{self.name}:{self.length!r}"

    def branches(self) -> Iterator[tuple[frozenset[str], float]]:
        """(names of the tips below, length) of this branch and all below it."""
        below: set[str] = {self.name} if not self.children else set()
        for child in self.children:
            for tips, length in child.branches():
                below |= tips
                yield tips, length
        yield frozenset(below), self.length


Sample = dict[str, int]
"""Tip name -> reads."""


def share(sample: Sample, tips: frozenset[str]) -> float:
    """Fraction of a sample's reads that lie in the tips."""
    total = sum(sample.values())
    return sum(reads for name, reads in sample.items() if name in tips) / total if total else 0.0


def unifrac(tree: Node, one: Sample, other: Sample, metric: str, alpha: float) -> float:
    """The distance by its definition, a sum over branches; 0 where the sum below the line is 0."""
    above = below = 0.0
    for tips, length in tree.branches():
        p, q = share(one, tips), share(other, tips)
        if p + q == 0:
            continue
        if metric == "unweighted":
            above += length * ((p > 0) != (q > 0))
            below += length
        elif metric == "generalized":
            above += length * (p + q) ** alpha * abs(p - q) / (p + q)
            below += length * (p + q) ** alpha
        else:
            above += length * abs(p - q)
            below += length * (p + q)
    if metric == "weighted":
        return above
    return above / below if below > 0 else 0.0


def faith_pd(tree: Node, sample: Sample) -> float:
    return sum(length for tips, length in tree.branches() if share(sample, tips) > 0)


lengths = st.one_of(st.just(0.0), st.floats(1e-3, 2.0))


@st.composite
def trees(draw: st.DrawFn) -> Node:
    """Rooted trees with polytomies, only children, branches of length 0 and a stem; tips a0, a1, ... in any order."""
    shape = draw(st.recursive(st.none(), lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=12))
    roots = draw(st.lists(st.just(shape), min_size=1, max_size=2))
    number = iter(draw(st.permutations(range(64))))

    def grow(part: list | None) -> Node:
        if part is None:
            return Node(draw(lengths), f"a{next(number)}")
        return Node(draw(lengths), children=tuple(grow(child) for child in part))

    tree = Node(draw(lengths), children=tuple(grow(root) for root in roots))
    tree.children[0].length += 0.5  # not all lengths are 0
    return tree


def tip_names(tree: Node) -> list[str]:
    return [tree.name] if not tree.children else [name for child in tree.children for name in tip_names(child)]


@st.composite
def samples_on(draw: st.DrawFn, names: list[str]) -> list[Sample]:
    """A few samples, one perhaps without reads and two perhaps alike."""
    reads = st.dictionaries(st.sampled_from(names), st.integers(1, 1000), min_size=0, max_size=len(names))
    drawn = draw(st.lists(reads, min_size=2, max_size=6))
    return [*drawn, drawn[0]] if draw(st.booleans()) else drawn
