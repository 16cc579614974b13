"""Samples that a trained model is put to: a table read, matched with a tree if there is one, rarefied, tokenised."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aam.config import DataConfig
from aam.corpus.dataset import ASVDataset, Draw
from aam.corpus.pretraining import deep_enough, match_tree, read_any_tree, with_example
from aam.corpus.rarefy import rarefy_table
from aam.io.sequences import tokenize
from aam.io.table import Table, carriers_of, read_table
from aam.phylogeny.tree import Tree


@dataclass(frozen=True)
class TableSamples:
    """`table` as the model sees it: rarefied if asked, without ASVs that nobody carries; `tokens` [A, L] of its ASVs.

    `tree` has the ASVs as tips, named `tips`, None where no tree was asked for. `dropped`: what was left out, reason ->
    ids. `cut`: ASVs longer than the model reads.
    """

    table: Table
    tokens: NDArray[np.uint8]
    tree: Tree | None = None
    tips: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    cut: int = 0

    def drawn(self) -> ASVDataset:
        """The samples with all their ASVs; they are rarefied already."""
        return ASVDataset(self.table.counts, self.tokens, self.table.sample_ids, Draw(None, None, "abundance", 0))

    @property
    def columns(self) -> NDArray[np.int64]:
        """Numbers of all ASVs [A]."""
        return np.arange(len(self.tokens))


def read_samples(data: DataConfig, rarefy_depth: str, seed: int, max_bp: int, with_tree: bool = False) -> TableSamples:
    """Open the table of `data` for a model that reads `max_bp` bases; raises an InputError for whatever is refused.

    With a tree, ASVs that are no tips of it are left out. Samples below the rarefaction depth are, too.
    """
    data, files = with_example(data)
    table = read_table(files["table"], data.sequences)
    dropped, tree, tips = dict(table.dropped), None, list[str]()
    if with_tree and data.tree is not None:
        tree, table, tips = match_tree(table, read_any_tree(data.tree), data.max_missing, dropped)
    table, depth = deep_enough(table, rarefy_depth, dropped)
    if depth is not None:
        table = Table(
            rarefy_table(table.counts, depth, seed), table.sample_ids, table.asv_ids, table.sequences, table.source
        )
    carried = np.flatnonzero(carriers_of(table.counts))
    if len(carried) < len(table.asv_ids):
        table, tips = table.select(asvs=carried), [tips[column] for column in carried if tips]
    cut = sum(len(sequence) > max_bp for sequence in table.sequences)
    return TableSamples(table, tokenize(table.sequences, max_bp, table.asv_ids), tree, tips, dropped, cut)
