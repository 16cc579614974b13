"""What a run has found and how certain it is, in a few sentences: the opening of its report and its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aam.config import NUMERIC_TASKS
from aam.evaluation.metrics import MAIN_METRICS, predictor_words
from aam.report.digits import estimate_of, format_estimate, three_digits
from aam.report.record import RunRecord
from aam.report.rivals import rivals_finding
from aam.text import counted

RIVALS = {"baseline_upgma": "a UPGMA tree of the sequences", "baseline_jaccard": "the Jaccard distance"}
"""Baselines of UniFrac in words."""
OF_STUDIES = {"auc_mean_over_studies": 0.5, "spearman_mean_over_studies": 0.0, "mae_mean_over_studies": None}
"""Means over studies, and what chance gives."""
IN_STUDY = {
    "auc_mean_over_studies": "area under the ROC curve",
    "spearman_mean_over_studies": "rank correlation",
    "mae_mean_over_studies": "mean absolute error",
}


def run_finding(run: RunRecord, baselines: Mapping[str, Any]) -> str:
    """The sentences of a run; empty for one without metrics. `baselines` is the content of baselines.json, if any."""
    if not run.finetuned:
        return pretraining_finding(run.metrics)
    targets = run.config.target.target
    if len(targets) > 1:
        return targets_finding(run, targets)
    (target,) = targets
    key = next((name for name in MAIN_METRICS if name in run.metrics), "")
    told = study_finding(run, target, key) if key in OF_STUDIES else target_finding(run, target)
    words = partial(predictor_words, numeric=is_numeric(run), several_studies=len(run.contributions) > 1)
    return " ".join(filter(None, [told, rivals_finding(baselines.get(target, {}), words)])) if told else ""


def is_numeric(run: RunRecord) -> bool:
    """Whether a run of `aam train` predicts numbers."""
    return run.config.target.task in NUMERIC_TASKS


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
        f"differences may be chance.{unfinished(metrics)}"
    )


def unfinished(metrics: Mapping[str, Any]) -> str:
    """What a short pretraining has not learned yet, as sentences after others; empty where nothing shows it."""
    text = ""
    if metrics.get("euclidean_r2", 1.0) < LITTLE:
        told = three_digits(metrics["euclidean_r2"])
        text += f" Sample embeddings have learned little: their distances predict UniFrac with R² {told}; "
        text += "until they predict it better, the encoder that ships (--model shipped) is the better start."
    steps, best = metrics.get("steps", FEW_STEPS), metrics.get("best_step", 0)
    if steps < FEW_STEPS and best >= LATE * steps:
        text += (
            f" {counted(steps, 'steps')} are few, and the held-out loss was lowest at the end: train longer ({LONGER})."
        )
    return text


LONGER = "`aam pretrain --resume --output-dir RUN --max-minutes N` goes on up to N minutes in all"
"""How a pretraining is made longer."""
LITTLE = 0.3
"""R² of UniFrac by distances between sample embeddings below which these say little."""
FEW_STEPS, LATE = 300, 0.9
"""Steps below which a pretraining is short, and the part of them from which on its best step is at the end."""
COMPARED = {True: "better than", False: "not better than"}


def who(run: RunRecord) -> str:
    return "A ridge and forests on ASVs and clades" if run.on_clades else "Networks on embeddings of ASVs"


def unseen(run: RunRecord) -> str:
    """How many samples were predicted by models that had not seen them; a pretrained encoder may have."""
    count, begun = run.metrics.get("samples_tested"), run.config.head.pretrained is not None
    samples = counted(count, "samples") if isinstance(count, int) else "samples"
    return f"{samples} {'whose labels' if begun else 'that'} they had not seen"


def interval_words(metrics: Mapping[str, Any], key: str, first: bool = False) -> str:
    """A metric with its interval; the `first` of a sentence says what an interval is."""
    estimate = estimate_of(metrics, key)
    if estimate is None:
        return three_digits(metrics[key])
    return format_estimate(estimate).replace("(", "(95 % interval " if first else "(")


def target_finding(run: RunRecord, target: str) -> str:
    """A number or a class of one study or table."""
    metrics = run.metrics
    if is_numeric(run):
        if not {"mae", "r2"} <= metrics.keys():
            return ""
        words = f"a mean absolute error of {interval_words(metrics, 'mae', first=True)} and "
        words += f"R² {interval_words(metrics, 'r2')}"
        sure = certainty(metrics, "r2", 0.0, "predicting the mean", " of R²")
        return f"{who(run)} predict {target} of {unseen(run)}, with {words}. {sure}"
    if "balanced_accuracy" not in metrics:
        return ""
    classes = run.manifest.get("classes") or []
    words = f"a balanced accuracy of {interval_words(metrics, 'balanced_accuracy', first=True)}"
    which = f" ({', '.join(classes)})" if 0 < len(classes) <= 4 else f" ({len(classes)} classes)" if classes else ""
    compared = f" {certainty(metrics, 'balanced_accuracy', 1 / len(classes), 'chance')}" if classes else ""
    return f"{who(run)} tell {target}{which} of {unseen(run)}, with {words}.{compared}"


def study_finding(run: RunRecord, target: str, key: str) -> str:
    """The mean over several studies, each by itself."""
    chance, own = OF_STUDIES[key], key.removesuffix("mean_over_studies")
    scored = [found for found in run.contributions if f"{own}{found.study}" in run.metrics] or run.contributions
    how = ", each study by a model trained on the others" if run.config.fold.leave_one_study_out else ""
    words = f"The {IN_STUDY[key]} within a study, averaged over {counted(len(scored), 'studies')}"
    compared = f" {certainty(run.metrics, key, chance, 'chance')}" if chance is not None else ""
    value = interval_words(run.metrics, key, first=True)
    return f"{who(run)} predict {target} of {unseen(run)}{how}. {words}, is {value}.{compared}"


def targets_finding(run: RunRecord, targets: Sequence[str]) -> str:
    """The best and the worst of several targets by R²."""
    known = sorted((t for t in targets if f"{t}_r2" in run.metrics), key=lambda t: -run.metrics[f"{t}_r2"])
    if not known:
        return ""
    best, worst = (
        f"{interval_words(run.metrics, f'{t}_r2', first=t == known[0])} for {t}" for t in (known[0], known[-1])
    )
    above = sum(run.metrics.get(f"{t}_r2_low", -1.0) > 0 for t in known)
    return (
        f"{who(run)} predict {counted(len(known), 'numbers')} of {unseen(run)}. R² reaches from {best} to {worst}; "
        f"predicting the mean gives 0. The whole interval lies above 0 for {above:,} of the {len(known):,}."
    )


def certainty(metrics: Mapping[str, Any], key: str, chance: float, what: str, of: str = "") -> str:
    """A sentence: whether the interval of a metric, of which larger is better, excludes the value `chance` of `what`.

    `of` names the metric, where it is not the only one that was told before.
    """
    estimate = estimate_of(metrics, key)
    if estimate is None:
        return f"This is {'better' if metrics[key] > chance else 'no better'} than {what}, but without an interval."
    if estimate["low"] > chance:
        return f"This is clearly better than {what}: the whole interval{of} lies above {chance:.2g}."
    if estimate["high"] < chance:
        return f"This is clearly worse than {what}: the whole interval{of} lies below {chance:.2g}."
    return f"This cannot be told from {what}: the interval{of} includes {chance:.2g}."
