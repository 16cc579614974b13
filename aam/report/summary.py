"""Summaries for the terminal: the metrics of a pretraining, a fine-tuning or a comparison, and where its files are."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aam.config import RunnableConfig
from aam.evaluation.metrics import (
    CONSTANT,
    METRIC_LABELS,
    MODEL_MINUS_BASELINE,
    PAIR_LABELS,
    UNIFRAC_LABELS,
    pair_cells,
    predictor_words,
)
from aam.evaluation.study_metrics import MEAN, OVER_SUBJECTS
from aam.evaluation.tip_distances import BIN_LABELS, error_rows
from aam.folders import BEST
from aam.inference.predictions import OUT_OF_FOLD
from aam.io.output import shell_path
from aam.report.digits import format_estimate
from aam.report.finding import is_numeric, pretraining_finding, run_finding
from aam.report.record import CURVES_FILE, METRICS_FILE, REPORT_FILE, SUMMARY_FILE, UNIFRAC_FILE, RunRecord
from aam.report.rivals import best_baseline_finding, rivals_finding
from aam.report.study_table import STUDY_WORDS, study_keys, study_rows
from aam.text import table_text

MOST_WORDS = 45
"""Characters of the words for a metric; the key stands in place of longer ones."""
LINE = 100
"""Characters of a line of sentences."""


def pretraining_summary(config: RunnableConfig, metrics: Mapping[str, Any]) -> str:
    """Metrics of held-out samples beside the baselines, and where the files of the run are."""
    m, folder = metrics, config.run.output_dir
    nucleotides = [["masked nucleotides", "accuracy", "cross-entropy"]]
    for label, name in (("this model", "nucleotide"), ("per-position consensus", "nucleotide_consensus")):
        if f"{name}_skipped" in m:
            nucleotides.append([f"  {label}", f"not computed: {m[f'{name}_skipped']}"])
        else:
            nucleotides.append([f"  {label}", f"{m[f'{name}_accuracy']:.3f}", f"{m[f'{name}_cross_entropy']:.3f}"])
    data = data_options(config.data.sequences)
    files = [
        ["health", str(m["health"])],
        ["checkpoint", str(folder / BEST)],
        ["curves", f"{folder / CURVES_FILE}, {folder / UNIFRAC_FILE}"],
        ["report", str(folder / REPORT_FILE)],
        ["metrics", str(folder / METRICS_FILE)],
        ["summary", str(folder / SUMMARY_FILE)],
        ["embed", f"aam embed --model {shell_path(folder)} {data} -o embeddings.tsv"],
        ["train", f"aam train --pretrained {shell_path(folder)} --freeze {data} --metadata METADATA ..."],
    ]
    finding = lines_of(pretraining_finding(m))
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


def lines_of(text: str) -> str:
    """Sentences in lines of the terminal; names with hyphens stay whole."""
    return textwrap.fill(text, LINE, break_on_hyphens=False)


def reference_option(run: RunRecord) -> str:
    """What gives `aam baseline` a tree for methods that need one, where the run had none."""
    given = run.config.data.tree or run.config.data.example or run.config.learner.reference or run.on_clades
    return "" if given else " --reference shipped"


def data_options(sequences: Path | Sequence[Path] | None) -> str:
    """The options of a command that reads another table like that of a run, which was given these sequences or none."""
    return f"--table TABLE{' --sequences SEQUENCES' if sequences else ''}"


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


def finetuning_summary(run: RunRecord) -> str:
    """The finding, metrics of predictions of held-out samples, and where the files of the run are.

    The metrics of each of several studies stand in a table of their own, beside what it contributes.
    """
    config, metrics, studies, folder = run.config, run.metrics, run.contributions, run.folder
    files = [
        ["predictions", str(folder / OUT_OF_FOLD)],
        ["metrics", str(folder / METRICS_FILE)],
        ["report", str(folder / REPORT_FILE)],
        ["compare it", f"aam baseline --model {shell_path(folder)}{reference_option(run)}"],
        [
            "use it",
            f"aam predict --model {shell_path(folder)} {data_options(config.data.sequences)} -o predictions.tsv",
        ],
    ]
    groups = " over groups" if config.data.group_column else ""
    return "\n".join(
        [
            lines_of(run_finding(run, {})) + "\n",
            table_text(metric_rows(run)) + "\n",
            f"  (95 % bootstrap intervals{groups}; {REPORT_FILE} and docs/glossary.md say what each metric means)\n",
            *([table_text(study_rows(studies, metrics)) + "\n", f"  ({STUDY_WORDS})\n"] if studies else []),
            file_lines(files),
        ]
    )


def metric_rows(run: RunRecord) -> list[list[str]]:
    """A table, its head first: metrics of all samples with their intervals, and those of the simplest baseline."""
    metrics, own = run.metrics, {key for found in run.contributions for key in study_keys(run.metrics, found.study)}
    rows = [["", "value", "95 % interval", f"baseline: {predictor_words(CONSTANT, is_numeric(run), False)}"]]
    for name in metrics:
        if f"{name}_low" in metrics and name not in own:
            interval = f"{metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f}"
            key = constant_key(name, run.config.target.target)
            simple = f"{metrics[key]:.3f}" if key in metrics else ""
            rows.append([metric_words(name), f"{metrics[name]:.3f}", interval, simple])
    for last in ("nll", "ece", "interval_coverage", "interval_width"):
        rows += [[metric_words(name), f"{metrics[name]:.3f}", "", ""] for name in metrics if name.endswith(last)]
    return rows


def metric_words(name: str) -> str:
    """A metric in words for the terminal; its key where it has no words or too many."""
    words = METRIC_LABELS.get(name, name)
    return words if len(words) <= MOST_WORDS else name


def constant_key(name: str, targets: Sequence[str]) -> str:
    """Key of the metric that the median or the most common class has, for the key of a metric of the model."""
    before = next((f"{target}_" for target in targets if len(targets) > 1 and name.startswith(f"{target}_")), "")
    return f"{before}{CONSTANT}_{name.removeprefix(before)}"


def baseline_text(target: str, found: Mapping[str, Any], several_studies: bool) -> str:
    """Metrics of each predictor of one target, the differences of the model to each baseline, and what they tell."""
    first = next(iter(found.values()))
    keys = [key for key in first if key != MODEL_MINUS_BASELINE]
    of_studies = [key for key in keys if key.endswith((MEAN, OVER_SUBJECTS))]

    def words(name: str) -> str:
        return f"{predictor_words(name, 'mae' in first, several_studies)} ({name})"

    told = rivals_finding(found, words) or best_baseline_finding(found, words)
    tables = [estimate_table(found, shown) for shown in (keys[:3], of_studies) if shown]
    return "\n".join([target, *tables, *([f"\n{lines_of(told)}\n"] if told else [])])


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
