"""Results of a fine-tuning: out-of-fold predictions, metrics, calibration and summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.atomic import write_json, write_record, write_text
from aam.config import NUMERIC_TASKS, FinetuneConfig
from aam.corpus.label_schema import encode_labels
from aam.corpus.labels import Labels
from aam.corpus.split import Fold
from aam.corpus.study import Study
from aam.evaluation.calibration import (
    CALIBRATION,
    Calibration,
    fit_temperature,
)
from aam.evaluation.intervals import (
    find_residuals,
    measure_coverage,
    warn_of_infinite_intervals,
    warn_of_negative_predictions,
)
from aam.evaluation.metrics import CONSTANT, MODEL
from aam.evaluation.study_metrics import StudyFigures, score_studies
from aam.evaluation.target_metrics import metrics_of, to_comparable_arrays
from aam.inference.predictions import (
    IN_FOLD,
    IN_STUDY,
    OUT_OF_FOLD,
    TRUE,
    Predictions,
    average,
    flatten_metrics,
    log_odds,
    metric_prefix,
    prediction_table,
    score_probabilities,
    score_targets,
)
from aam.io.frames import replace_frame
from aam.report.record import METRICS_FILE, SUMMARY_FILE, RunRecord
from aam.report.summary import finetuning_summary
from aam.training.run_files import read_manifest

NOT_OF_CONSTANTS = ("pearson",)
"""Metrics that predictions without spread do not have."""
RESULTS = (OUT_OF_FOLD, CALIBRATION, METRICS_FILE, SUMMARY_FILE)
"""Files that `write_results` writes."""


@dataclass(frozen=True)
class FoldResult:
    """Decoded predictions [R, n, O, Q] of a fold's test rows, the folder of its log, and its time and memory."""

    fold: Fold
    repeats: NDArray[np.float64]
    folder: Path
    steps: int
    seconds: float


def true_targets(config: FinetuneConfig, study: Study) -> pd.DataFrame:
    """True targets by sample, in the target's units or as classes; missing is NaN."""
    labels, names = study.labels, list(config.target.target)
    if config.target.task in NUMERIC_TASKS:
        return pd.DataFrame(labels.numbers, index=labels.sample_ids, columns=names)
    return pd.DataFrame({names[0]: pd.Series(labels.classes, index=labels.sample_ids, dtype=object)})


def write_results(config: FinetuneConfig, study: Study, results: list[FoldResult]) -> None:
    """Write out-of-fold predictions, calibration, metrics and the summary into a run that has its manifest."""
    rows = np.concatenate([result.fold.test for result in results])
    config = dataclasses.replace(config, schema=dataclasses.replace(config.schema, classes=study.classes))
    each = [average([result.repeats], config) for result in results]
    found = Predictions(*(np.concatenate([getattr(one, name) for one in each]) for name in ("values", "spread")))
    true, folder = true_targets(config, study).iloc[rows], config.run.output_dir
    calibration, metrics = fit_calibration(config, study, found, rows)
    table = pd.concat(
        prediction_table(list(true.index[own]), one, config, known)
        for own, one, known in calibrate_folds(config, each, true, calibration)
    )
    labels = study.labels.rows(rows)
    metrics |= flatten_metrics(score_targets(table, true, config, labels.groups))
    metrics |= score_constant(config, study, results)
    if config.target.task in NUMERIC_TASKS and len(results) > 1:
        metrics |= score_intervals(config, table, true)
    by_study = {name: score_by_study(config, labels, {MODEL: table}, name) for name in config.target.target}
    metrics |= flatten_metrics({name: found.estimates(MODEL) for name, found in by_study.items()})
    table = table.assign(**{f"{name}{TRUE}": column.to_numpy() for name, column in true.items()})
    table[IN_FOLD] = np.concatenate([[result.fold.name] * len(result.fold.test) for result in results])
    if labels.studies is not None and IN_STUDY not in table.columns:
        table[IN_STUDY] = labels.studies
    replace_frame(folder / OUT_OF_FOLD, table)
    write_record(folder / CALIBRATION, calibration.to_dict())
    trained = {row for result in results for row in result.fold.train.tolist()}
    metrics |= {
        "samples_train": len(trained),
        "samples_tested": len(rows),
        "folds": len(results),
        "steps": sum(result.steps for result in results),
        "seconds": sum(result.seconds for result in results),
    }
    write_json(folder / METRICS_FILE, metrics)
    text = finetuning_summary(RunRecord(folder, read_manifest(folder), metrics))
    doubts = warn_of_infinite_intervals(calibration.residuals, config.target.target, config.fold.coverage)
    doubts += warn_of_negative_predictions(true, table) if config.target.task in NUMERIC_TASKS else []
    text += "".join(f"\n  Warning: {doubt}\n" for doubt in doubts)
    write_text(folder / SUMMARY_FILE, text)


def score_constant(config: FinetuneConfig, study: Study, results: Sequence[FoldResult]) -> dict[str, float]:
    """Metrics, prefixed `constant_`, of what needs no samples: the median or most common class of training.

    A metric that constants do not have, such as a correlation, is left out.
    """
    true, metrics, figures = true_targets(config, study), metrics_of(config.target.task), dict[str, float]()
    for name, column in true.items():
        numeric = config.target.task in NUMERIC_TASKS
        said, truth = [], []
        for result in results:
            train, test = (column.iloc[rows].dropna() for rows in (result.fold.train, result.fold.test))
            value = train.median() if numeric else train.value_counts().sort_index(kind="stable").idxmax()
            said += [value] * len(test)
            truth += test.tolist()
        predicted, known = to_comparable_arrays(said, truth)
        before = metric_prefix(str(name), true.shape[1])
        found = {key: metric(predicted, known) for key, metric in metrics.items() if key not in NOT_OF_CONSTANTS}
        figures |= {f"{before}{CONSTANT}_{key}": value for key, value in found.items()}
    return figures


def score_by_study(
    config: FinetuneConfig, labels: Labels, tables: Mapping[str, pd.DataFrame], target: str
) -> StudyFigures:
    """Metrics of a target within studies, of one or more predictors.

    `tables` have their predictions for the rows of `labels`, columns as in `prediction_table`. Empty for one study,
    and for more than two classes.
    """
    classes, numeric = config.schema.classes, config.target.task in NUMERIC_TASKS
    if labels.studies is None or not (numeric or len(classes) == 2):
        return StudyFigures(tuple(tables), {}, {})
    if numeric:
        true = labels.numbers[:, config.target.target.index(target)]
        scores = {name: table[target].to_numpy() for name, table in tables.items()}
    else:
        true = np.array([label == classes[1] for label in labels.classes], np.float64)
        scores = {name: log_odds(table[[f"p_{label}" for label in classes]]) for name, table in tables.items()}
    known = np.flatnonzero(~np.isnan(true))
    own, scores = labels.rows(known), {name: values[known] for name, values in scores.items()}
    return score_studies(scores, true[known], own.studies or [], own.groups, numeric, config.run.seed)


def fit_calibration(
    config: FinetuneConfig, study: Study, found: Predictions, rows: NDArray[np.int64]
) -> tuple[Calibration, dict[str, Any]]:
    """Fit the calibration of later predictions on out-of-fold predictions; also returns its quality for classes."""
    if config.target.task in NUMERIC_TASKS:
        return Calibration(find_residuals(found.values, study.labels.numbers[rows])), {}
    classes = encode_labels(study.labels.rows(rows), config.schema).classes
    temperature = fit_temperature(found.values[:, 0], classes)
    groups = study.labels.rows(rows).groups
    return Calibration((), temperature), score_probabilities(
        found.values, classes, temperature, groups, config.run.seed
    )


def calibrate_folds(
    config: FinetuneConfig, each: Sequence[Predictions], true: pd.DataFrame, calibration: Calibration
) -> Iterator[tuple[slice, Predictions, Calibration]]:
    """Yield the rows of each fold in `true`, its predictions, and a calibration with the residuals of other folds.

    Classes, and a single fold, have the calibration of all.
    """
    ends = np.cumsum([len(one.values) for one in each]).tolist()
    for one, end in zip(each, ends, strict=True):
        own = slice(end - len(one.values), end)
        if config.target.task not in NUMERIC_TASKS or len(each) < 2:
            yield own, one, calibration
            continue
        others = np.concatenate([other.values for other in each if other is not one])
        truth = np.delete(true.to_numpy(np.float64), own, axis=0)
        yield own, one, Calibration(find_residuals(others, truth))


def score_intervals(config: FinetuneConfig, table: pd.DataFrame, true: pd.DataFrame) -> dict[str, float]:
    """Coverage and width of the prediction intervals of each target, from the table of out-of-fold predictions."""
    figures = {"interval_nominal": config.fold.coverage}
    for name, truth in true.items():
        covered, width = measure_coverage(truth, table[f"{name}_lower"], table[f"{name}_upper"])
        before = metric_prefix(str(name), true.shape[1])
        figures |= {f"{before}interval_coverage": covered, f"{before}interval_width": width}
    return figures
