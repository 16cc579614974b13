"""Baselines without pretraining on folds: metrics with intervals, and differences to trained runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import (
    NUMERIC_TASKS,
    FinetuneConfig,
    StudiesConfig,
    from_options,
    from_some,
    option_flag,
    select_options,
)
from aam.config.baseline import BaselineConfig, BaselineName
from aam.config.learner import LearnerConfig
from aam.corpus.labels import Labels
from aam.corpus.rarefy import rarefy_table
from aam.corpus.split import Fold
from aam.corpus.study import Study, open_study
from aam.errors import ConfigError
from aam.evaluation.labelled_counts import LabelledCounts
from aam.evaluation.metadata_baselines import BASELINES, predict_chances, predict_folds, usual
from aam.evaluation.metrics import MODEL, MODEL_MINUS_BASELINE
from aam.evaluation.study_metrics import score_subjects
from aam.evaluation.target_metrics import Estimate, estimate, metrics_of, paired_difference
from aam.inference.predictions import TRUE, log_odds
from aam.io.ids import SAMPLE_ID
from aam.observer import Observer
from aam.report.record import read_predictions
from aam.report.summary import baseline_text
from aam.text import counted
from aam.training.manifest import find_run_folder, read_config, recorded_folds
from aam.workflows.baseline_inputs import read_inputs
from aam.workflows.fold_results import score_by_study, true_targets
from aam.workflows.folds import keep_labels, list_doubts, study_folds
from aam.workflows.notes import say_studies
from aam.workflows.opened import say_opened

LOG_ODDS = "_log_odds"
"""Ending of the columns of log-odds."""
WITH_MODEL = ("tree", "max_missing", "reference", "threads", "baseline")
"""Options that may be given beside a run."""


class Runs(NamedTuple):
    """The run to compare, if any, other runs on the same folds to compare it with, and the baselines asked for."""

    model: Path | None
    against: tuple[Path, ...] = ()
    baselines: tuple[BaselineName, ...] = ()

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
    wanted = from_some(BaselineConfig, asked).baseline
    if model is None:
        if against:
            raise ConfigError(f"--against {against[0]}: there is nothing to compare it with; give --model RUN")
        given = {name: value for name, value in asked.items() if name != "baseline"}
        return from_options(FinetuneConfig, given), Runs(None, (), wanted)
    if extra := [name for name in asked if name not in WITH_MODEL]:
        raise ConfigError(f"--model brings its own data and folds, found {option_flag(extra[0])} too; leave it out")
    model = find_run_folder(model)
    for other in against:
        read_config(FinetuneConfig, other)
        if find_run_folder(other).samefile(model):
            raise ConfigError(f"--against {other}: the run of --model itself; give another run of `aam train`")
    return recorded_config(model, asked), Runs(model, tuple(against), wanted)


def recorded_config(model: Path, asked: dict[str, Any]) -> FinetuneConfig:
    """The configuration of a run, with the tree and the reference of the options."""
    config = read_config(FinetuneConfig, model)
    data, learner = from_some(StudiesConfig, asked), from_some(LearnerConfig, asked)
    tree = {name: getattr(data, name) for name in select_options(StudiesConfig, asked)}
    reference = {name: getattr(learner, name) for name in select_options(LearnerConfig, asked)}
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, **tree), learner=dataclasses.replace(config.learner, **reference)
    )


@dataclass(frozen=True)
class BaselineResult:
    """Metrics of all baselines and runs by target; out-of-fold predictions, and the true values.

    `metrics[target][name][metric]` is {"value", "low", "high"}, a 95 % bootstrap interval; with a model each baseline
    also has `model_minus_baseline`, the paired difference.
    """

    metrics: dict[str, dict[str, Any]]
    predictions: pd.DataFrame
    grouped: bool
    several_studies: bool = False

    def text(self) -> str:
        """The metrics as tables for the terminal, each with what it tells."""
        tables = [baseline_text(target, found, self.several_studies) for target, found in self.metrics.items()]
        return "\n".join([*tables, f"  (95 % bootstrap intervals{' over groups' if self.grouped else ''})"])


def baseline(config: FinetuneConfig, runs: Runs, observer: Observer) -> BaselineResult:
    """Predict the target with each baseline, on the folds of the runs or of `config`, and compare with the runs."""
    with observer.stage("reading the data"):
        study = open_study(config.data, config.target)
        config = dataclasses.replace(config, schema=dataclasses.replace(config.schema, classes=study.classes))
        folds = runs.folds(config, study)
        counts, ids = study.table.counts, study.table.sample_ids
        counts = counts if study.depth is None else rarefy_table(counts, ids, study.depth, config.run.seed)
    say_opened(study, observer, study.bases)
    say_studies(config.target, study, observer)
    for text in list_doubts(config, study, folds):
        observer.warn(text)
    inputs = read_inputs(config, study, counts, runs.baselines, observer)
    rows = np.concatenate([fold.test for fold in folds])
    of_runs = runs.predictions(study, rows, config)
    metrics, tables = {}, []
    for target in config.target.target:
        known, values = target_values(config, study, target)
        labelled = LabelledCounts(counts, values, config.target.task, *inputs)
        wanted = choose_baselines(labelled, runs.baselines, observer)
        trained = [fold._replace(train=fold.train[known[fold.train]]) for fold in folds]
        predicted = {name: predict(name, config, labelled, trained, observer, target) for name in wanted} | of_runs
        kept = known[rows]
        predicted = {name: table[kept] for name, table in predicted.items()}
        labels = study.labels.rows(rows[kept])
        metrics[target] = score_all(config, labels, values[rows[kept]], predicted, target)
        columns = columns_of(config, predicted, target)
        tables.append(pd.DataFrame({f"{target}{TRUE}": values[rows[kept]], **columns}, index=labels.sample_ids))
    predictions = pd.concat(tables, axis=1).rename_axis(SAMPLE_ID)
    return BaselineResult(metrics, predictions, config.data.group_column is not None, len(study.names) > 1)


def target_values(config: FinetuneConfig, study: Study, target: str) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Which samples have this target [N], and its values [N] (missing values have a placeholder)."""
    values = true_targets(config, study)[target]
    known = values.notna().to_numpy()
    filled = values.fillna(0.0 if config.target.task in NUMERIC_TASKS else "")
    return known, filled.to_numpy(np.float64 if config.target.task in NUMERIC_TASKS else object)


def columns_of(config: FinetuneConfig, predicted: Mapping[str, pd.DataFrame], target: str) -> dict[str, Any]:
    """Columns of baseline_predictions.tsv: what each predictor says, and of two classes the log-odds of the second."""
    found = dict[str, Any]()
    for name, table in predicted.items():
        found[f"{target}_{name}"] = table[target].to_numpy()
        if has_two_classes(config):
            found[f"{target}_{name}{LOG_ODDS}"] = log_odds_of(config, table)
    return found


def has_two_classes(config: FinetuneConfig) -> bool:
    """Whether one of two classes is predicted."""
    return config.target.task not in NUMERIC_TASKS and len(config.schema.classes) == 2


def log_odds_of(config: FinetuneConfig, table: pd.DataFrame) -> NDArray[np.float64]:
    """Log-odds of the second class [n], from a table of predictions."""
    return log_odds(table[[f"p_{label}" for label in config.schema.classes]])


def choose_baselines(
    study: LabelledCounts, asked: Sequence[BaselineName], observer: Observer
) -> tuple[BaselineName, ...]:
    """The baselines to score: those asked for, else the usual ones that these data allow; says which are not made.

    Raises ConfigError for one asked for that cannot predict this target.
    """
    missing = {name: BASELINES[name].missing(study) for name in asked or usual()}
    for name, reason in missing.items():
        if asked and reason is not None:
            raise ConfigError(f"--baseline {name}: {reason}; leave it out, or choose one of {', '.join(BASELINES)}")
    for reason in dict.fromkeys(missing.values()):
        names = [name for name, own in missing.items() if own == reason and BASELINES[name].of_task(study)]
        if reason is not None and names:
            observer.say(f"not made: {', '.join(names)}: {reason}")
    return tuple(name for name in BASELINES if name in missing and missing[name] is None)


def predict(
    name: BaselineName,
    config: FinetuneConfig,
    study: LabelledCounts,
    folds: list[Fold],
    observer: Observer,
    target: str,
) -> pd.DataFrame:
    """Predictions of a baseline for the test rows of all folds, in their order; columns as in `prediction_table`."""
    classes, seed = config.schema.classes, config.run.seed
    with observer.progress(f"{name.replace('_', ' ')} on {counted(len(folds), 'folds')}") as progress:
        if study.numeric:
            return pd.DataFrame({target: predict_folds(name, study, folds, seed, progress)})
        chances = predict_chances(name, study, folds, classes, seed, progress)
    found = pd.DataFrame(chances, columns=[f"p_{label}" for label in classes])
    return found.assign(**{target: np.array(classes, dtype=object)[chances.argmax(axis=1)]})


def predictions_of(model: Path, study: Study, rows: NDArray[np.int64], config: FinetuneConfig) -> pd.DataFrame:
    """The out-of-fold predictions of a run for these rows."""
    return read_predictions(model, config).loc[[study.labels.sample_ids[row] for row in rows]]


def score_all(
    config: FinetuneConfig, labels: Labels, true: NDArray[Any], predicted: dict[str, pd.DataFrame], target: str
) -> dict[str, Any]:
    """Metrics of each predictor of a target, `true` [n], and the paired difference of the model to each baseline."""
    metrics, groups, seed = metrics_of(config.target.task), labels.groups, config.run.seed
    by_study = score_by_study(config, labels, predicted, target)
    if labels.studies is None and has_two_classes(config):
        scores = {name: log_odds_of(config, table) for name, table in predicted.items()}
        by_study = score_subjects(scores, true == config.schema.classes[1], groups, seed)
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
