"""What a run has found, in one sentence with its certainty: the opening of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aam.config import NUMERIC_TASKS
from aam.evaluation.metrics import METRIC_LABELS, MODEL, MODEL_MINUS_BASELINE, PREDICTOR_LABELS
from aam.report.digits import estimate_of, format_estimate, three_digits
from aam.report.record import RunRecord
from aam.text import counted

RIVALS = {"baseline_upgma": "a UPGMA tree of the sequences", "baseline_jaccard": "the Jaccard distance"}
"""Baselines of UniFrac in words."""
OF_STUDIES = {"auc_mean_over_studies": 0.5, "spearman_mean_over_studies": 0.0, "mae_mean_over_studies": None}
"""Means over studies, the first that a run has tells most, and what chance gives."""
IN_STUDY = {
    "auc_mean_over_studies": "an area under the ROC curve",
    "spearman_mean_over_studies": "a rank correlation",
    "mae_mean_over_studies": "a mean absolute error",
}
SMALLER_IS_BETTER = ("mae", "mae_mean_over_studies")


def run_finding(run: RunRecord, baselines: Mapping[str, Any]) -> str:
    """The sentence of a run; empty for one without metrics. `baselines` is the content of baselines.json, if any."""
    if not run.finetuned:
        return pretraining_finding(run.metrics)
    targets = run.config.target.target
    if len(targets) > 1:
        return targets_finding(run, targets)
    (target,) = targets
    key = next((name for name in OF_STUDIES if name in run.metrics), None) if run.contributions else None
    told = study_finding(run, target, key) if key else target_finding(run, target)
    main = key or ("mae" if run.config.target.task in NUMERIC_TASKS else "balanced_accuracy")
    rival = rival_words(baselines.get(target, {}), main)
    return f"{told}{f'; {rival}' if rival else ''}." if told else ""


def pretraining_finding(metrics: Mapping[str, Any]) -> str:
    """How well UniFrac of held-out samples is predicted beside the baselines; of a reference alone, tree distances."""
    if "unifrac_r2" not in metrics:
        if "reference_tips_r2" not in metrics:
            return ""
        return (
            "The network has learned the reference alone: tree distances between reference tips that were held out are "
            f"predicted with R² {three_digits(metrics['reference_tips_r2'])}; no sample has tested it."
        )
    own = metrics["unifrac_r2"]
    samples = counted(metrics["samples_validation"], "held-out samples") if "samples_validation" in metrics else ""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for key, words in RIVALS.items():
        if f"{key}_r2" in metrics:
            other = metrics[f"{key}_r2"]
            sides[own > other].append(f"{words} ({three_digits(other)})")
    compared = [f"{word} {' and '.join(sides[better])}" for better, word in COMPARED.items() if sides[better]]
    return (
        f"UniFrac between {samples or 'held-out samples'} is predicted from sequences and abundances, without a tree, "
        f"with R² {three_digits(own)} (mean absolute error {three_digits(metrics['unifrac_mae'])})"
        f"{', ' + ' and '.join(compared) if compared else ''}; that is one split without an interval, so small "
        "differences may be chance."
    )


COMPARED = {True: "better than", False: "not better than"}


def who(run: RunRecord) -> str:
    return "A ridge and forests on ASVs and clades" if run.on_clades else "Networks on embeddings of ASVs"


def unseen(run: RunRecord) -> str:
    count = run.metrics.get("samples_tested")
    return f"{counted(count, 'samples') if isinstance(count, int) else 'samples'} that they had not seen"


def interval_words(metrics: Mapping[str, Any], key: str, first: bool = False) -> str:
    """A metric with its interval; the `first` of a sentence says what an interval is."""
    estimate = estimate_of(metrics, key)
    if estimate is None:
        return three_digits(metrics[key])
    return format_estimate(estimate).replace("(", "(95 % interval " if first else "(")


def target_finding(run: RunRecord, target: str) -> str:
    """A number or a class of one study or table."""
    metrics = run.metrics
    if run.config.target.task in NUMERIC_TASKS:
        if not {"mae", "r2"} <= metrics.keys():
            return ""
        words = f"a mean absolute error of {interval_words(metrics, 'mae', first=True)} and "
        words += f"R² {interval_words(metrics, 'r2')}"
        sure = certainty(metrics, "r2", 0.0, "predicting the mean (R² 0)")
        return f"{who(run)} predict {target} of {unseen(run)} with {words}, {sure}"
    if "balanced_accuracy" not in metrics:
        return ""
    classes = run.manifest.get("classes") or []
    chance = 1 / len(classes) if classes else None
    words = f"a balanced accuracy of {interval_words(metrics, 'balanced_accuracy', first=True)}"
    which = f" ({', '.join(classes)})" if 0 < len(classes) <= 4 else f" ({len(classes)} classes)" if classes else ""
    compared = f", {certainty(metrics, 'balanced_accuracy', chance, f'chance ({chance:.2g})')}" if chance else ""
    return f"{who(run)} tell {target}{which} of {unseen(run)} with {words}{compared}"


def study_finding(run: RunRecord, target: str, key: str) -> str:
    """The mean over several studies, each by itself."""
    studies, chance = counted(len(run.contributions), "studies"), OF_STUDIES[key]
    how = ", each by a model trained on the others" if run.config.fold.leave_one_study_out else ""
    words = f"{IN_STUDY[key]} of {interval_words(run.metrics, key, first=True)} within a study"
    compared = f", {certainty(run.metrics, key, chance, f'chance ({chance:.2g})')}" if chance is not None else ""
    return f"{who(run)} predict {target} of {unseen(run)} with {words}, averaged over {studies}{how}{compared}"


def targets_finding(run: RunRecord, targets: Sequence[str]) -> str:
    """The best and the worst of several targets by R²."""
    known = sorted((t for t in targets if f"{t}_r2" in run.metrics), key=lambda t: -run.metrics[f"{t}_r2"])
    if not known:
        return ""
    best, worst = (
        f"{interval_words(run.metrics, f'{t}_r2', first=t == known[0])} of {t}" for t in (known[0], known[-1])
    )
    above = sum(run.metrics.get(f"{t}_r2_low", -1.0) > 0 for t in known)
    return (
        f"{who(run)} predict {counted(len(known), 'numbers')} of {unseen(run)}, with R² from {best} to {worst}; "
        f"of {above:,} of them the whole interval lies above 0, what the mean would give."
    )


def certainty(metrics: Mapping[str, Any], key: str, chance: float, what: str) -> str:
    """Whether the interval of a metric, of which larger is better, excludes the value by `what`."""
    estimate = estimate_of(metrics, key)
    if estimate is None:
        return f"{'better' if metrics[key] > chance else 'no better'} than {what}, but without an interval"
    if estimate["low"] > chance:
        return f"clearly better than {what}: the whole interval lies above"
    if estimate["high"] < chance:
        return f"clearly worse than {what}: the whole interval lies below"
    return f"which cannot be told from {what}: the interval includes it"


def rival_words(predictors: Mapping[str, Any], key: str) -> str:
    """The model beside the best baseline on the same folds, by the interval of their difference; "" without one."""
    if MODEL not in predictors:
        return ""
    scores = {
        name: found[key]["value"]
        for name, found in predictors.items()
        if name != MODEL and key in found and key in found.get(MODEL_MINUS_BASELINE, {})
    }
    if not scores:
        return ""
    smaller = key in SMALLER_IS_BETTER
    best = (min if smaller else max)(scores, key=lambda name: scores[name])
    less = predictors[best][MODEL_MINUS_BASELINE][key]
    if less["low"] <= 0 <= less["high"]:
        verdict = "not clearly different from"
    else:
        verdict = "clearly better than" if (less["high"] < 0) == smaller else "clearly worse than"
    name, label = PREDICTOR_LABELS.get(best, best), METRIC_LABELS.get(key, key).partition(" in a study")[0]
    return f"by {label} it is {verdict} the best baseline, {name} (difference {format_estimate(less, signed=True)})"
