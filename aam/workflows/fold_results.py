"""Results of a fine-tuning: out-of-fold predictions, metrics, calibration and summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
from aam.corpus.study_checks import list_contributions
from aam.evaluation.calibration import (
    CALIBRATION,
    Calibration,
    fit_temperature,
    interval_scores,
    prediction_intervals,
    warn_of_infinite_intervals,
)
from aam.evaluation.metrics import MODEL
from aam.evaluation.study_metrics import StudyFigures, score_studies
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
from aam.report.record import METRICS_FILE, SUMMARY_FILE
from aam.report.summary import finetuning_summary

RESULTS = (OUT_OF_FOLD, METRICS_FILE, SUMMARY_FILE)
"""Files that `write_results` writes, sealed ones aside."""


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
    """Write out-of-fold predictions, calibration, metrics and the summary."""
    rows = np.concatenate([result.fold.test for result in results])
    config = dataclasses.replace(config, schema=dataclasses.replace(config.schema, classes=study.classes))
    each = [average([result.repeats], config) for result in results]
    found = Predictions(*(np.concatenate([getattr(one, name) for one in each]) for name in ("values", "spread")))
    true, folder = true_targets(config, study).iloc[rows], config.run.output_dir
    calibration, metrics = fit_calibration(config, study, found, rows)
    table = prediction_table(list(true.index), found, config, calibration)
    labels = study.labels.rows(rows)
    metrics |= flatten_metrics(score_targets(table, true, config, labels.groups)) | coverage(
        config, each, true, results
    )
    by_study = {name: score_by_study(config, labels, {MODEL: table}, name) for name in config.target.target}
    metrics |= flatten_metrics({name: found.estimates(MODEL) for name, found in by_study.items()})
    table = table.assign(**{f"{name}{TRUE}": column.to_numpy() for name, column in true.items()})
    table[IN_FOLD] = np.concatenate([[result.fold.name] * len(result.fold.test) for result in results])
    if labels.studies is not None and IN_STUDY not in table.columns:
        table[IN_STUDY] = labels.studies
    table.to_csv(folder / OUT_OF_FOLD, sep="\t", float_format="%.6g")
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
    text = finetuning_summary(config, metrics, list_contributions(study.labels, config.target, study.names))
    doubts = warn_of_infinite_intervals(calibration, config.target.target, config.fold.coverage)
    text += "".join(f"\n  Warning: {doubt}\n" for doubt in doubts)
    write_text(folder / SUMMARY_FILE, text)


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
        return Calibration(interval_scores(found.values, study.labels.numbers[rows])), {}
    classes = encode_labels(study.labels.rows(rows), config.schema).classes
    temperature = fit_temperature(found.values[:, 0], classes)
    return Calibration((), temperature), score_probabilities(found.values, classes, temperature)


def coverage(
    config: FinetuneConfig, each: list[Predictions], true: pd.DataFrame, results: list[FoldResult]
) -> dict[str, float]:
    """Coverage and width of the prediction intervals of each target.

    The intervals of a fold are calibrated with the residuals of the other folds."""
    if config.target.task not in NUMERIC_TASKS or len(each) < 2:
        return {}
    inside, width = [], []
    ends = np.cumsum([len(result.fold.test) for result in results])[:-1]
    whole = true.to_numpy(np.float64)
    truths = np.split(whole, ends)
    for place, one in enumerate(each):
        others = [k for k in range(len(each)) if k != place]
        values = np.concatenate([each[k].values for k in others])
        known = Calibration(interval_scores(values, np.concatenate([truths[k] for k in others])))
        lower, upper = np.moveaxis(prediction_intervals(one.values, known, config.fold.coverage), -1, 0)
        inside.append((lower <= truths[place]) & (truths[place] <= upper))
        width.append(upper - lower)
    figures = {"interval_nominal": config.fold.coverage}
    covered, wide = np.concatenate(inside), np.concatenate(width)
    for place, name in enumerate(true):
        before, there = metric_prefix(name, true.shape[1]), ~np.isnan(whole[:, place])
        figures[f"{before}interval_coverage"] = float(covered[there, place].mean())
        figures[f"{before}interval_width"] = float(wide[:, place].mean())
    return figures
