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
    UNIFRAC_LABELS,
    pair_cells,
    predictor_words,
)
from aam.evaluation.tip_distances import BIN_LABELS, error_rows
from aam.report.digits import estimate_of, format_estimate, rounded, three_digits, with_ends
from aam.report.naming import asv_label, short_id
from aam.report.page import DASH, HtmlTable, Part
from aam.text import counted

NUCLEOTIDE_LABELS = {"nucleotide": "this model", "nucleotide_consensus": "consensus of the position"}
COMPARED = (
    *("mae", "r2", "balanced_accuracy", "macro_f1"),
    *("auc_over_subjects", "auc_mean_over_studies", "spearman_mean_over_studies", "mae_mean_over_studies"),
)
"""Figures of each predictor in the table of baselines, those that it has."""
DRIVER_ROWS = 20
"""Leading ASVs that are listed."""
TAXON = "taxon"
"""Column of lineages in the table of `aam explain`."""
TIPS = "tips"
"""Column of the number of reference tips, in the table of a model on clades."""
DIFFERENCE_WORDS = "Model minus baseline: for errors the model is better below 0, for all other metrics above 0."
DRIVER_WORDS = (
    "Attribution: how far an ASV moves the explained output, up (+) or down (-), in a sample that has it; influence: "
    "the same without sign; share: the ASV's fraction of the influence of all ASVs."
)
CLADE_WORDS = (
    "Tips: reference tips of a clade, 1 for an ASV. Alike: nested clades and ASVs that are all but the same in these "
    "samples and stand in one line, named by the smallest. Attribution: how far it moves the ridge of the model, up "
    "(+) or down (-), in a sample that has it, against the mean of training; influence: the same without sign; share: "
    "its fraction of the influence of all in all samples. Deletion: the mean change of the explained output, forests "
    "included, if its reads are taken out of the samples that have it; found for the leading ones."
)
NAME_WORDS = (
    "Names: the lowest taxon and the first characters of the MD5 of the sequence, which is the feature id in QIIME 2; "
    "without a taxonomy the latter alone."
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
    return Part("UniFrac of held-out pairs", [HtmlTable(["predictor", *PAIR_LABELS.values()], rows)])


def nucleotide_part(metrics: Mapping[str, Any]) -> Part:
    """Masked nucleotides by the model and by the consensus of each position."""
    rows = [
        [
            label,
            three_digits(metrics[f"{key}_accuracy"]),
            three_digits(metrics[f"{key}_cross_entropy"]),
        ]
        for key, label in NUCLEOTIDE_LABELS.items()
        if f"{key}_accuracy" in metrics and f"{key}_cross_entropy" in metrics
    ]
    return Part("Masked nucleotides", [HtmlTable(["predictor", "accuracy", "cross-entropy, nats"], rows)])


def reference_part(metrics: Mapping[str, Any]) -> Part:
    """Mean absolute error of tree distances of held-out reference tips, by how far apart they are."""
    table = HtmlTable(["mean absolute error at distances of", *BIN_LABELS, "R²"], error_rows(metrics))
    return Part("Tree distances of reference tips held out", [table], help=TIP_WORDS)


def target_part(metrics: Mapping[str, Any], targets: Sequence[str]) -> Part:
    """Metrics of samples that no model was trained on, with their intervals."""
    rows = []
    for target in targets if len(targets) > 1 else [""]:
        before = f"{target}_" if target else ""
        for name, label in METRIC_LABELS.items():
            key = f"{before}{name}"
            if key in metrics:
                rows.append([f"{target}: {label}" if target else label, *value_and_interval(metrics, key)])
    if len(targets) > 1:  # metrics of all targets at once
        rows += [[label, three_digits(metrics[n]), DASH] for n, label in METRIC_LABELS.items() if n in metrics]
    return Part(f"Predictions of {' and '.join(targets)}", [HtmlTable(["metric", "value", "95 % interval"], rows)])


def value_and_interval(metrics: Mapping[str, Any], key: str) -> list[str]:
    """The cells of a metric and its interval, a dash where it has none."""
    estimate = estimate_of(metrics, key)
    if estimate is None:
        return [three_digits(metrics[key]), DASH]
    value, low, high = with_ends(estimate["value"], estimate["low"], estimate["high"])
    return [value, f"{low} to {high}"]


def baseline_part(found: Mapping[str, Any], several_studies: bool = False) -> Part:
    """Metrics of each target by each predictor, and the model minus each; `found` is the content of baselines.json."""
    tables = []
    for target, predictors in found.items():
        names = sorted(predictors, key=lambda name: name != "model")
        keys = [key for key in COMPARED if key in predictors[names[0]]]
        titles = [METRIC_LABELS.get(key, key) for key in keys]
        labels = {name: predictor_words(name, "mae" in keys, several_studies) for name in names}
        rows = [[labels[name], *(format_estimate(predictors[name][key]) for key in keys)] for name in names]
        less = [
            [
                labels[name],
                *(format_estimate(predictors[name][MODEL_MINUS_BASELINE][key], signed=True) for key in keys),
            ]
            for name in names
            if MODEL_MINUS_BASELINE in predictors[name]
        ]
        of = f"{target}: " if len(found) > 1 else ""
        tables += [HtmlTable([f"{of}predictor", *titles], rows), HtmlTable([f"{of}this model minus", *titles], less)]
    same = all("model" in predictors for predictors in found.values())
    title = "Comparison with the baselines, on the same folds" if same else "Baselines, on other folds"
    return Part(title, tables, notes=[DIFFERENCE_WORDS] if same else [])


def fold_part(rows: Sequence[Mapping[str, Any]]) -> Part:
    """Table with one row per fold: `fold`, `samples`, and metrics by name."""
    names = [name for name in METRIC_LABELS if rows and name in rows[0]]
    body = [[str(row["fold"]), f"{row['samples']:,}", *(three_digits(row[name]) for name in names)] for row in rows]
    return Part("Folds", [HtmlTable(["fold", "samples predicted", *(METRIC_LABELS[name] for name in names)], body)])


def driver_part(frame: pd.DataFrame, about: Mapping[str, Any]) -> Part:
    """The leading rows of the table of `aam explain`, all columns text, the first the id of the ASV.

    `about` is the content of the JSON file beside the table.
    """
    shown = frame.head(DRIVER_ROWS)
    ids = shown.iloc[:, 0].tolist()
    taxa = shown[TAXON].tolist() if TAXON in frame else [""] * len(ids)
    rest = shown.iloc[:, 1:].drop(columns=TAXON, errors="ignore")
    labels = [asv_label(name, taxon) for name, taxon in zip(ids, taxa, strict=True)]
    rows = [
        [label, *map(shorten_fractions, cells)]
        for label, cells in zip(labels, rest.itertuples(index=False), strict=True)
    ]
    head = ["name", *(str(name).replace("_", " ") for name in rest.columns)]
    what, columns = ("clades and ASVs", CLADE_WORDS) if TIPS in frame else ("ASVs", DRIVER_WORDS)
    which = f"The leading {len(rows):,} of {len(frame):,} {what}" if len(rows) < len(frame) else f"All {what}"
    whole = [[label, name, taxon] for label, name, taxon in zip(labels, ids, taxa, strict=True)]
    tables = [HtmlTable(head, rows)]
    if TAXON in frame or any(short_id(name) != name for name in ids):
        tables.append(HtmlTable(["name", "id", "lineage"], whole, "Whole ids and lineages"))
    explained = about.get("explained", "")
    notes = [f"{which}{f'; explained: {explained}' if explained else ''}."]
    notes += [explained_words(about)] if "explained_samples" in about else []
    return Part(f"Leading {what}", tables, notes=notes, help=f"{columns} {NAME_WORDS}")


def explained_words(about: Mapping[str, Any]) -> str:
    """How many samples were explained, and which, from the record of `aam explain`.

    Older records have no `table_samples`.
    """
    count, known = about["explained_samples"], about.get("table_samples")
    drawn = "" if known is None or count == known else f", drawn at random from {known:,}"
    return f"Explained in {counted(count, 'samples')} of the table{drawn}."


def shorten_fractions(cell: str) -> str:
    """Round the fractions in the text of a table cell to three digits."""
    return three_digits(float(cell)) if re.fullmatch(r"-?\d*\.\d+(e-?\d+)?", cell) else cell


def audit_part(found: Audit, what: str, numbers: str = "embeddings") -> Part:
    """How well each metadata column is predicted from the `numbers` of the samples `what`."""
    rows = [
        [
            f"{signal.column} ({signal.role})" if signal.role else signal.column,
            f"{signal.samples:,}",
            f"{signal.classes:,}" if signal.classes else "numbers",
            three_digits(signal.score),
            three_digits(signal.majority),
            f"{rounded(signal.shuffled_mean, 2):.2f} to {rounded(signal.shuffled_max, 2):.2f}",
            "yes" if signal.above_chance else "no",
        ]
        for signal in found.signals
    ]
    head = ["column", "samples", "classes", "score", "most common class", "shuffled: mean to highest", "above chance"]
    intro = (
        f"What the {numbers} of {what} say about each column of the metadata. If they tell the study or batch "
        "better than chance, compare groups of samples only within a study or batch, or where each has all groups."
    )
    about = (
        "Classes and numbers are predicted by a linear model trained without the sample and its subject, subjects by "
        "the nearest other sample. Score: balanced accuracy of classes, R² of numbers; next to it that of the most "
        f"common class (or the mean), and that of {SHUFFLES} shuffled columns. Above chance: better than all of them."
    )
    skipped = "; ".join(f"{name} ({why})" for name, why in found.skipped.items())
    return Part(
        f"Audit: what the {numbers} reveal of subject, study and batch",
        [HtmlTable(head, rows)],
        intro if rows else "",
        [f"Not audited: {skipped}."] if skipped else [],
        help=about if rows else "",
    )
