"""Rooted trees as arrays, read from Newick and checked for UniFrac; matching of ASVs to tips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aam.config import path_of
from aam.errors import TreeError
from aam.phylogeny.newick import Newick, format_newick, parse_newick
from aam.phylogeny.newick_text import BEGINNING, character_number, check_beginning, check_tree_size
from aam.text import quote, without_annotations

HOW_TO_ROOT = "root it first with `qiime phylogeny midpoint-root` or scikit-bio's TreeNode.root_at_midpoint()"
SHORTEST, LONGEST = 1e-15, 1e18
"""Bounds of the total length of a tree: float32 holds the squares of both, and no real unit exceeds them."""
EXAMPLES = 3
"""Names quoted in a message."""


@dataclass(frozen=True, repr=False)
class Tree:
    """N nodes in postorder (children before parents, root last); leaves numbered from left to right, as in `tip_names`.

    Leaves below node k are `first[k] <= leaf < last[k]` (int32 [N]), so the reads of a sample below a branch are
    one difference of cumulative sums over leaves. `length` float64 [N] is the branch above the node, finite and >= 0;
    that of the root is the stem, which every sample shares. `parent` int32 [N], -1 for the root. `source` names it in
    messages. `notes`: what the reader has to say about it, for the user.
    """

    tip_names: Sequence[str]
    first: np.ndarray
    last: np.ndarray
    length: np.ndarray
    parent: np.ndarray
    source: str = "tree"
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Tree({len(self.tip_names):,} tips, {len(self.parent):,} nodes, {self.source})"

    def shear(self, names: Iterable[str]) -> Tree:
        """The tree of the given tips (any order), without other nodes; chains of nodes with one child are merged.

        The branches above the last common ancestor become the root's stem, so UniFrac and Faith PD of these tips are
        those of the whole tree. Raises `TreeError` for no names and for names that are not tips.
        """
        names, keep = list(names), np.zeros(len(self.tip_names), dtype=bool)
        leaves = self.leaves_of(names)
        keep[leaves] = True
        if not keep.any():
            raise TreeError(f"{self.source}: no tips to keep were named; name at least one")
        before = np.r_[0, np.cumsum(keep)].astype(np.int32)
        nodes = np.flatnonzero(before[self.first] < before[self.last])
        first, last = before[self.first[nodes]], before[self.last[nodes]]
        starts, length = merge_equal_ranges(first, last, self.length[nodes])
        merged = np.zeros(len(self.first), dtype=np.int32)
        merged[nodes[starts]] = 1
        merged = np.cumsum(merged, dtype=np.int32) - 1  # old node -> new node, for the nodes that stay
        tops = nodes[np.r_[starts[1:], len(nodes)] - 1]
        above = self.parent[tops]
        parent = np.where(above < 0, -1, merged[above]).astype(np.int32)
        given = dict(zip(leaves.tolist(), names, strict=True))  # the caller's own strings, so that each exists once
        tip_names = [given[leaf] for leaf in np.flatnonzero(keep).tolist()]
        return Tree(tip_names, first[starts], last[starts], length, parent, self.source, self.notes)

    def leaves_of(self, names: Sequence[str]) -> np.ndarray:
        """Leaf numbers of tips, int64 [n], in the order of `names`; raises `TreeError` for a name that is no tip."""
        number = {name: leaf for leaf, name in enumerate(self.tip_names)}
        absent = [name for name in names if name not in number]
        if absent:
            raise TreeError(
                f"{self.source}: names that are no tips: {len(absent):,} of {len(names):,}, e.g. {quote(absent[0])}; "
                "drop these ASVs or use the tree made from them"
            )
        return np.fromiter((number[name] for name in names), dtype=np.int64, count=len(names))

    def tips(self) -> np.ndarray:
        """The node of each leaf, int64 [leaves]: in postorder the first that ends with it."""
        return np.searchsorted(self.last, np.arange(1, len(self.tip_names) + 1))

    def depths(self) -> np.ndarray:
        """Distance from the top of the stem to each node, float64 [N], in about log2(levels) vectorised rounds."""
        depth, above = self.length.copy(), self.parent.astype(np.int64)
        while (inner := above >= 0).any():
            # Jumping over the stretch already summed doubles it each round; additions stay pairwise, so rounding
            # stays small.
            depth[inner] += depth[above[inner]]
            above[inner] = above[above[inner]]
        return depth

    def to_newick(self, names: Sequence[str] | None = None) -> str:
        """Newick text, lengths to the last digit, the stem as the root's length; `names` replace those of the tips."""
        return format_newick(names or self.tip_names, self.first, self.last, self.length)


def merge_equal_ranges(first: np.ndarray, last: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge neighbouring postorder nodes [n] above the same leaves: first row and summed length of each branch, [k]."""
    new = np.ones(len(first), dtype=bool)
    new[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
    starts = np.flatnonzero(new)
    return starts, np.add.reduceat(length, starts) if len(starts) else np.zeros(0)


def read_tree(path: Path, source: str | None = None) -> Tree:
    """Read a rooted Newick tree with branch lengths; raises `TreeError` naming file, place, finding and remedy.

    `source` names the file in messages, if it is not `path`, e.g. for a tree unpacked from an archive.
    """
    path = path_of("tree", path)
    source = source or str(path)
    try:
        check_tree_size(path.stat().st_size, source)
        with path.open("rb") as handle:
            check_beginning(handle.read(BEGINNING), source)
            handle.seek(0)
            data = handle.read()
    except OSError as error:
        raise TreeError(
            f"{source}: the tree cannot be read: {error.strerror or error}; give an existing Newick file"
        ) from error
    return parse_tree(data, source)


def parse_tree(data: bytes, source: str, any_root: bool = False) -> Tree:
    """As `read_tree`, from Newick text in memory; `source` names it in messages.

    `any_root`: it is known to be rooted, although more than two branches may leave the root.
    """
    newick = parse_newick(data, source)
    _check_names(newick, source)
    notes = _check_lengths(newick, data, source)
    children_of_root = int((newick.parent == len(newick.parent) - 1).sum())
    if children_of_root > 2 and not any_root:
        raise TreeError(
            f"{source}: the tree is unrooted: its outermost parentheses hold {children_of_root:,} branches, expected "
            f"2; {HOW_TO_ROOT}"
        )
    first, last, parent = (ranks.astype(np.int32) for ranks in (newick.first, newick.last, newick.parent))
    return Tree(newick.tip_names, first, last, np.where(newick.given, newick.length, 0.0), parent, source, notes)


def _check_names(newick: Newick, source: str) -> None:
    if len(set(newick.tip_names)) < len(newick.tip_names):
        repeated = {name: times for name, times in Counter(newick.tip_names).items() if times > 1}
        name, times = next(iter(repeated.items()))
        raise TreeError(
            f"{source}: tip names that occur more than once: {len(repeated):,}, e.g. {quote(name)} {times} times; "
            "make them unique"
        )


def _check_lengths(newick: Newick, data: bytes, source: str) -> list[str]:
    """Check that every branch except the stem has a finite length >= 0, and that their sum has a usable magnitude.

    One inner child of the root may have none: programs that root a tree on a node write it so. Returns what to say.
    """
    notes = []
    given, length, root = newick.given, newick.length, len(newick.length) - 1
    if not given[:root].any():
        raise TreeError(
            f"{source}: the tree has no branch lengths, and UniFrac is a sum of them; write it with lengths, "
            "e.g. (a:0.1,b:0.2);"
        )
    missing = np.flatnonzero(~given[:root])
    tips = int(np.isin(missing, newick.tips).sum())
    if missing.size == 1 and tips == 0 and newick.parent[missing[0]] == root:
        notes.append(f"{source}: a branch at the root has no length and is taken as 0")
    elif missing.size:
        raise TreeError(
            f"{source}: branches without a length: {len(missing):,} of {root:,} ({tips:,} of them tips), first "
            f"{_where(newick, missing[0], data)}; write the tree with all its lengths"
        )
    for wrong, what in ((~np.isfinite(length), "not finite"), (length < 0, "negative")):
        if (wrong := wrong & given).any():
            node = int(np.argmax(wrong))
            raise TreeError(
                f"{source}: branch lengths that are {what}: {int(wrong.sum()):,}, first {_where(newick, node, data)} "
                f"({length[node]:g}); rebuild the tree or set them to 0"
            )
    with np.errstate(over="ignore"):
        total = length[given].sum()
    if total == 0:
        raise TreeError(
            f"{source}: all branch lengths are 0, so every distance would be 0; rebuild the tree with lengths"
        )
    if not SHORTEST <= total <= LONGEST:
        raise TreeError(
            f"{source}: the branches are {total:.3g} long in all, expected {SHORTEST:g} to {LONGEST:g}, which single "
            "precision can compute with; give the lengths in another unit"
        )
    return notes


def _where(newick: Newick, node: int, data: bytes) -> str:
    tip = np.searchsorted(newick.tips, node)
    is_tip = tip < len(newick.tips) and newick.tips[tip] == node
    name = f"tip {quote(newick.tip_names[tip])}" if is_tip else "an inner node"
    return f"{name} at character {character_number(data, newick.start[node]):,}"


@dataclass(frozen=True)
class TipMatch:
    """`columns` int64 [K]: the ASVs of the table that are tips, in table order; `tips`: their names in the tree.

    `missing`: ids of the ASVs that are no tips.
    """

    columns: np.ndarray
    tips: list[str]
    missing: list[str]


def match_tips(asv_ids: Sequence[str], sequences: Sequence[str], tree: Tree, max_missing: float) -> TipMatch:
    """Find the tip of each ASV by its id or, if that is no tip (a hash, lower case, RNA), by its sequence.

    An ASV that has neither shares the tip of the first ASV by id that has its sequence. Tips may have annotations such
    as `;size=12;`, which ids of ASVs have lost.

    Raises `TreeError` if no ASV is a tip, or more than the fraction `max_missing` of them is not.
    """
    tips, plain = set(tree.tip_names), _annotated_tips(tree.tip_names)
    names = [
        name if name in tips else plain.get(name) or (sequence if sequence in tips else plain.get(sequence, sequence))
        for name, sequence in zip(asv_ids, sequences, strict=True)
    ]
    if tips.isdisjoint(names):
        raise TreeError(
            f"{tree.source}: none of the {len(asv_ids):,} ASVs is a tip of the tree, neither by id "
            f"(e.g. {_examples(asv_ids)}) nor by sequence; its tips are e.g. {_examples(tree.tip_names)}; "
            "use the tree that was made from these ASVs"
        )
    present = np.fromiter((name in tips for name in names), dtype=bool, count=len(names))
    if not present.all():  # by the tip of an ASV with the same sequence
        pairs = sorted(
            ((text, name) for text, name in zip(sequences, asv_ids, strict=True) if name in tips), reverse=True
        )
        tip_of = dict(pairs)
        names = [name if found else tip_of.get(name, name) for name, found in zip(names, present.tolist(), strict=True)]
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


def _annotated_tips(tip_names: Sequence[str]) -> dict[str, str]:
    """The tips with annotations by their name without; none for a name that two tips have then."""
    plain = {name: without_annotations(name) for name in tip_names if ";" in name}
    times = Counter(plain.values())
    return {text: name for name, text in plain.items() if times[text] == 1}


def _examples(names: Sequence[str]) -> str:
    return ", ".join(map(quote, names[:EXAMPLES]))
