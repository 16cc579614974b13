"""Summaries for the terminal: the metrics of a pretraining, a fine-tuning or a comparison, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aam.checkpoint import BEST
from aam.config import FinetuneConfig
from aam.evaluation.metrics import MODEL_MINUS_BASELINE
from aam.inference.predictions import OUT_OF_FOLD
from aam.report.parts import format_estimate
from aam.report.record import CURVES_FILE, METRICS_FILE, REPORT_FILE, SUMMARY_FILE, UNIFRAC_FILE

NO_CONSENSUS = "nucleotide_consensus_skipped"
"""Metric that says why the consensus baseline was not computed."""


def pretraining_summary(folder: Path, m: dict[str, Any]) -> str:
    """Metrics of held-out samples and baselines, and the paths of the files of the run."""
    rows = [
        f"{m['samples_validation']} held-out samples, after {m['steps']} steps in {m['seconds'] / 60:.1f} minutes",
        "",
        f"  {'UniFrac of pairs':<34}{'R2':>8}{'MAE':>9}{'Pearson':>9}",
        f"  {'  this model':<34}{m['unifrac_r2']:>8.3f}{m['unifrac_mae']:>9.4f}{m['unifrac_pearson']:>9.3f}",
    ]
    for name, label in (("jaccard", "calibrated Jaccard"), ("upgma", "calibrated UPGMA on Hamming")):
        if f"baseline_{name}_r2" in m:
            scores = [m[f"baseline_{name}_{key}"] for key in ("r2", "mae", "pearson")]
            rows.append(f"  {'  ' + label:<34}{scores[0]:>8.3f}{scores[1]:>9.4f}{scores[2]:>9.3f}")
        else:
            rows.append(f"  {'  ' + label:<34}not computed: {m[f'baseline_{name}_skipped']}")
    rows += [
        "",
        f"  {'masked nucleotides':<34}{'accuracy':>8}{'  cross-entropy':>15}",
        f"  {'  this model':<34}{m['nucleotide_accuracy']:>8.3f}{m['nucleotide_cross_entropy']:>15.3f}",
        f"  {'  per-position consensus':<34}{consensus_text(m)}",
        "",
        f"  health       {m['health']}",
        f"  checkpoint   {folder / BEST}",
        f"  curves       {folder / CURVES_FILE}, {folder / UNIFRAC_FILE}",
        f"  report       {folder / REPORT_FILE}",
        f"  metrics      {folder / METRICS_FILE}",
        f"  summary      {folder / SUMMARY_FILE}",
    ]
    return "\n".join(rows) + "\n"


def consensus_text(m: dict[str, Any]) -> str:
    """Accuracy and cross-entropy of the consensus, or why they are absent."""
    if NO_CONSENSUS in m:
        return f"not computed: {m[NO_CONSENSUS]}"
    return f"{m['nucleotide_consensus_accuracy']:>8.3f}{m['nucleotide_consensus_cross_entropy']:>15.3f}"


def finetuning_summary(config: FinetuneConfig, metrics: dict[str, Any]) -> str:
    """Metrics of the out-of-fold predictions, and the paths of the files of the run."""
    shown = [name for name in metrics if f"{name}_low" in metrics]
    rows = [
        f"{' and '.join(config.target.target)}: {metrics['samples_tested']} held-out samples, each predicted by a "
        "model that was not trained on it",
        "",
    ]
    rows += [
        f"  {name:<34}{metrics[name]:>9.3f}   {metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f}"
        for name in shown
    ]
    for last in ("roc_auc", "nll", "ece", "temperature", "interval_coverage", "interval_width"):
        rows += [f"  {name:<34}{metrics[name]:>9.3f}" for name in metrics if name.endswith(last)]
    folder = config.run.output_dir
    rows += [
        "",
        "  (95 % bootstrap intervals" + (" over groups)" if config.data.group_column else ")"),
        "",
        f"  predictions  {folder / OUT_OF_FOLD}",
        f"  metrics      {folder / METRICS_FILE}",
        f"  report       {folder / REPORT_FILE}",
        f"  use it       aam predict --model {folder} --table TABLE -o predictions.tsv",
    ]
    return "\n".join(rows) + "\n"


def baseline_text(target: str, found: dict[str, Any]) -> str:
    """Metrics of each predictor of one target, then the differences of the model to each baseline."""
    shown = [key for key in next(iter(found.values())) if key != MODEL_MINUS_BASELINE][:3]
    rows = [(name, figures, "{:.3f}") for name, figures in found.items()]
    rows += [
        (f"model - {name}", figures[MODEL_MINUS_BASELINE], "{:+.3f}")
        for name, figures in found.items()
        if MODEL_MINUS_BASELINE in figures
    ]
    lines = [target, f"  {'':<24}" + "".join(f"{key:>32}" for key in shown)]
    for name, figures, form in rows:
        lines.append(f"  {name:<24}" + "".join(f"{format_estimate(figures[key], form):>32}" for key in shown))
    return "\n".join(lines)
