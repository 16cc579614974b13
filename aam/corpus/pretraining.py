"""From files to what training and evaluation draw from: table, tokens, targets and split that fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aam import datasets
from aam.config import DataConfig, PretrainConfig, flag
from aam.corpus.dataset import ASVDataset, Draw
from aam.corpus.prepared import open_prepared
from aam.corpus.rarefy import choose_depth
from aam.corpus.split import Sides, Split, split_samples
from aam.corpus.store import MANIFEST
from aam.errors import ConfigError, MatrixError, TreeError
from aam.io.files import check_file, sniff
from aam.io.ids import pick
from aam.io.matrix import read_matrix
from aam.io.metadata import read_groups
from aam.io.qza import open_artifact
from aam.io.sequences import tokenize
from aam.io.table import EMPTY_ASVS, Table, read_table
from aam.phylogeny.targets import ForestTargets, MatrixTargets, TreeTargets
from aam.phylogeny.tree import LONGEST, Tree, match_tips, read_tree
from aam.phylogeny.unifrac import Measure

SHALLOW = "samples with fewer reads than the rarefaction depth"
NOT_IN_TREE = "ASVs absent from the tree"
ONLY_ABSENT_ASVS = "samples all of whose ASVs are absent from the tree"
OF_ASVS = {EMPTY_ASVS, NOT_IN_TREE}
"""Reasons under which ASVs are left out; all others are reasons for samples."""
NOT_IN_MATRIX = "samples absent from the UniFrac matrix"


@dataclass(frozen=True)
class Corpus:
    """Everything a run draws from: `table`, its `tokens` [A, L] uint8, `targets` of drawn samples, `sides`, `depth`.

    `dropped` tells what was left out and why: reason -> ids. `tree` is pruned to the table; None with a given matrix or
    with several trees. `studies` int [samples] is the number of each sample's study, None where one table was read.
    """

    table: Table
    tokens: np.ndarray
    targets: TreeTargets | ForestTargets | MatrixTargets
    tree: Tree | None
    sides: Sides
    depth: int | None
    files: dict[str, Path]
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    studies: np.ndarray | None = None

    @cached_property
    def split(self) -> Split:
        """The ids of both sides."""
        return self.sides.ids(self.table.sample_ids)

    def samples(self, rows: np.ndarray, draw: Draw) -> ASVDataset:
        """Some of the samples, numbers int [n], drawn as told; nothing is copied."""
        # Samples of several studies share a batch where one tree compares them.
        studies = self.studies[rows] if self.studies is not None and self.tree is None else None
        ids = pick(self.table.sample_ids, rows)
        return ASVDataset(self.table.stored, self.tokens, ids, draw, studies, self.table.stored_rows(rows))


class Matched(NamedTuple):
    """What files say, matched and checked, before any sample is left out for its depth; fields as in `Corpus`.

    `depths` int64 [samples] are the reads of each; `by_id` int [samples] the samples in the order of their ids.
    """

    table: Table
    tokens: np.ndarray
    targets: TreeTargets | ForestTargets | MatrixTargets
    tree: Tree | None
    dropped: Mapping[str, Sequence[str]]
    depths: np.ndarray
    studies: np.ndarray | None = None
    by_id: np.ndarray | None = None


def open_corpus(config: PretrainConfig) -> Corpus:
    """Read, check and match the files of a pretraining; raises an InputError for whatever does not fit."""
    data, files = with_example(config.data)
    measure = Measure(config.model.unifrac_metric, config.model.unifrac_alpha)
    opened = (open_files if data.corpus is None else open_folder)(data, files, measure)
    depth = choose_depth(opened.depths, data.rarefy_depth)
    deep = opened.depths >= (depth or 0)
    table, dropped, studies, by_id = opened.table, opened.dropped, opened.studies, opened.by_id
    if not deep.all():
        dropped = {**dropped, SHALLOW: pick(table.sample_ids, np.flatnonzero(~deep))}
        table = table.select(samples=np.flatnonzero(deep))
        studies = studies if studies is None else studies[deep]
        by_id = by_id if by_id is None else (np.cumsum(deep) - 1)[by_id[deep[by_id]]]
    groups = None
    if data.group_column is not None:
        if data.metadata is None:
            raise ConfigError("--group-column names a metadata column, but no --metadata file was given; give one")
        groups = read_groups(data.metadata, data.group_column, table.sample_ids)
    gone = chain.from_iterable(dropped.values())
    sides = split_samples(table.sample_ids, data, config.run.seed, groups, gone, by_id)
    return Corpus(table, opened.tokens, opened.targets, opened.tree, sides, depth, files, dropped, studies)


def open_files(data: DataConfig, files: dict[str, Path], measure: Measure) -> Matched:
    """A table with its tree or its matrix."""
    if (data.tree is None) == (data.unifrac_matrix is None):
        given = "both" if data.tree is not None else "neither"
        raise ConfigError(
            f"found {given} of --tree and --unifrac-matrix, expected one of them; UniFrac targets come from it"
        )
    return match_files(read_table(files["table"], data.sequences), data, files, measure)


def match_files(table: Table, data: DataConfig, files: dict[str, Path], measure: Measure) -> Matched:
    """A table that has been read, with the tree or the matrix of `data`."""
    dropped = dict(table.dropped)
    tree = None
    if data.tree is not None:
        tree, table, names = match_tree(table, read_any_tree(data.tree), data.max_missing, dropped)
        targets: TreeTargets | MatrixTargets = TreeTargets(tree, tree.leaves_of(names), *measure)
    else:
        record = read_matrix(files["unifrac_matrix"], LONGEST if measure.metric == "weighted" else 1.0)
        table = match_matrix(table, record.ids, files["unifrac_matrix"], dropped)
        targets = MatrixTargets(record.ids, record.values)
    tokens = tokenize(table.sequences, data.max_bp, table.asv_ids)
    return Matched(table, tokens, targets, tree, dropped, sample_depths(table))


def open_folder(data: DataConfig, files: dict[str, Path], measure: Measure) -> Matched:
    """What `aam prepare` wrote."""
    found = open_prepared(files["corpus"].parent, data.max_bp)
    targets, tree = found.targets(*measure), found.trees[0] if len(found.trees) == 1 else None
    return Matched(found.table, found.tokens, targets, tree, found.dropped, found.depth, found.study, found.by_id)


def with_example(data: DataConfig) -> tuple[DataConfig, dict[str, Path]]:
    """The data options with the embedded example filled in where asked, and the input files by option name.

    The file of a prepared corpus is its manifest, which has the digests of all others.
    """
    names: tuple[str, ...] = ("table", "tree", "sequences", "unifrac_matrix", "metadata", "validation_samples")
    if data.corpus is not None:
        beside = [name for name in (*names[:4], "example") if getattr(data, name)]
        if beside:
            raise ConfigError(f"found both --corpus and {flag(beside[0])}, expected one of them; a corpus has its own")
        names = names[4:]
    if data.example:
        if data.table is not None:
            raise ConfigError("found both --example and --table, expected one of them")
        example = datasets.example()
        data = replace(
            data, table=example.table, tree=data.tree or example.tree, metadata=data.metadata or example.metadata
        )
        if data.unifrac_matrix is not None:
            data = replace(data, tree=None)
    if data.table is None and data.corpus is None:
        raise ConfigError("no feature table; give --table FILE, or --example for the embedded one")
    files = {name: Path(value) for name in names if (value := getattr(data, name)) is not None}
    return data, files if data.corpus is None else {"corpus": data.corpus / MANIFEST} | files


def read_any_tree(path: Path) -> Tree:
    """A tree from Newick or from a QIIME 2 rooted phylogeny."""
    check_file(path, "--tree", TreeError)
    if sniff(path) == "zip":
        with open_artifact(path, "Phylogeny[Rooted]") as payload:
            return read_tree(payload, str(path))
    return read_tree(path)


def sample_depths(table: Table) -> np.ndarray:
    """Reads per sample, int64 [samples]."""
    return np.asarray(table.counts.sum(axis=1), dtype=np.int64).ravel()


def match_tree(
    table: Table, tree: Tree, max_missing: float, dropped: dict[str, list[str]]
) -> tuple[Tree, Table, list[str]]:
    """Keep the ASVs that are tips, and the samples left with reads; the tree is pruned to them."""
    match = match_tips(table.asv_ids, table.sequences, tree, max_missing)
    if match.missing:
        dropped[NOT_IN_TREE] = match.missing
        table = table.select(asvs=match.columns)
        table = keep(table, sample_depths(table) > 0, dropped, ONLY_ABSENT_ASVS)
    return tree.shear(match.tips), table, match.tips


def match_matrix(table: Table, ids: list[str], path: Path, dropped: dict[str, list[str]]) -> Table:
    """Keep the samples that the matrix knows."""
    known = named(table, ids)
    if not known.any():
        raise MatrixError(
            f"{path}: none of the {len(table.sample_ids)} samples of the table is among its {len(ids)} ids "
            f"(table: {table.sample_ids[0]}, matrix: {ids[0]}); use the matrix computed from this table"
        )
    return keep(table, known, dropped, NOT_IN_MATRIX)


def named(table: Table, ids: Iterable[str]) -> np.ndarray:
    """Which samples are among these ids, bool [samples]."""
    wanted = set(ids)
    return np.array([sample in wanted for sample in table.sample_ids], dtype=bool)


def deep_enough(table: Table, setting: str, dropped: dict[str, list[str]]) -> tuple[Table, int | None]:
    """The samples that rarefaction keeps, and the reads that it draws of each, by a `setting` of --rarefy-depth."""
    depths = sample_depths(table)
    depth = choose_depth(depths, setting)
    return keep(table, depths >= (depth or 0), dropped, SHALLOW), depth


def keep(table: Table, kept: np.ndarray, dropped: dict[str, list[str]], reason: str) -> Table:
    """The samples that are `kept`, bool [samples]; the others are noted under `reason`."""
    if kept.all():
        return table
    dropped[reason] = [sample for sample, stays in zip(table.sample_ids, kept, strict=True) if not stays]
    return table.select(samples=np.flatnonzero(kept))
