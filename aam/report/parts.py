"""The parts of a report that one kind of run has: figures of heads or targets, baselines, folds, drivers, the audit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from aam.evaluation.audit import SHUFFLES, Audit
from aam.report.page import DASH, Part, number, table, text
from aam.text import cut

UNIFRAC_SCORES = (("r2", "R²", "{:.3f}"), ("mae", "MAE", "{:.4f}"), ("pearson", "Pearson r", "{:.3f}"))
UNIFRAC_ROWS = (
    ("this model", "unifrac"),
    ("this model, by sample embeddings", "euclidean"),
    ("calibrated UPGMA on Hamming distances", "baseline_upgma"),
    ("calibrated Jaccard", "baseline_jaccard"),
)
NUCLEOTIDE_ROWS = (("this model", "nucleotide"), ("consensus of the position", "nucleotide_consensus"))
LABELS = {
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "median_error": "median absolute error",
    "r2": "R²",
    "pearson": "Pearson r",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "area under the ROC curve",
    "nll": "negative log-likelihood, nats",
    "nll_uncalibrated": "the same before calibration",
    "ece": "expected calibration error",
    "ece_uncalibrated": "the same before calibration",
    "interval_nominal": "part that intervals are to cover",
    "interval_coverage": "part that they cover",
    "interval_width": "mean width of the intervals",
}
"""Figures of a fine-tuning in words, in this order; what a run does not have is left out."""
PREDICTORS = {
    "model": "this model",
    "random_forest": "random forest on relative abundance",
    "linear": "linear model on centred log-ratios",
    "knn": "nearest neighbours on UniFrac",
    "constant": "median or commonest class",
}
"""The predictors of a baselines.json in words; other runs stand there by their own names."""
COMPARED = ("mae", "r2", "balanced_accuracy", "macro_f1")
"""Figures of each predictor in the table of baselines, those that it has."""
DRIVERS, NAME = 20, 30
"""Leading ASVs that are listed, and the characters of their ids that are shown."""
DRIVER_WORDS = (
    "Attribution: how far an ASV moves what is explained, up or down, in a sample that has it; influence: the same "
    "whichever way; share: its part of the influence of all ASVs. Long ids are cut; they stand whole, by the same "
    "rank, in the table of `aam explain`."
)


def unifrac_part(metrics: Mapping[str, Any]) -> Part:
    """The heads of a pretraining beside the baselines."""
    rows = []
    for label, key in UNIFRAC_ROWS:
        if f"{key}_r2" in metrics:
            rows.append([label, *(number(metrics[f"{key}_{name}"], form) for name, _, form in UNIFRAC_SCORES)])
        elif f"{key}_skipped" in metrics:
            rows.append([f"{label}: {metrics[f'{key}_skipped']}", DASH, DASH, DASH])
    return Part("UniFrac of held-out pairs", table(["", *(title for _, title, _ in UNIFRAC_SCORES)], rows))


def nucleotide_part(metrics: Mapping[str, Any]) -> Part:
    """The model beside the consensus of each position."""
    rows = [
        [label, number(metrics[f"{key}_accuracy"], "{:.3f}"), number(metrics[f"{key}_cross_entropy"], "{:.3f}")]
        for label, key in NUCLEOTIDE_ROWS
        if f"{key}_accuracy" in metrics and f"{key}_cross_entropy" in metrics
    ]
    return Part("Masked nucleotides", table(["", "accuracy", "cross-entropy, nats"], rows))


def target_part(metrics: Mapping[str, Any], targets: Sequence[str]) -> Part:
    """Figures of samples that the model had never seen, with their intervals."""
    rows = []
    for target in targets if len(targets) > 1 else [""]:
        before = f"{target}_" if target else ""
        for name, label in LABELS.items():
            key = f"{before}{name}"
            if key in metrics:
                low, high = (metrics.get(f"{key}_{end}") for end in ("low", "high"))
                spread = DASH if low is None or high is None else f"{low:.3f} to {high:.3f}"
                rows.append([f"{target}: {label}" if target else label, number(metrics[key], "{:.3f}"), spread])
    rows += [  # of several targets at once
        [LABELS[name], number(metrics[name], "{:.3f}"), DASH] for name in LABELS if len(targets) > 1 and name in metrics
    ]
    return Part(f"Predictions of {' and '.join(targets)}", table(["", "figure", "95 % interval"], rows))


def baseline_part(found: Mapping[str, Any]) -> Part:
    """What `aam baseline` found for each target, and how far the model is from each; `found` is its baselines.json."""
    tables = []
    for target, figures in found.items():
        names = sorted(figures, key=lambda name: name != "model")
        shown = [key for key in COMPARED if key in figures[names[0]]]
        rows = [
            [PREDICTORS.get(name, name), *(estimated(figures[name][key], "{:.3f}") for key in shown)] for name in names
        ]
        for name in names:
            less = figures[name].get("model_less_this")
            if less is not None:
                rows.append(
                    [f"this model less {PREDICTORS.get(name, name)}", *(estimated(less[k], "{:+.3f}") for k in shown)]
                )
        title = target if len(found) > 1 else ""
        tables.append(table([title, *(LABELS.get(key, key) for key in shown)], rows))
    same = all("model" in figures for figures in found.values())
    return Part(
        "Beside the baselines, on the same folds" if same else "Baselines, on folds of their own", "".join(tables)
    )


def estimated(figure: Mapping[str, float], form: str) -> str:
    """A figure with its interval."""
    value, low, high = (number(round(figure[name], 3) + 0.0, form) for name in ("value", "low", "high"))  # no -0.000
    return f"{value} ({low} to {high})"


def fold_part(rows: Sequence[Mapping[str, Any]]) -> Part:
    """A row a fold: `fold`, `samples`, and figures by name."""
    names = [name for name in LABELS if rows and name in rows[0]]
    body = [[str(row["fold"]), f"{row['samples']:,}", *(number(row[name], "{:.3f}") for name in names)] for row in rows]
    return Part("Folds", table(["fold", "samples predicted", *(LABELS[name] for name in names)], body))


def driver_part(frame: pd.DataFrame, what: str) -> Part:
    """The leading rows of what `aam explain` wrote of `what`, all columns text, the first the id of the ASV."""
    head = [str(name).replace("_", " ") for name in frame.columns]
    rows = [[cut(name, NAME), *map(short, rest)] for name, *rest in frame.head(DRIVERS).itertuples(index=False)]
    shown = f"The leading {len(rows):,} of {len(frame):,} ASVs" if len(rows) < len(frame) else "All ASVs"
    words = f"{shown}{f'; explained: {what}' if what else ''}. {DRIVER_WORDS}"
    return Part("Leading ASVs", table(head, rows) + text(words))


def short(cell: str) -> str:
    """A cell of text whose fractions have three digits."""
    return f"{float(cell):.3g}" if re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", cell) else cell


def audit_part(found: Audit, what: str) -> Part:
    """How well each metadata column can be read off the sample embeddings of `what`."""
    rows = [
        [
            f"{signal.column} ({signal.role})" if signal.role else signal.column,
            f"{signal.samples:,}",
            f"{signal.classes:,}" if signal.classes else "numbers",
            f"{signal.score:.3f}",
            f"{signal.majority:.3f}",
            f"{signal.floor:.3f} to {signal.ceiling:.3f}",
            "yes" if signal.told else "no",
        ]
        for signal in found.signals
    ]
    head = ["column", "samples", "classes", "read off", "majority", "shuffled: mean to highest", "told from chance"]
    words = (
        f"From the embeddings of {what}. Balanced accuracy of classes, R² of numbers, each predicted by a linear model "
        "that has not seen the sample nor its subject; subjects by the nearest other sample. Beside it the commonest "
        f"class (or the mean), and the same on {SHUFFLES} shuffled columns. Where study or batch can be read off, a "
        "difference between groups that were not spread over them evenly may be theirs."
    )
    skipped = "; ".join(f"{name} ({why})" for name, why in found.skipped.items())
    return Part(
        "What else the embeddings tell: subject, study, batch",
        (text(words) + table(head, rows) if rows else "") + text(f"Not looked at: {skipped}." if skipped else ""),
    )
