"""The table of several studies in summary and report: what each contributes, and how well it is predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aam.corpus.study_checks import Contribution
from aam.evaluation.study_metrics import CLASSES, NUMERIC
from aam.report.digits import estimate_of, format_estimate
from aam.report.page import DASH, HtmlTable, Part

STUDY_WORDS = (
    "each study by itself, over subjects; 95 % intervals over subjects, of the mean over studies and subjects; "
    f"{DASH}: not scored"
)
NO_CONTRAST = "Of a study with one class alone no contrast can be learned, and it is not scored."


def study_keys(metrics: Mapping[str, Any], study: str) -> list[str]:
    """Keys of the metrics of a study among those of a run, of all targets."""
    ends = tuple(f"{name}_{study}" for name in (*CLASSES, *NUMERIC))
    return [key for key in metrics if key in ends or key.endswith(tuple(f"_{end}" for end in ends))]


def study_rows(studies: Sequence[Contribution], metrics: Mapping[str, Any]) -> list[list[str]]:
    """A table, its head first: what each study contributes, and its metrics with their intervals."""
    keys = {found.study: study_keys(metrics, found.study) for found in studies}
    names = list(dict.fromkeys(key.removesuffix(f"_{study}") for study, own in keys.items() for key in own))
    rows = [["study", "samples", "subjects", "labels", *names]]
    for found in studies:
        subjects = DASH if found.subjects is None else f"{found.subjects:,}"
        row = [found.study, f"{found.samples:,}", subjects, found.labels_text or "none"]
        rows.append([*row, *(metric_cell(metrics, f"{name}_{found.study}") for name in names)])
    return rows


def metric_cell(metrics: Mapping[str, Any], key: str) -> str:
    """A metric of metrics.json with its interval; a dash where there is none."""
    estimate = estimate_of(metrics, key)
    return DASH if estimate is None else format_estimate(estimate)


def metric_text(name: str, scores: Mapping[str, float]) -> str:
    """A metric, by `value`, `low` and `high`, with its name."""
    return f"{name} {format_estimate(scores)}"


def study_part(studies: Sequence[Contribution], metrics: Mapping[str, Any]) -> Part:
    """The part of the report with one row per study."""
    if not studies:
        return Part("Studies")
    head, *rows = study_rows(studies, metrics)
    alone = [NO_CONTRAST] if any(len(found.classes) == 1 for found in studies) else []
    return Part("Studies", [HtmlTable(head, rows)], notes=[f"Metrics: {STUDY_WORDS}.", *alone])
