"""Opens a table for a model: find files, read the table, match it with a tree, rarefy samples, tokenise ASVs.

All commands open tables by these steps. The result is a `TableSamples` or a record that extends it. `Table.dropped` has
what a step left out, by reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam import datasets
from aam.config import DataConfig, option_flag
from aam.corpus.dataset import ASVDataset, Draw
from aam.corpus.rarefy import keep_deep_samples, rarefy_table
from aam.corpus.store import CORPUS_MANIFEST
from aam.errors import ConfigError
from aam.io.ids import pick_texts
from aam.io.packed import ROOTED_TREE, plain_file
from aam.io.sequences import tokenize
from aam.io.table import EMPTY_ASVS, Table, carriers_of, read_table
from aam.phylogeny.tree import Tree, match_tips, read_tree

NOT_IN_TREE = "ASVs absent from the tree"
ONLY_ABSENT_ASVS = "samples all of whose ASVs are absent from the tree"
OF_ASVS = {EMPTY_ASVS, NOT_IN_TREE}
"""Reasons under which ASVs are left out; all others are reasons for samples."""
TABLE_FILES = ("table", "tree", "sequences", "unifrac_matrix")
SAMPLE_FILES = ("metadata", "validation_samples")
"""Options of `DataConfig` that name files: of a table, which a prepared corpus stands for, and about its samples."""
NO_DRAW = Draw(None, None, "abundance", 0)
"""Nothing is drawn: all reads and all ASVs."""


@dataclass(frozen=True)
class TableSamples:
    """The samples of `table` and the tokens [A, L] uint8 of its ASVs.

    `depth` reads are to be drawn of each sample, None: all. `tree` has the ASVs as tips, called `tips`; None if
    there is none or there are several. `studies` int [samples] is the number of each sample's study, None if one
    table was read. `files` are the input files by option.
    """

    table: Table
    tokens: NDArray[np.uint8]
    tree: Tree | None = None
    tips: Sequence[str] = ()
    depth: int | None = None
    studies: NDArray[np.integer] | None = None
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def dropped(self) -> Mapping[str, Sequence[str]]:
        """Ids that were left out of the table, by reason."""
        return self.table.dropped

    @property
    def columns(self) -> NDArray[np.int64]:
        """Numbers of all ASVs [A]."""
        return np.arange(len(self.tokens))

    @property
    def cut(self) -> int:
        """Number of ASVs that are longer than `max_bp` and were cut."""
        return sum(len(sequence) >= self.tokens.shape[1] for sequence in self.table.sequences)

    def samples(self, rows: NDArray[np.integer], draw: Draw) -> ASVDataset:
        """Some of the samples, numbers [n], drawn by `draw`; nothing is copied."""
        # Samples of several studies share a batch where one tree compares them.
        studies = self.studies[rows] if self.studies is not None and self.tree is None else None
        ids = pick_texts(self.table.sample_ids, rows)
        return ASVDataset(self.table.stored, self.tokens, ids, draw, studies, self.table.stored_rows(rows))

    def drawn(self, draw: Draw = NO_DRAW) -> ASVDataset:
        """All samples; by default with all reads and ASVs, for a table that is already rarefied."""
        return self.samples(np.arange(len(self.table.sample_ids)), draw)


def tokenize_table(table: Table, max_bp: int) -> NDArray[np.uint8]:
    """Tokens [A, L] of the ASVs of a table; see `tokenize`."""
    return tokenize(table.sequences, max_bp, table.asv_ids)


def resolve_inputs(data: DataConfig) -> tuple[DataConfig, dict[str, Path]]:
    """Resolve the data options (--example gives the files of the example) and list the input files by option.

    The file of a prepared corpus is its manifest, which has the digests of all others.
    """
    names: tuple[str, ...] = (*TABLE_FILES, *SAMPLE_FILES)
    if data.corpus is not None:
        beside = [name for name in (*TABLE_FILES, "example") if getattr(data, name)]
        if beside:
            raise ConfigError(
                f"found both --corpus and {option_flag(beside[0])}, expected one of them; a corpus has its own"
            )
        names = SAMPLE_FILES
    if data.example:
        if data.table is not None:
            raise ConfigError("found both --example and --table, expected one of them")
        example = datasets.example()
        tree = None if data.unifrac_matrix is not None else data.tree or example.tree
        data = replace(data, table=example.table, tree=tree, metadata=data.metadata or example.metadata, example=False)
    if data.table is None and data.corpus is None:
        raise ConfigError("no feature table; give --table FILE, or --example for the embedded one")
    files = {name: Path(value) for name in names if (value := getattr(data, name)) is not None}
    return data, files if data.corpus is None else {"corpus": data.corpus / CORPUS_MANIFEST} | files


def read_any_tree(path: Path) -> Tree:
    """A tree from Newick, as it is or packed by gzip, or from a QIIME 2 rooted phylogeny."""
    with plain_file(path, "--tree", ROOTED_TREE) as plain:
        return read_tree(plain, str(path))


def match_tree(table: Table, tree: Tree, max_missing: float) -> tuple[Table, Tree, list[str]]:
    """Restrict a table to the ASVs that are tips of the tree, and the tree to these tips; returns their names too.

    Samples that lose all reads are dropped. Raises `TreeError` if more than `max_missing` of the ASVs are no tips.
    """
    match = match_tips(table.asv_ids, table.sequences, tree, max_missing)
    if match.missing:
        table = replace(table.select(asvs=match.columns), dropped={**table.dropped, NOT_IN_TREE: match.missing})
        table = table.keep(table.depths() > 0, ONLY_ABSENT_ASVS)
    return table, tree.shear(match.tips), match.tips


class TableOnTree(NamedTuple):
    """A table and, if there is one, the tree of its ASVs; `tips` [A] are the names of the ASVs in it."""

    table: Table
    tree: Tree | None
    tips: list[str]


def open_rarefied(data: DataConfig, setting: str, seed: int, with_tree: bool) -> TableOnTree:
    """The table of `data`, rarefied by a `setting` of --rarefy-depth; raises an InputError for unusable files.

    Samples below the depth are left out and, with a tree, ASVs that are not in it.
    """
    data, files = resolve_inputs(data)
    table, tree, tips = read_table(files["table"], data.sequences), None, list[str]()
    if with_tree and data.tree is not None:
        table, tree, tips = match_tree(table, read_any_tree(data.tree), data.max_missing)
    table, depth = keep_deep_samples(table, setting)
    if depth is not None:
        table = replace(table, stored=rarefy_table(table.counts, depth, seed), rows=None)
    return TableOnTree(table, tree, tips)


def open_samples(data: DataConfig, setting: str, seed: int, max_bp: int, with_tree: bool = False) -> TableSamples:
    """Open the table of `data` for a trained model that reads `max_bp` bases: as `open_rarefied`, then tokenised.

    ASVs that no sample carries are left out.
    """
    table, tree, tips = open_rarefied(data, setting, seed, with_tree)
    carried = np.flatnonzero(carriers_of(table.counts))
    if len(carried) < len(table.asv_ids):
        table, tips = table.select(asvs=carried), [tips[column] for column in carried if tips]
    return TableSamples(table, tokenize_table(table, max_bp), tree, tips)
