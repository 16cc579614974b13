"""What only the report of an `aam train` has: its predictions, beside the baselines, and the ASVs that drive them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aam.cli.report import Given, pictures, read_json
from aam.cli.train_report import OUT_OF_FOLD, PREDICTIONS, out_of_fold
from aam.config import NUMERIC_TASKS, FinetuneConfig, from_dict
from aam.errors import CheckpointError, InputError
from aam.evaluation.html import Part
from aam.evaluation.report import RunRecord
from aam.evaluation.report_parts import PREDICTORS, baseline_part, driver_part, fold_part, target_part
from aam.evaluation.target_metrics import classification_metrics, regression_metrics

BASELINES, DRIVERS = "baselines.json", "drivers.tsv"
ID = "feature-id"
"""First column of the table of `aam explain`."""


def target_parts(run: Path, found: RunRecord, given: Given) -> list[Part]:
    """Figures, predictions, baselines where there are some, folds, and leading ASVs where they were looked for."""
    config = from_dict(FinetuneConfig, found.manifest["config"])
    parts = [target_part(found.metrics, config.target.target)]
    parts += pictures(run, {PREDICTIONS: "Predictions of samples that the model never saw"})
    baseline, explain = given.baseline or run / BASELINES, given.explain or run / DRIVERS
    if given.baseline is not None or baseline.is_file():
        parts.append(baseline_part(read_baselines(baseline)))
    if (run / OUT_OF_FOLD).is_file():
        parts.append(fold_part(fold_rows(run, config)))
    if given.explain is not None or explain.is_file():
        parts.append(driver_part(read_drivers(explain)))
        parts += pictures(explain.parent, {explain.with_suffix(".png").name: "What the leading ASVs do"})
    return parts


def read_baselines(path: Path) -> dict[str, Any]:
    """What `aam baseline` wrote; raises CheckpointError for anything else."""
    found = read_json(path)
    if not found or not all(isinstance(of, dict) and set(of) & set(PREDICTORS) for of in found.values()):
        raise CheckpointError(f"--baseline {path}: not what `aam baseline` writes; give its {BASELINES}")
    return found


def read_drivers(path: Path) -> pd.DataFrame:
    """What `aam explain` wrote, all columns text; raises InputError for anything else."""
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--explain {path}: not readable ({error}); give the table of `aam explain`") from error
    if frame.columns[0] != ID:
        raise InputError(
            f"--explain {path}: the first column is {frame.columns[0]!r}, expected {ID!r}; give the table of "
            "`aam explain`"
        )
    return frame


def fold_rows(run: Path, config: FinetuneConfig) -> list[dict[str, Any]]:
    """Samples and figures of each fold; of several targets the number of samples alone."""
    metrics = regression_metrics() if config.target.task in NUMERIC_TASKS else classification_metrics()
    rows = []
    for fold, table in out_of_fold(run, config).groupby("fold", sort=False):
        row: dict[str, Any] = {"fold": fold, "samples": len(table)}
        if len(config.target.target) == 1:
            name = config.target.target[0]
            predicted, true = table[name].to_numpy(), table[f"{name}_true"].to_numpy()
            row |= {key: metric(predicted, true) for key, metric in metrics.items()}
        rows.append(row)
    return rows if len(rows) > 1 else []
