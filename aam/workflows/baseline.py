"""Baselines without pretraining on folds: metrics with intervals, and differences to trained runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.atomic import write_json
from aam.config import NUMERIC_TASKS, FinetuneConfig, StudiesConfig, from_options, from_some, option_flag
from aam.corpus.labels import Labels
from aam.corpus.rarefy import rarefy_table
from aam.corpus.samples import read_any_tree
from aam.corpus.split import Fold
from aam.corpus.studies import resolve_studies
from aam.corpus.study import Study, open_study
from aam.errors import ConfigError
from aam.evaluation import metadata_baselines as baselines
from aam.evaluation.metrics import MODEL, MODEL_MINUS_BASELINE
from aam.evaluation.target_metrics import Estimate, estimate, metrics_of, paired_difference
from aam.inference.predictions import TRUE, read_out_of_fold
from aam.io.ids import SAMPLE_ID
from aam.observer import Observer
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.tree import match_tips
from aam.phylogeny.unifrac import Measure, build_community
from aam.report.record import BASELINES_FILE
from aam.report.summary import baseline_text
from aam.training.manifest import find_run_folder, read_config, recorded_folds
from aam.workflows.fold_results import score_by_study, true_targets
from aam.workflows.folds import keep_labels, list_doubts, study_folds
from aam.workflows.notes import say_of_tree, say_studies

BASELINE_PREDICTIONS = "baseline_predictions.tsv"
WITH_MODEL = ("tree", "max_missing")
"""Options that may be given beside a run."""


class Runs(NamedTuple):
    """The run to compare, if any, and other runs on the same folds to compare it with."""

    model: Path | None
    against: tuple[Path, ...] = ()

    def folds(self, config: FinetuneConfig, study: Study) -> list[Fold]:
        """The common folds of the runs; without a run those of `config`.

        Raises ConfigError if the runs have different folds.
        """
        if self.model is None:
            return study_folds(config, study)
        folds = recorded_folds(self.model, study)
        tested = [fold.test.tolist() for fold in folds]
        for other in self.against:
            if [fold.test.tolist() for fold in recorded_folds(other, study)] != tested:
                raise ConfigError(
                    f"--against {other}: its folds are not those of {self.model}; train it with the same data, "
                    "--folds, --group-column and --seed"
                )
        return keep_labels(config, study, folds)

    def predictions(self, study: Study, rows: NDArray[np.int64], config: FinetuneConfig) -> dict[str, pd.DataFrame]:
        """Predictions of each run for these rows, by name."""
        named = {path.resolve().name: path for path in self.against} | ({MODEL: self.model} if self.model else {})
        return {name: predictions_of(path, study, rows, config) for name, path in named.items()}


def resolve_runs(model: Path | None, against: Sequence[Path], asked: dict[str, Any]) -> tuple[FinetuneConfig, Runs]:
    """The configuration of a comparison, that of the run `model` with the tree that was asked for, and its runs.

    Raises ConfigError where options contradict each other.
    """
    if model is None:
        if against:
            raise ConfigError(f"--against {against[0]}: there is nothing to compare it with; give --model RUN")
        return from_options(FinetuneConfig, asked), Runs(None)
    if extra := [name for name in asked if name not in WITH_MODEL]:
        raise ConfigError(f"--model brings its own data and folds, found {option_flag(extra[0])} too; leave it out")
    model = find_run_folder(model)
    return recorded_config(model, asked), Runs(model, tuple(against))


def recorded_config(model: Path, asked: dict[str, Any]) -> FinetuneConfig:
    """The configuration of a run, with the tree of the options."""
    config, given = read_config(FinetuneConfig, model), from_some(StudiesConfig, asked)
    own = {name: getattr(given, name) for name in asked}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **own))


@dataclass(frozen=True)
class BaselineResult:
    """Metrics of all baselines and runs by target; out-of-fold predictions, and the true values.

    `metrics[target][name][metric]` is {"value", "low", "high"}, a 95 % bootstrap interval; with a model each baseline
    also has `model_minus_baseline`, the paired difference.
    """

    metrics: dict[str, dict[str, Any]]
    predictions: pd.DataFrame
    grouped: bool

    def write(self, folder: Path) -> None:
        """Write baselines.json and baseline_predictions.tsv."""
        folder.mkdir(parents=True, exist_ok=True)
        self.predictions.to_csv(folder / BASELINE_PREDICTIONS, sep="\t", float_format="%.6g")
        write_json(folder / BASELINES_FILE, self.metrics)

    def text(self) -> str:
        """The metrics as tables for the terminal."""
        tables = [baseline_text(target, found) for target, found in self.metrics.items()]
        return "\n".join([*tables, f"  (95 % bootstrap intervals{' over groups' if self.grouped else ''})"])


def baseline(config: FinetuneConfig, runs: Runs, observer: Observer) -> BaselineResult:
    """Predict the target with each baseline, on the folds of the runs or of `config`, and compare with the runs."""
    with observer.stage("reading the data"):
        study = open_study(config.data, config.target)
        config = dataclasses.replace(config, schema=dataclasses.replace(config.schema, classes=study.classes))
        folds = runs.folds(config, study)
        counts = study.table.counts
        counts = counts if study.depth is None else rarefy_table(counts, study.depth, config.run.seed)
        distances = compute_unifrac(config, study, counts, observer)
    say_studies(config.target, study, observer)
    for text in list_doubts(config, study, folds):
        observer.warn(text)
    rows = np.concatenate([fold.test for fold in folds])
    of_runs = runs.predictions(study, rows, config)
    metrics, tables = {}, []
    for target in config.target.target:
        known, values = target_values(config, study, target)
        labelled = baselines.LabelledCounts(counts, values, config.target.task, distances)
        predicted = predict_baselines(config, labelled, folds, known, observer, target) | of_runs
        kept = known[rows]
        predicted = {name: table[kept] for name, table in predicted.items()}
        labels = study.labels.rows(rows[kept])
        metrics[target] = score_all(config, labels, values[rows[kept]], predicted, target)
        columns = {f"{target}_{name}": table[target].to_numpy() for name, table in predicted.items()}
        tables.append(pd.DataFrame({f"{target}{TRUE}": values[rows[kept]], **columns}, index=labels.sample_ids))
    predictions = pd.concat(tables, axis=1).rename_axis(SAMPLE_ID)
    return BaselineResult(metrics, predictions, config.data.group_column is not None)


def target_values(config: FinetuneConfig, study: Study, target: str) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which samples have this target [N], and its values [N] (missing values have a placeholder)."""
    values = true_targets(config, study)[target]
    known = values.notna().to_numpy()
    filled = values.fillna(0.0 if config.target.task in NUMERIC_TASKS else "")
    return known, filled.to_numpy(np.float64 if config.target.task in NUMERIC_TASKS else object)


def predict_baselines(
    config: FinetuneConfig,
    study: baselines.LabelledCounts,
    folds: list[Fold],
    known: NDArray[np.bool_],
    observer: Observer,
    target: str,
) -> dict[str, pd.DataFrame]:
    """Predictions of each baseline for the test rows of all folds, in their order; columns as in `prediction_table`."""
    trained = [fold._replace(train=fold.train[known[fold.train]]) for fold in folds]
    classes, seed, found = config.schema.classes, config.run.seed, {}
    for name in ("random_forest", "linear", "knn", "constant"):
        if name == "knn" and study.distances is None:
            continue
        with observer.progress(f"{name.replace('_', ' ')} on {len(folds)} folds") as progress:
            if config.target.task in NUMERIC_TASKS:
                values = baselines.predict_folds(name, study, trained, seed, progress)
                found[name] = pd.DataFrame({target: values})
                continue
            chances = baselines.predict_chances(name, study, trained, classes, seed, progress)
        found[name] = pd.DataFrame(chances, columns=[f"p_{label}" for label in classes])
        found[name][target] = np.array(classes, dtype=object)[chances.argmax(axis=1)]
    return found


def compute_unifrac(
    config: FinetuneConfig, study: Study, counts: Any, observer: Observer
) -> NDArray[np.float64] | None:
    """Unweighted UniFrac of all samples [N, N], or None without a tree or if a sample has no ASV in it."""
    data = resolve_studies(config.data)
    if data.tree is None:
        observer.say("no nearest neighbours on UniFrac: give --tree")
        return None
    tree = read_any_tree(data.tree)
    say_of_tree(tree, observer)
    match = match_tips(study.table.asv_ids, study.table.sequences, tree, data.max_missing)
    on_tree = counts[:, match.columns]
    if (np.asarray(on_tree.sum(axis=1)).ravel() == 0).any():
        observer.say("no nearest neighbours on UniFrac: a sample has no ASV on the tree")
        return None
    with observer.progress("UniFrac") as progress:
        return full_matrix(build_community(on_tree, match.tips, tree), Measure("unweighted", 1.0), "torch", progress)


def predictions_of(model: Path, study: Study, rows: NDArray[np.int64], config: FinetuneConfig) -> pd.DataFrame:
    """The out-of-fold predictions of a run for these rows."""
    return read_out_of_fold(model, config).loc[[study.labels.sample_ids[row] for row in rows]]


def score_all(
    config: FinetuneConfig, labels: Labels, true: NDArray[Any], predicted: dict[str, pd.DataFrame], target: str
) -> dict[str, Any]:
    """Metrics of each predictor of a target, `true` [n], and the paired difference of the model to each baseline."""
    metrics, groups, seed = metrics_of(config.target.task), labels.groups, config.run.seed
    by_study = score_by_study(config, labels, predicted, target)
    found: dict[str, Any] = {}
    for name, table in predicted.items():
        own = estimate(metrics, table[target].to_numpy(), true, groups, seed) | by_study.estimates(name)
        found[name] = {key: to_json(value) for key, value in own.items()}
        if name != MODEL and MODEL in predicted:
            columns = (predicted[MODEL][target].to_numpy(), table[target].to_numpy())
            pairs = {key: paired_difference(metric, columns, true, groups, seed) for key, metric in metrics.items()}
            pairs |= by_study.differences(MODEL, name)
            found[name][MODEL_MINUS_BASELINE] = {key: to_json(value) for key, value in pairs.items()}
    return found


def to_json(found: Estimate) -> dict[str, float]:
    """An estimate as JSON values."""
    return {"value": found.value, "low": found.interval.low, "high": found.interval.high}
