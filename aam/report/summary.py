"""Summaries for the terminal: the metrics of a pretraining, a fine-tuning or a comparison, and where its files are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aam.checkpoint import BEST
from aam.config import NUMERIC_TASKS, FinetuneConfig
from aam.corpus.study_checks import Contribution
from aam.evaluation.metrics import (
    CONSTANT,
    METRIC_LABELS,
    MODEL_MINUS_BASELINE,
    PAIR_LABELS,
    UNIFRAC_LABELS,
    pair_cells,
)
from aam.evaluation.study_metrics import MEAN, OVER_SUBJECTS
from aam.evaluation.tip_distances import BIN_LABELS, error_rows
from aam.inference.predictions import OUT_OF_FOLD
from aam.io.output import shell_path
from aam.report.digits import format_estimate
from aam.report.finding import pretraining_finding
from aam.report.record import CURVES_FILE, METRICS_FILE, REPORT_FILE, SUMMARY_FILE, UNIFRAC_FILE
from aam.report.study_table import STUDY_WORDS, study_keys, study_rows
from aam.text import table_text

MOST_WORDS = 45
"""Characters of the words for a metric; the key stands in place of longer ones."""


def pretraining_summary(folder: Path, metrics: Mapping[str, Any]) -> str:
    """Metrics of held-out samples beside the baselines, and where the files of the run are."""
    m = metrics
    nucleotides = [["masked nucleotides", "accuracy", "cross-entropy"]]
    for label, name in (("this model", "nucleotide"), ("per-position consensus", "nucleotide_consensus")):
        if f"{name}_skipped" in m:
            nucleotides.append([f"  {label}", f"not computed: {m[f'{name}_skipped']}"])
        else:
            nucleotides.append([f"  {label}", f"{m[f'{name}_accuracy']:.3f}", f"{m[f'{name}_cross_entropy']:.3f}"])
    files = [
        ["health", str(m["health"])],
        ["checkpoint", str(folder / BEST)],
        ["curves", f"{folder / CURVES_FILE}, {folder / UNIFRAC_FILE}"],
        ["report", str(folder / REPORT_FILE)],
        ["metrics", str(folder / METRICS_FILE)],
        ["summary", str(folder / SUMMARY_FILE)],
        ["embed", f"aam embed --model {shell_path(folder)} --table TABLE -o embeddings.tsv"],
        ["train", f"aam train --pretrained {shell_path(folder)} --freeze --table TABLE --metadata METADATA ..."],
    ]
    finding = textwrap.fill(pretraining_finding(m), 100)
    kind = "simulated " if m.get("samples_simulated") else ""
    minutes = f"{m['seconds'] / 60:.1f} minutes"
    early = [f"{m['early_end']}; --resume --patience 0 trains on\n"] if "early_end" in m else []
    return "\n".join(
        [
            f"{m['samples_validation']} held-out {kind}samples, after {m['steps']} steps in {minutes}\n",
            *early,
            *([f"{finding}\n"] if finding else []),
            unifrac_table(m, ("unifrac", "baseline_jaccard", "baseline_upgma")) + "\n",
            table_text(nucleotides) + "\n",
            *reference_lines(m),
            file_lines(files),
        ]
    )


def reference_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Errors of tree distances of held-out reference tips as a table; none for a run without a reference."""
    rows = error_rows(metrics)
    return [table_text([["tree distance: mean error", *BIN_LABELS, "R2"], *rows]) + "\n"] if rows else []


def unifrac_table(metrics: Mapping[str, Any], keys: Sequence[str], labels: Mapping[str, str] = UNIFRAC_LABELS) -> str:
    """R2, MAE and Pearson r of UniFrac, for each of the keys of `labels`, or why there are none."""
    rows = [["UniFrac of pairs", *PAIR_LABELS.values()]]
    for key in keys:
        skipped = metrics.get(f"{key}_skipped")
        cells = pair_cells(metrics, key) if skipped is None else [f"not computed: {skipped}"]
        rows.append([f"  {labels[key]}", *cells])
        if f"{key}_carried_r2" in metrics:
            rows.append(["    line fitted on training samples", *pair_cells(metrics, f"{key}_carried")])
    if "faith_pd_r2" in metrics:
        rows.append(["Faith PD", *pair_cells(metrics, "faith_pd")])
    return table_text(rows)


def file_lines(rows: Sequence[Sequence[str]]) -> str:
    """Names and what they stand for, in two columns, with a line break at the end."""
    return "".join(f"  {name:<13}{text}\n" for name, text in rows)


def finetuning_summary(config: FinetuneConfig, metrics: Mapping[str, Any], studies: Sequence[Contribution] = ()) -> str:
    """Metrics of predictions of samples that the model had never seen, and where the files of the run are.

    The metrics of each of several `studies` stand in a table of their own, beside what it contributes.
    """
    own = {key for found in studies for key in study_keys(metrics, found.study)}
    rows = [
        [name, f"{metrics[name]:.3f}", f"{metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f}"]
        for name in metrics
        if f"{name}_low" in metrics and name not in own
    ]
    always = "always the median" if config.target.task in NUMERIC_TASKS else "always the most common class"
    constants = {name: constant_key(name, config.target.target) for name, *_ in rows}
    rows = [[*row, f"{metrics[key]:.3f}" if (key := constants[row[0]]) in metrics else ""] for row in rows]
    for last in ("roc_auc", "nll", "ece", "interval_coverage", "interval_width"):
        rows += [[name, f"{metrics[name]:.3f}", "", ""] for name in metrics if name.endswith(last)]
    rows = [[metric_words(name), *cells] for name, *cells in rows]
    folder = config.run.output_dir
    files = [
        ["predictions", str(folder / OUT_OF_FOLD)],
        ["metrics", str(folder / METRICS_FILE)],
        ["report", str(folder / REPORT_FILE)],
        ["compare it", f"aam baseline --model {shell_path(folder)}"],
        ["use it", f"aam predict --model {shell_path(folder)} --table TABLE -o predictions.tsv"],
    ]
    return "\n".join(
        [
            f"{' and '.join(config.target.target)}: {metrics['samples_tested']} held-out samples, each predicted by a "
            "model that was not trained on it\n",
            table_text([["", "value", "95 % interval", always], *rows]) + "\n",
            f"  (95 % bootstrap intervals{' over groups' if config.data.group_column else ''})\n",
            *([table_text(study_rows(studies, metrics)) + "\n", f"  ({STUDY_WORDS})\n"] if studies else []),
            file_lines(files),
        ]
    )


def metric_words(name: str) -> str:
    """A metric in words for the terminal; its key where it has no words or too many."""
    words = METRIC_LABELS.get(name, name)
    return words if len(words) <= MOST_WORDS else name


def constant_key(name: str, targets: Sequence[str]) -> str:
    """Key of the metric that the median or the most common class has, for the key of a metric of the model."""
    before = next((f"{target}_" for target in targets if len(targets) > 1 and name.startswith(f"{target}_")), "")
    return f"{before}{CONSTANT}_{name.removeprefix(before)}"


def baseline_text(target: str, found: Mapping[str, Any]) -> str:
    """Metrics of each predictor of one target, then the differences of the model to each baseline."""
    keys = [key for key in next(iter(found.values())) if key != MODEL_MINUS_BASELINE]
    of_studies = [key for key in keys if key.endswith((MEAN, OVER_SUBJECTS))]
    return "\n".join([target, *(estimate_table(found, shown) for shown in (keys[:3], of_studies) if shown)])


def estimate_table(found: Mapping[str, Any], shown: Sequence[str]) -> str:
    """The metrics `shown` of each predictor, then the differences of the model to each baseline."""
    rows = [["", *shown]]
    rows += [[name, *(format_estimate(metrics[key]) for key in shown)] for name, metrics in found.items()]
    rows += [
        [f"model - {name}", *(format_estimate(metrics[MODEL_MINUS_BASELINE][key], signed=True) for key in shown)]
        for name, metrics in found.items()
        if MODEL_MINUS_BASELINE in metrics
    ]
    return table_text(rows)
