"""Opens the data of a pretraining, from files or a prepared corpus: samples, targets, and the split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aam.config import DataConfig, PretrainConfig, option_flag
from aam.config.fields import GENE_COLUMNS
from aam.corpus.equal_asvs import order_by_id
from aam.corpus.lineup import Lineup, read_lined_table
from aam.corpus.prepared import open_prepared
from aam.corpus.rarefy import SHALLOW, choose_depth, depth_text
from aam.corpus.reference_tips import ReferenceTips, default_window, reference_tips, window_of_reads
from aam.corpus.samples import (
    SAMPLE_FILES,
    TABLE_FILES,
    TableSamples,
    match_tree,
    names_of_tips,
    read_any_tree,
    resolve_inputs,
    tokenize_table,
)
from aam.corpus.simulated import simulate
from aam.corpus.split import Sides, Split, split_samples
from aam.corpus.windows import GeneWindows, tips_of_reads
from aam.errors import ConfigError, MatrixError, TableError
from aam.gene.layout import summarise_reads
from aam.io.files import check_file
from aam.io.ids import find_wanted
from aam.io.matrix import read_matrix
from aam.io.metadata import read_groups
from aam.io.table import Table
from aam.phylogeny.targets import ForestTargets, MatrixTargets, TreeTargets
from aam.phylogeny.tree import LONGEST, Tree
from aam.phylogeny.unifrac import Measure
from aam.placement.reference import Reference
from aam.placement.store import RECORD, open_reference

NOT_IN_MATRIX = "samples absent from the UniFrac matrix"


@dataclass(frozen=True, kw_only=True)
class Corpus(TableSamples):
    """Samples with the `targets` of those that are drawn, and the `sides` of a split.

    `tree` is pruned to the table; None with a given matrix or with several trees. `reference`: tips that are learned
    too.
    """

    targets: TreeTargets | ForestTargets | MatrixTargets
    sides: Sides
    reference: ReferenceTips | None = None

    @cached_property
    def split(self) -> Split:
        """The ids of both sides."""
        return self.sides.ids(self.table.sample_ids)


def open_corpus(config: PretrainConfig) -> Corpus:
    """Read, check and match the files of a pretraining; raises an InputError for files that do not fit together."""
    if config.tips.reference is None:
        return open_table_corpus(config)
    folder = config.tips.reference
    check_reference_options(config)
    if lacks_samples(config.data):
        refuse_table_options(config.data)
    corpus = open_with_reference(config, open_reference(folder))
    return replace(corpus, files=corpus.files | {"reference": folder / RECORD})


def lacks_samples(data: DataConfig) -> bool:
    """Whether no samples are given: a reference is learned alone."""
    return not (data.table or data.corpus or data.example)


def refuse_table_options(data: DataConfig) -> None:
    """Raise ConfigError for options about a table that is not given."""
    for name in (*TABLE_FILES, *SAMPLE_FILES):
        if getattr(data, name) is not None:
            raise ConfigError(
                f"{option_flag(name)} is about a table, but there is no feature table; give --table FILE too, or "
                "--reference alone"
            )


def open_with_reference(config: PretrainConfig, reference: Reference) -> Corpus:
    """The samples of a pretraining with the tips of a reference, in the window of their reads.

    Without a table the samples are simulated ones of the tips.
    """
    data, random = config.data, config.tips.windows == "random"
    if random and data.positions != "gene":
        raise ConfigError("--windows random needs --positions gene, which tells windows of the gene apart; give both")
    if lacks_samples(data):
        window = default_window(reference, data.max_bp)
        tips = reference_tips(reference, window, 1 + window.bases, config)
        found = simulate_corpus(reference, tips, config)
    else:
        found = open_table_corpus(config)
        width = found.tokens.shape[1]
        longest = width - 1 if data.positions == "read" else data.max_bp or GENE_COLUMNS
        window = window_of_reads(found.table.sequences, longest)
        tips = reference_tips(reference, window, width, config)
    windows = GeneWindows(reference, tips_of_reads(found.tokens, reference)) if random else None
    return replace(found, reference=replace(tips, windows=windows))


def check_reference_options(config: PretrainConfig) -> None:
    """Raise ConfigError for options that --reference cannot be with."""
    if config.model.unifrac_head == "euclidean":
        raise ConfigError(
            "--reference teaches tree distances, which --unifrac-head euclidean does not have; use both or latent-tree"
        )
    if config.model.unifrac_metric == "weighted" and not config.loss.same_scale:
        raise ConfigError(
            "--unifrac-metric weighted has the units of one tree, but --reference and the table's tree have their own; "
            "use weighted_normalized, or --same-scale if the table's tree has the units of the reference"
        )


def open_table_corpus(config: PretrainConfig) -> Corpus:
    """As `open_corpus`, without a reference."""
    data, files = resolve_inputs(config.data)
    config, measure = replace(config, data=data), Measure(config.model.unifrac_metric, config.model.unifrac_alpha)
    if data.corpus is not None:
        if data.trim != DataConfig.trim:
            raise ConfigError("--trim trims tables, and --corpus has its reads trimmed: give it to `aam prepare`")
        found = open_prepared(data.corpus, data.max_bp, data.positions)
        corpus = Corpus(
            found.table, found.tokens, found.trees[0] if len(found.trees) == 1 else None, studies=found.study,
            files=files, targets=found.targets(*measure), sides=Sides.unsplit(len(found.depth)),
            lineup=found.lineup,
        )  # fmt: skip
        return rarefy_and_split(corpus, config, found.depth, found.by_id)
    if (data.tree is None) == (data.unifrac_matrix is None):
        given = "both" if data.tree is not None else "neither"
        make = "" if data.tree is not None else "; `aam place` makes a tree of a table, insertion-tree.nwk"
        raise ConfigError(
            f"found {given} of --tree and --unifrac-matrix, expected one of them; UniFrac targets come from it{make}"
        )
    check_file(files["table"], "--table", TableError)  # before a large tree is read
    tree = None if data.tree is None else read_any_tree(data.tree)
    table, lineup = read_lined_table(data, files["table"], names_of_tips(tree))
    corpus = replace(match_targets(table, tree, data, files, measure), lineup=lineup)
    return rarefy_and_split(corpus, config, corpus.table.depths())


def simulate_corpus(reference: Reference, tips: ReferenceTips, config: PretrainConfig) -> Corpus:
    """A corpus of simulated samples of reference tips, for a reference alone."""
    found = simulate(reference, tips, config.data.validation_fraction, config.run.seed)
    tree = reference.tree.shear(found.table.asv_ids)
    measure = Measure(config.model.unifrac_metric, config.model.unifrac_alpha)
    targets, tokens = TreeTargets(tree, tree.leaves_of(found.table.asv_ids), *measure), tips.tokens[found.places]
    names = found.table.asv_ids
    record = summarise_reads(found.table.sequences)  # so that tables are lined up with it later
    return Corpus(
        found.table, tokens, tree, names, targets=targets, sides=found.sides, reference=tips,
        lineup=Lineup(() if record is None else (record,)),
    )  # fmt: skip


def match_targets(
    table: Table, tree: Tree | None, data: DataConfig, files: dict[str, Path], measure: Measure
) -> Corpus:
    """Match a table with a tree, or the matrix of `data`; in this corpus all samples train, with all their reads."""
    tips = list[str]()
    targets: TreeTargets | MatrixTargets
    if tree is not None:
        table, tree, tips = match_tree(table, tree, data.max_missing)
        targets = TreeTargets(tree, tree.leaves_of(tips), *measure)
    else:
        matrix = read_matrix(files["unifrac_matrix"], LONGEST if measure.metric == "weighted" else 1.0)
        table = match_matrix(table, matrix.ids, files["unifrac_matrix"])
        targets = MatrixTargets(matrix.ids, matrix.values)
    tokens, sides = tokenize_table(table, data.max_bp, data.positions), Sides.unsplit(len(table.sample_ids))
    return Corpus(table, tokens, tree, tips, files=files, targets=targets, sides=sides)


def match_matrix(table: Table, ids: list[str], path: Path) -> Table:
    """Keep the samples that are in the matrix at `path`; raises `MatrixError` if none is."""
    known = find_wanted(table.sample_ids, set(ids))
    if not known.any():
        raise MatrixError(
            f"{path}: none of the {len(table.sample_ids)} samples of the table is among its {len(ids)} ids "
            f"(table: {table.sample_ids[0]}, matrix: {ids[0]}); use the matrix computed from this table"
        )
    return table.keep(known, NOT_IN_MATRIX)


def rarefy_and_split(
    corpus: Corpus, config: PretrainConfig, depths: NDArray[np.int64], by_id: NDArray[np.int32] | None = None
) -> Corpus:
    """Order the samples by id, leave out those below the rarefaction depth, and hold some of the others out.

    `depths` [samples] are the reads of each; `by_id` int [samples] the samples in the order of their ids, if known.
    """
    data = config.data
    order = order_by_id(corpus.table) if by_id is None else by_id
    depth = choose_depth(depths, data.rarefy_depth)
    deep = depths[order] >= (depth or 0)
    table = corpus.table.select(samples=order).keep(deep, SHALLOW)
    studies = None if corpus.studies is None else corpus.studies[order[deep]]
    groups = None
    if data.group_column is not None:
        if data.metadata is None:
            raise ConfigError("--group-column names a metadata column, but no --metadata file was given; give one")
        groups = read_groups(data.metadata, data.group_column, table.sample_ids)
    gone = chain.from_iterable(table.dropped.values())
    sides = split_samples(table.sample_ids, data, config.run.seed, groups, gone, np.arange(len(table.sample_ids)))
    text = depth_text(depths, data.rarefy_depth, depth)
    return replace(corpus, table=table, depth=depth, studies=studies, sides=sides, reads=text)
