"""Small random communities, sequences, counts and tree that belong together, for tests that need many of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from aam.config import LossConfig, Metric, ModelConfig, tiny
from aam.corpus.dataset import ASVDataset, Batch, Draw, collate_fn
from aam.io.sequences import tokenize
from aam.phylogeny.targets import TreeTargets
from aam.phylogeny.tree import Tree, parse_tree

HIDING = LossConfig(mask_ratio=0.3, masked_asvs=0.5, hidden_asvs=0.2, patristic_asvs=32)
"""A bit of everything hidden."""


@dataclass(frozen=True)
class Community:
    """Reads [samples, ASVs], tokens [ASVs, L] and the tree whose tips are the ASVs in table order."""

    counts: csr_array
    tokens: np.ndarray
    tree: Tree

    @property
    def names(self) -> list[str]:
        return [f"a{number}" for number in range(self.counts.shape[1])]

    def targets(self, metric: Metric = "unweighted", alpha: float = 0.5) -> TreeTargets:
        return TreeTargets(self.tree, self.tree.leaves_of(self.names), metric, alpha)

    def dataset(self, token_limit: int | None = None, depth: int | None = None, seed: int = 0) -> ASVDataset:
        ids = [f"s{row}" for row in range(self.counts.shape[0])]
        return ASVDataset(self.counts, self.tokens, ids, Draw(depth, token_limit, "abundance", seed))

    def batch(self, rows: Sequence[int], token_limit: int | None = None, hiding: LossConfig | None = HIDING) -> Batch:
        """A batch of these samples with targets."""
        samples = self.dataset(token_limit)
        return collate_fn([samples[row] for row in rows], self.targets(), hiding, np.random.default_rng(0))


def community(samples: int, asvs: int, richness: int, length: int = 12, seed: int = 0) -> Community:
    """Samples of `richness` ASVs each out of `asvs` random sequences of `length` bases at most, half of it at least."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.arange(samples), richness)
    columns = np.concatenate([rng.choice(asvs, richness, replace=False) for _ in range(samples)])
    counts = csr_array((rng.geometric(0.05, rows.size), (rows, columns)), shape=(samples, asvs)).astype(np.int64)
    counts.sort_indices()
    sequences = ["".join(rng.choice(list("ACGT"), size)) for size in rng.integers((length + 1) // 2, length + 1, asvs)]
    names = [f"a{number}" for number in rng.permutation(asvs)]
    tree = parse_tree(f"{newick(names, rng)};".encode(), "generated tree")
    return Community(counts, tokenize(sequences, length), tree)


def newick(names: Sequence[str], rng: np.random.Generator) -> str:
    """A random binary tree of these tips with branch lengths."""
    length = f":{rng.uniform(0.01, 1.0):.6f}"
    if len(names) == 1:
        return names[0] + length
    cut = int(rng.integers(1, len(names)))
    return f"({newick(names[:cut], rng)},{newick(names[cut:], rng)}){length}"


def tiny_model(length: int = 12, **changes: object) -> ModelConfig:
    """The smallest preset for sequences of `length` bases, without dropout unless `changes` say else."""
    return dataclasses.replace(tiny(), **({"max_bp": length, "dropout": 0.0} | changes))


def write_files(found: Community, folder: Path) -> None:
    """The community as a user has it: `table.tsv`, whose feature ids are the sequences, and `tree.nwk`."""
    sequences = ["".join("ACGT"[token - 1] for token in row[1:] if token) for row in found.tokens]
    ids = [f"s{row}" for row in range(found.counts.shape[0])]
    rows = [[sequence, *map(str, row)] for sequence, row in zip(sequences, found.counts.T.toarray(), strict=True)]
    lines = ["\t".join(row) for row in [["#OTU ID", *ids], *rows]]
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    of_name = dict(zip(found.names, sequences, strict=True))
    (folder / "tree.nwk").write_text(found.tree.to_newick([of_name[name] for name in found.tree.tip_names]))
