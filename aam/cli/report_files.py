"""What other commands left beside a run: baselines on its folds, and the ASVs that drive it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aam.cli.report import BASELINES, ReportOptions, pictures, read_json
from aam.errors import CheckpointError, InputError
from aam.io.ids import FEATURE_ID
from aam.report.page import Part
from aam.report.parts import PREDICTORS, baseline_part, driver_part

DRIVERS = "drivers.tsv"


def baseline_parts(run: Path, given: ReportOptions) -> list[Part]:
    """The baselines that were given, or lie in the run, or none."""
    path = given.baseline or run / BASELINES
    if given.baseline is None and not path.is_file():
        return []
    found: dict[str, Any] = read_json(path)
    if not found or not all(isinstance(of, dict) and set(of) & set(PREDICTORS) for of in found.values()):
        raise CheckpointError(f"--baseline {path}: not what `aam baseline` writes; give its {BASELINES}")
    return [baseline_part(found)]


def driver_parts(run: Path, given: ReportOptions) -> list[Part]:
    """The leading ASVs and their figure, given or in the run, or none."""
    path = given.explain or run / DRIVERS
    if given.explain is None and not path.is_file():
        return []
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--explain {path}: not readable ({error}); give the table of `aam explain`") from error
    if frame.columns[0] != FEATURE_ID:
        found = f"the first column is {frame.columns[0]!r}, expected {FEATURE_ID!r}"
        raise InputError(f"--explain {path}: {found}; give the table of `aam explain`")
    figures = read_json(path.with_suffix(".json"))
    return [
        driver_part(frame, figures.get("explained", "")),
        *pictures(path.parent, {path.with_suffix(".png").name: "What the leading ASVs do"}),
    ]
