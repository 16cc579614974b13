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
from aam.config.fields import AUTO_BASES, Positions
from aam.corpus.dataset import ASVDataset, Draw
from aam.corpus.equal_asvs import order_asvs, order_by_id
from aam.corpus.gene_tokens import gene_tokens
from aam.corpus.lineup import OUTSIDE, Lineup, Rules, line_up_sequences, read_lined_table
from aam.corpus.rarefy import keep_deep_samples, rarefy_table
from aam.corpus.store import CORPUS_MANIFEST
from aam.errors import ConfigError
from aam.io.ids import Texts, pick_texts
from aam.io.packed import ROOTED_TREE, plain_file
from aam.io.sequences import tokenize, unpadded_rows
from aam.io.table import EMPTY_ASVS, Table, carriers_of, read_table
from aam.phylogeny.tree import Tree, match_tips, read_tree

NOT_IN_TREE = "ASVs absent from the tree"
ONLY_ABSENT_ASVS = "samples all of whose ASVs are absent from the tree"
ONLY_LEFT_OUT = "ASVs that occur only in samples that are left out"
OF_ASVS = {EMPTY_ASVS, NOT_IN_TREE, OUTSIDE, ONLY_LEFT_OUT}
"""Reasons under which ASVs are left out; all others are reasons for samples."""
TABLE_FILES = ("table", "tree", "sequences", "unifrac_matrix")
SAMPLE_FILES = ("metadata", "validation_samples")
"""Options of `DataConfig` that name files: of a table, which a prepared corpus stands for, and about its samples."""
CUT_BY_AUTO = 0.01
"""Share of the ASVs that `--max-bp auto` may cut: the longest few are chimeras or no 16S, and every base costs time."""
NO_DRAW = Draw(None, None, "abundance", 0)
"""Nothing is drawn: all reads and all ASVs."""


@dataclass(frozen=True)
class TableSamples:
    """The samples of `table` and the tokens [A, L] uint8 of its ASVs.

    `depth` reads are to be drawn of each sample, None: all. `tree` has the ASVs as tips, called `tips`; None if
    there is none or there are several. `studies` int [samples] is the number of each sample's study, None if one
    table was read. `files` are the input files by option. `lineup` says how the reads lie, `reads` how
    many there are in a sample and how many are drawn.
    """

    table: Table
    tokens: NDArray[np.uint8]
    tree: Tree | None = None
    tips: Sequence[str] = ()
    depth: int | None = None
    studies: NDArray[np.integer] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    lineup: Lineup = field(default_factory=Lineup)
    reads: str = ""

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
        return int((lengths_of(self.table.sequences) >= self.tokens.shape[1]).sum())

    @property
    def alike(self) -> int:
        """Number of ASVs that read as an earlier one: cut, ambiguous, or of one sequence."""
        return len(self.tokens) - len(set(unpadded_rows(self.tokens)))

    @property
    def bases(self) -> int:
        """Bases of the longest ASV as it is read."""
        return self.tokens.shape[1] - 1

    def by_id(self) -> TableSamples:
        """The same samples in the order of their ids, for what chooses some of them or goes from one to the next."""
        return replace(self, table=self.table.select(samples=order_by_id(self.table)))

    def samples(self, rows: NDArray[np.integer], draw: Draw) -> ASVDataset:
        """Some of the samples, numbers [n], drawn by `draw`; nothing is copied."""
        # Samples of several studies share a batch where one tree compares them.
        studies = self.studies[rows] if self.studies is not None and self.tree is None else None
        ids = pick_texts(self.table.sample_ids, rows)
        return ASVDataset(self.table.stored, self.tokens, ids, draw, studies, self.table.stored_rows(rows))

    def drawn(self, draw: Draw = NO_DRAW) -> ASVDataset:
        """All samples; by default with all reads and ASVs, for a table that is already rarefied."""
        return self.samples(np.arange(len(self.table.sample_ids)), draw)


def tokenize_table(table: Table, max_bp: int, positions: Positions) -> NDArray[np.uint8]:
    """Tokens [A, L] of the ASVs of a table, by position in the read (see `tokenize`) or on the gene (`gene_tokens`).

    `AUTO_BASES`: as many bases as `length_of_reads` says; on the gene all.
    """
    if positions == "gene":
        return gene_tokens(table.sequences, max_bp or None)
    if max_bp == AUTO_BASES:
        max_bp = length_of_reads(lengths_of(table.sequences))
    return tokenize(table.sequences, max_bp, table.asv_ids)


def lengths_of(sequences: Sequence[str]) -> NDArray[np.int64]:
    """Bases of sequences, int64 [A]."""
    if isinstance(sequences, Texts) and sequences.rows is None:
        return np.diff(sequences.bounds)
    return np.fromiter(map(len, sequences), np.int64, len(sequences))


def length_of_reads(lengths: NDArray[np.int64]) -> int:
    """The smallest number of bases to which at most the share `CUT_BY_AUTO` of the ASVs, of `lengths` [A], is cut."""
    return int(np.quantile(lengths, 1 - CUT_BY_AUTO, method="inverted_cdf"))


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
    match = match_tips(table.asv_ids, table.originals or table.sequences, tree, max_missing)
    if match.missing:
        table = replace(table.select(asvs=match.columns), dropped={**table.dropped, NOT_IN_TREE: match.missing})
        table = table.keep(table.depths() > 0, ONLY_ABSENT_ASVS)
    return table, tree.shear(match.tips), match.tips


def names_of_tips(tree: Tree | None) -> set[str]:
    """The tips of a tree, if there is one."""
    return set() if tree is None else set(tree.tip_names)


class TableOnTree(NamedTuple):
    """A table and, if there is one, the tree of its ASVs; `tips` [A] are the names of the ASVs in it.

    `reads` says how many there were in a sample and how many were drawn, `lineup` how they lie.
    """

    table: Table
    tree: Tree | None
    tips: list[str]
    reads: str
    lineup: Lineup = Lineup()


def open_rarefied(data: DataConfig, setting: str, seed: int) -> TableOnTree:
    """The table of `data` as it is, `rarefied`; raises an InputError for unusable files.

    ASVs of one DNA with tips of their own in a tree keep them: they are not merged.
    """
    data, files = resolve_inputs(data)
    table, tree = read_table(files["table"], data.sequences), None if data.tree is None else read_any_tree(data.tree)
    lying = line_up_sequences(table.sequences, Rules("none", "none"), str(table.source)).lineup
    return rarefied(order_asvs(table), tree, data.max_missing, setting, seed)._replace(lineup=lying)


def rarefied(table: Table, tree: Tree | None, max_missing: float, setting: str, seed: int) -> TableOnTree:
    """A table, rarefied by a `setting` of --rarefy-depth.

    Samples below the depth are left out and, with a tree, ASVs that are not in it.
    """
    tips = list[str]()
    if tree is not None:
        table, tree, tips = match_tree(table, tree, max_missing)
    table, depth, text = keep_deep_samples(table, setting)
    if depth is not None:
        table = replace(table, stored=rarefy_table(table.counts, table.sample_ids, depth, seed), rows=None)
    return TableOnTree(table, tree, tips, text)


def drop_absent(table: Table) -> Table:
    """The table of the ASVs that its samples have; the others, which samples left out had, are recorded as dropped."""
    carried = carriers_of(table.counts) > 0
    gone = pick_texts(table.asv_ids, np.flatnonzero(~carried))
    names = {ONLY_LEFT_OUT: gone} if len(gone) else {}
    return replace(table.select(asvs=np.flatnonzero(carried)), dropped={**table.dropped, **names})


def open_samples(data: DataConfig, setting: str, seed: int, max_bp: int, with_tree: bool = False) -> TableSamples:
    """Open the table of `data` for a trained model that reads `max_bp` bases: lined up, `rarefied`, tokenised.

    ASVs that no sample carries are left out. `data.reads` are the reads that the model has learned from.
    """
    data, files = resolve_inputs(replace(data, max_bp=max_bp))
    tree = read_any_tree(data.tree) if with_tree and data.tree is not None else None
    lined = read_lined_table(data, files["table"], names_of_tips(tree))
    table, tree, tips, text, _ = rarefied(lined.table, tree, data.max_missing, setting, seed)
    carried = np.flatnonzero(carriers_of(table.counts))
    if len(carried) < len(table.asv_ids):
        table, tips = table.select(asvs=carried), [tips[column] for column in carried if tips]
    tokens = tokenize_table(table, max_bp, data.positions)
    return TableSamples(table, tokens, tree, tips, lineup=lined.lineup, reads=text)
