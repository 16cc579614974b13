"""Opens samples with labels, for fine-tuning, prediction and baselines; no tree is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aam.config import NUMERIC_TASKS, DataConfig, StudiesConfig, TargetConfig, TargetSchema
from aam.corpus.class_rules import classify, parse_rules
from aam.corpus.covariates import describe_covariates, read_covariates, warn_of_alike_categories, warn_of_texts
from aam.corpus.equal_asvs import order_by_id
from aam.corpus.label_schema import check_spread, class_names, refuse_leaks
from aam.corpus.labels import NO_STUDY, Labels, MetadataOverlap, read_labels
from aam.corpus.likeness import warn_of_alike_ids
from aam.corpus.lineup import read_lined_table
from aam.corpus.rarefy import choose_depth, depth_text, keep_deep_samples
from aam.corpus.samples import TableSamples, drop_absent, resolve_inputs, tokenize_table
from aam.corpus.studies import open_studies
from aam.corpus.study_checks import doubts_between_studies, doubts_of_names, notes_on_columns
from aam.errors import ConfigError, MetadataError
from aam.io.ids import find_wanted
from aam.io.metadata import parse_numbers, read_text, refuse_unmatched, select_column
from aam.io.table import EMPTY_SAMPLES
from aam.text import quote

NOT_IN_METADATA = "samples that are not in the metadata"
NOT_WANTED = "samples that --where leaves out"
NO_TARGET = "samples without a target"
MIN_STUDY_SAMPLES = 4
"""Fewer samples cannot be split into training and test samples."""
SUBJECTS = {"host_subject", "host", "subject", "patient", "individual", "participant", "donor", "animal", "mouse"}
"""Names, without `_id`, of metadata columns that identify the subject of a sample."""


@dataclass(frozen=True, kw_only=True)
class Study(TableSamples):
    """Samples with labels, of one study or several: row i of `labels` is row i of `table`.

    `classes` are in the order of the model's outputs. `metadata` has the samples of table and metadata, all columns
    text. `names` are the studies, empty if there is one; `notes` are messages on joining them, `doubts` warnings.
    """

    labels: Labels
    classes: tuple[str, ...]
    overlap: MetadataOverlap
    metadata: pd.DataFrame
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def open_study(data: StudiesConfig, target: TargetConfig) -> Study:
    """Read, join and check tables and metadata; raises an InputError for files that do not fit together."""
    found = open_studies(data)
    table, table_ids, source, frame = found.table, found.table.sample_ids, found.metadata.source, found.metadata.frame
    labels, overlap = read_labels(found.metadata, target, data.group_column, table.sample_ids, found.studies)
    table = table.keep(find_wanted(table.sample_ids, set(frame.index)), NOT_IN_METADATA)
    table = table.keep(find_wanted(table.sample_ids, set(labels.sample_ids)), NOT_WANTED)
    if not labels.labelled.any():
        names = " and ".join(map(repr, target.target))
        raise MetadataError(
            f"{source}: column {names} has no value for any of the {len(labels.sample_ids)} samples of the "
            "table; choose another --target"
        )
    table, depth, text = keep_deep_samples(table.keep(labels.labelled, NO_TARGET), data.rarefy_depth)
    table = table.select(samples=order_by_id(table))
    row_of = {sample: row for row, sample in enumerate(labels.sample_ids)}
    labels = labels.rows(np.array([row_of[sample] for sample in table.sample_ids], np.int64))
    check_study(labels, target, data, source)
    table, notes = drop_absent(table), (*found.notes, *describe_covariates(labels.covariates))
    own = frame.reindex([sample for sample in table_ids if sample in frame.index])
    columns = {"--group-column": data.group_column, "--study-column": data.study_column}
    doubts = (*found.metadata.doubts, *doubts_of_names(labels, target, own, columns))
    doubts += doubts_between_studies(labels, target)
    if found.studies is not None:
        notes += notes_on_columns(frame, found.studies, labels, target, data.group_column)
    return Study(
        table, tokenize_table(table, data.max_bp, data.positions), depth=depth, files=found.files, labels=labels,
        lineup=found.lineup, classes=class_names(labels, target, source), overlap=overlap, metadata=frame,
        names=found.names, notes=notes, doubts=doubts, reads=text,
    )  # fmt: skip


def check_study(labels: Labels, target: TargetConfig, data: StudiesConfig, source: Path | str) -> None:
    """Raise for too few samples, samples without study or group, constant targets, covariates that predict the target.

    The labels came from the metadata `source`.
    """
    if len(labels.sample_ids) < MIN_STUDY_SAMPLES:
        raise MetadataError(
            f"{source}: {len(labels.sample_ids)} samples can be used, expected at least {MIN_STUDY_SAMPLES}; "
            "check the overlap of metadata and table, --where and --rarefy-depth"
        )
    for column, values, none in (
        (data.study_column, labels.studies, NO_STUDY), (data.group_column, labels.groups, None)
    ):  # fmt: skip
        nameless = [name for name, value in zip(labels.sample_ids, values or (), strict=False) if value == none]
        if nameless:
            raise MetadataError(
                f"{source}: column {column!r} has no value for {len(nameless)} of {len(labels.sample_ids)} samples, "
                f"first {quote(nameless[0])}; fill the column in, or leave these out"
            )
    for option, column in (("--study-column", data.study_column), ("--group-column", data.group_column)):
        if column in target.target:
            raise ConfigError(f"--target and {option} are both {column!r}: no sample to test has a value of training")
    if target.task in NUMERIC_TASKS:
        for name, values in zip(target.target, labels.numbers.T, strict=True):
            check_spread(f"{source}: column {name!r}", values)
    refuse_leaks(labels, target)


def find_likely_groups(metadata: pd.DataFrame, sample_ids: Sequence[str]) -> tuple[str, list[str]] | None:
    """Name and values of a metadata column that, by its name, holds subjects with several samples each; or None."""
    for name in (name for name in metadata.columns if str(name).lower().removesuffix("_id") in SUBJECTS):
        values = metadata[name].reindex(sample_ids)
        if 1 < values.nunique() < values.count():
            alone = pd.Series([f"sample {sample}" for sample in sample_ids], index=values.index)
            return str(name), values.fillna(alone).astype(str).tolist()
    return None


@dataclass(frozen=True, kw_only=True)
class NewSamples(TableSamples):
    """Samples to predict: row i of `labels` is row i of `table`; `refused` has the reason for each refused id.

    `truth` has the targets that the metadata has, in columns named as the targets; missing values are NaN. `doubts`
    are warnings.
    """

    labels: Labels
    refused: dict[str, str]
    truth: pd.DataFrame | None
    doubts: tuple[str, ...] = ()

    def unseen(self, schema: TargetSchema) -> dict[str, int]:
        """Number of samples whose value is missing or new, by covariate."""
        frame, found = self.labels.covariates, {}
        for covariate in schema.covariates:
            values = frame[covariate.name]
            known = values.isin(covariate.categories) if covariate.categories else ~np.isnan(parse_numbers(values))
            found[covariate.name] = int((~known).sum())
        return {name: count for name, count in found.items() if count}


def open_new_samples(data: DataConfig, target: TargetConfig, schema: TargetSchema) -> NewSamples:
    """Read a table and, if given, its metadata; samples that cannot be predicted are listed in `refused`.

    Raises an InputError for unusable files, and for cells that are no numbers of a covariate that is one by `schema`.
    """
    data, files = resolve_inputs(data)
    table, lineup = read_lined_table(data, files["table"])
    refused = dict.fromkeys(table.dropped.get(EMPTY_SAMPLES, []), "no reads")
    depths = table.depths()
    depth = choose_depth(depths, data.rarefy_depth)
    text = depth_text(depths, data.rarefy_depth, depth)
    shallow = depths < (depth or 1)
    refused |= {
        table.sample_ids[row]: f"{depths[row]} reads, fewer than the {depth} drawn of each sample (--rarefy-depth)"
        for row in np.flatnonzero(shallow).tolist()
    }
    table = table.select(samples=np.flatnonzero(~shallow)).drop_absent_asvs()
    frame, doubts = pd.DataFrame(index=table.sample_ids), list[str]()
    if data.metadata is not None:
        frame = read_text(data.metadata)
        refuse_unmatched(frame, table.sample_ids, data.metadata)
        doubts = warn_of_alike_ids(table.sample_ids, frame.index)
        frame = frame.reindex(table.sample_ids)
        for name in target.covariate:
            select_column(frame, name, data.metadata)
    wanted, types = frame.reindex(columns=list(target.covariate)), schema.types()
    covariates = read_covariates([wanted[name] for name in wanted], types, frame.index, data.metadata or "")
    doubts += warn_of_alike_categories(covariates, schema)
    count = len(table.sample_ids)
    labels = Labels(table.sample_ids, np.full((count, len(target.target)), np.nan), [None] * count, covariates, None)
    truth = frame[list(target.target)] if set(target.target) <= set(frame.columns) else None
    if truth is not None and target.task in NUMERIC_TASKS:
        doubts += warn_of_texts(truth)
        truth = pd.DataFrame({name: parse_numbers(values) for name, values in truth.items()}, index=truth.index)
    if truth is not None and (rules := parse_rules(target)):
        truth = pd.DataFrame({name: classify(values, rules) for name, values in truth.items()}, index=truth.index)
    if truth is not None and not truth.notna().any().all():
        truth = None
    tokens = tokenize_table(table, data.max_bp, data.positions)
    return NewSamples(
        table, tokens, depth=depth, files=files, labels=labels, refused=refused, truth=truth, lineup=lineup, reads=text,
        doubts=tuple(doubts),
    )  # fmt: skip
