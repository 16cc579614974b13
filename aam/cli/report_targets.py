"""What only the report of an `aam train` has: its predictions, beside the baselines, fold by fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aam.cli.report import PREDICTIONS, ReportOptions, pictures
from aam.cli.report_files import baseline_parts
from aam.cli.train_report import OUT_OF_FOLD, out_of_fold
from aam.config import FinetuneConfig, from_dict
from aam.evaluation.target_metrics import metrics_of
from aam.inference.predictions import IN_FOLD, TRUE
from aam.report.page import Part, RunRecord
from aam.report.parts import fold_part, target_part


def target_parts(run: Path, found: RunRecord, given: ReportOptions) -> list[Part]:
    """Figures, predictions, baselines where there are some, and folds."""
    config = from_dict(FinetuneConfig, found.manifest["config"])
    parts = [target_part(found.metrics, config.target.target)]
    parts += pictures(run, {PREDICTIONS: "Predictions of samples that the model never saw"})
    parts += baseline_parts(run, given)
    if (run / OUT_OF_FOLD).is_file():
        parts.append(fold_part(fold_rows(run, config)))
    return parts


def fold_rows(run: Path, config: FinetuneConfig) -> list[dict[str, Any]]:
    """Samples and figures of each fold; of several targets the number of samples alone."""
    metrics = metrics_of(config.target.task)
    rows = []
    for fold, table in out_of_fold(run, config).groupby(IN_FOLD, sort=False):
        row: dict[str, Any] = {"fold": fold, "samples": len(table)}
        if len(config.target.target) == 1:
            name = config.target.target[0]
            predicted, true = table[name].to_numpy(), table[f"{name}{TRUE}"].to_numpy()
            row |= {key: metric(predicted, true) for key, metric in metrics.items()}
        rows.append(row)
    return rows if len(rows) > 1 else []
