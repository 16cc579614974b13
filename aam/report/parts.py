"""The parts of a report that one kind of run has: metrics of heads or targets, baselines, folds, drivers, the audit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from aam.evaluation.audit import SHUFFLES, Audit
from aam.evaluation.metrics import (
    METRIC_LABELS,
    MODEL_MINUS_BASELINE,
    PAIR_LABELS,
    PREDICTOR_LABELS,
    UNIFRAC_LABELS,
    pair_cells,
)
from aam.evaluation.tip_distances import BIN_LABELS, error_rows
from aam.placement.taxonomy import short_name
from aam.report.page import DASH, HtmlTable, Part, format_number
from aam.text import shorten

NUCLEOTIDE_LABELS = {"nucleotide": "this model", "nucleotide_consensus": "consensus of the position"}
COMPARED = (
    *("mae", "r2", "balanced_accuracy", "macro_f1"),
    *("auc_over_subjects", "auc_mean_over_studies", "spearman_mean_over_studies", "mae_mean_over_studies"),
)
"""Figures of each predictor in the table of baselines, those that it has."""
DRIVER_ROWS, ID_LENGTH = 20, 30
"""Leading ASVs that are listed, and the characters of their ids that are shown."""
TAXON = "taxon"
"""Column of lineages in the table of `aam explain`."""
TIPS = "tips"
"""Column of the number of reference tips, in the table of a model on clades."""
DRIVER_WORDS = (
    "Attribution: how far an ASV moves the explained output, up (+) or down (-), in a sample that has it; influence: "
    "the same without sign; share: the ASV's fraction of the influence of all ASVs. Long ids are cut; the table of "
    "`aam explain` has the whole ids in the same order."
)
CLADE_WORDS = (
    "Tips: reference tips of a clade, 1 for an ASV. Alike: nested clades and ASVs that are all but the same in these "
    "samples and stand in one line, named by the smallest. Attribution: how far it moves the ridge of the model, up "
    "(+) or down (-), in a sample that has it, against the mean of training; influence: the same without sign; share: "
    "its fraction of the influence of all in all samples. Deletion: the mean change of the explained output, forests "
    "included, if its reads are taken out of the samples that have it; found for the leading ones."
)

TIP_WORDS = (
    "Distances between tips of the reference tree, in its units. Tips held out were not trained on, nor were tips of "
    "the same sequence; of genera held out all tips were left out. Each is compared with its neighbours in the tree "
    "and with random tips that were trained on."
)


def unifrac_part(metrics: Mapping[str, Any]) -> Part:
    """UniFrac of held-out pairs by the heads of a pretraining and by the baselines."""
    rows = []
    for key, label in UNIFRAC_LABELS.items():
        if f"{key}_r2" in metrics:
            rows.append([label, *pair_cells(metrics, key)])
        elif f"{key}_skipped" in metrics:
            rows.append([f"{label}: {metrics[f'{key}_skipped']}", DASH, DASH, DASH])
    return Part("UniFrac of held-out pairs", [HtmlTable(["", *PAIR_LABELS.values()], rows)])


def nucleotide_part(metrics: Mapping[str, Any]) -> Part:
    """Masked nucleotides by the model and by the consensus of each position."""
    rows = [
        [
            label,
            format_number(metrics[f"{key}_accuracy"], "{:.3f}"),
            format_number(metrics[f"{key}_cross_entropy"], "{:.3f}"),
        ]
        for key, label in NUCLEOTIDE_LABELS.items()
        if f"{key}_accuracy" in metrics and f"{key}_cross_entropy" in metrics
    ]
    return Part("Masked nucleotides", [HtmlTable(["", "accuracy", "cross-entropy, nats"], rows)])


def reference_part(metrics: Mapping[str, Any]) -> Part:
    """Mean absolute error of tree distances of held-out reference tips, by how far apart they are."""
    table = HtmlTable(["mean absolute error at distances of", *BIN_LABELS, "R²"], error_rows(metrics))
    return Part("Tree distances of reference tips held out", [table], notes=[TIP_WORDS])


def target_part(metrics: Mapping[str, Any], targets: Sequence[str]) -> Part:
    """Metrics of samples that no model was trained on, with their intervals."""
    rows = []
    for target in targets if len(targets) > 1 else [""]:
        before = f"{target}_" if target else ""
        for name, label in METRIC_LABELS.items():
            key = f"{before}{name}"
            if key in metrics:
                low, high = (metrics.get(f"{key}_{end}") for end in ("low", "high"))
                spread = DASH if low is None or high is None else f"{low:.3f} to {high:.3f}"
                rows.append([f"{target}: {label}" if target else label, format_number(metrics[key], "{:.3f}"), spread])
    if len(targets) > 1:  # metrics of all targets at once
        rows += [
            [label, format_number(metrics[n], "{:.3f}"), DASH] for n, label in METRIC_LABELS.items() if n in metrics
        ]
    return Part(f"Predictions of {' and '.join(targets)}", [HtmlTable(["", "metric", "95 % interval"], rows)])


def baseline_part(found: Mapping[str, Any]) -> Part:
    """Metrics of each target by each predictor, and the model minus each; `found` is the content of baselines.json."""
    tables = []
    for target, predictors in found.items():
        names = sorted(predictors, key=lambda name: name != "model")
        keys = [key for key in COMPARED if key in predictors[names[0]]]
        lines = [(PREDICTOR_LABELS.get(name, name), predictors[name], "{:.3f}") for name in names]
        lines += [
            (f"this model minus {PREDICTOR_LABELS.get(name, name)}", predictors[name][MODEL_MINUS_BASELINE], "{:+.3f}")
            for name in names
            if MODEL_MINUS_BASELINE in predictors[name]
        ]
        rows = [[label, *(format_estimate(scores[key], form) for key in keys)] for label, scores, form in lines]
        head = [target if len(found) > 1 else "", *(METRIC_LABELS.get(key, key) for key in keys)]
        tables.append(HtmlTable(head, rows))
    same = all("model" in predictors for predictors in found.values())
    return Part("Comparison with the baselines, on the same folds" if same else "Baselines, on other folds", tables)


def format_estimate(estimate: Mapping[str, float], form: str) -> str:
    """A metric with its interval, as `0.123 (0.100 to 0.145)`."""
    value, low, high = (
        format_number(round(estimate[name], 3) + 0.0, form) for name in ("value", "low", "high")
    )  # no -0.000
    return f"{value} ({low} to {high})"


def fold_part(rows: Sequence[Mapping[str, Any]]) -> Part:
    """Table with one row per fold: `fold`, `samples`, and metrics by name."""
    names = [name for name in METRIC_LABELS if rows and name in rows[0]]
    body = [
        [str(row["fold"]), f"{row['samples']:,}", *(format_number(row[name], "{:.3f}") for name in names)]
        for row in rows
    ]
    return Part("Folds", [HtmlTable(["fold", "samples predicted", *(METRIC_LABELS[name] for name in names)], body)])


def driver_part(frame: pd.DataFrame, explained: str) -> Part:
    """The leading rows of the table of `aam explain`, all columns text, the first the id of the ASV."""
    shown = frame.head(DRIVER_ROWS)
    if TAXON in frame:  # beside the id, its lowest name alone
        shown = shown.assign(**{TAXON: shown[TAXON].map(short_name)})
        shown = shown[[frame.columns[0], TAXON, *frame.columns[1:].drop(TAXON)]]
    head = [str(name).replace("_", " ") for name in shown.columns]
    rows = [[shorten(name, ID_LENGTH), *map(shorten_fractions, rest)] for name, *rest in shown.itertuples(index=False)]
    what, about = ("clades and ASVs", CLADE_WORDS) if TIPS in frame else ("ASVs", DRIVER_WORDS)
    which = f"The leading {len(rows):,} of {len(frame):,} {what}" if len(rows) < len(frame) else f"All {what}"
    words = f"{which}{f'; explained: {explained}' if explained else ''}. {about}"
    return Part(f"Leading {what}", [HtmlTable(head, rows)], notes=[words])


def shorten_fractions(cell: str) -> str:
    """Round the fractions in the text of a table cell to three digits."""
    return f"{float(cell):.3g}" if re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", cell) else cell


def audit_part(found: Audit, what: str, numbers: str = "embeddings") -> Part:
    """How well each metadata column is predicted from the `numbers` of the samples `what`."""
    rows = [
        [
            f"{signal.column} ({signal.role})" if signal.role else signal.column,
            f"{signal.samples:,}",
            f"{signal.classes:,}" if signal.classes else "numbers",
            f"{signal.score:.3f}",
            f"{signal.majority:.3f}",
            f"{signal.shuffled_mean:.3f} to {signal.shuffled_max:.3f}",
            "yes" if signal.above_chance else "no",
        ]
        for signal in found.signals
    ]
    head = ["column", "samples", "classes", "score", "most common class", "shuffled: mean to highest", "above chance"]
    intro = (
        f"Each column is predicted from the {numbers} of {what}: classes and numbers by a linear model trained "
        "without the sample and its subject, subjects by the nearest other sample. Score: balanced accuracy of "
        "classes, R² of numbers; next to it that of the most common class (or the mean), and that of "
        f"{SHUFFLES} shuffled columns. If study or batch is above chance, differences between groups that are not "
        "spread evenly over them may be theirs."
    )
    skipped = "; ".join(f"{name} ({why})" for name, why in found.skipped.items())
    return Part(
        f"Audit: what the {numbers} reveal of subject, study and batch",
        [HtmlTable(head, rows)],
        intro if rows else "",
        [f"Not audited: {skipped}."] if skipped else [],
    )
