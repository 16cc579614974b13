"""Predictions of a metadata column: from the outputs of models to a table, and to scores with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, softmax
from torch import Tensor

from aam.config import NUMERIC_TASKS, FinetuneConfig, TargetConfig
from aam.corpus.batches import split_labelled
from aam.corpus.dataset import ASVDataset
from aam.corpus.label_schema import EncodedLabels, unscale_values
from aam.errors import CheckpointError, ConfigError
from aam.evaluation.calibration import (
    Calibration,
    expected_calibration_error,
    negative_log_likelihood,
)
from aam.evaluation.intervals import prediction_intervals
from aam.evaluation.study_metrics import score_samples
from aam.evaluation.target_metrics import Estimate, estimate, metrics_of
from aam.inference.asvs import encode_asvs
from aam.inference.embed import SAMPLE_ROWS
from aam.io.frames import read_frame
from aam.io.ids import SAMPLE_ID
from aam.models.finetune_model import FinetuneModel, TargetInputs
from aam.models.pretrain_model import PretrainModel
from aam.observer import Progress, no_progress
from aam.text import quote

OUT_OF_FOLD = "predictions.tsv"
"""The table of out-of-fold predictions in a run of `aam train`."""
IN_FOLD, IN_STUDY, TRUE = "fold", "study", "_true"
"""In a table of out-of-fold predictions: the columns of fold and study, and the ending of columns of true values."""
LEAST_CHANCE = 1e-3
"""Probabilities are drawn together to keep this distance from 0 and 1, their order stays: a forest whose trees agree is
not certain, and infinite log-odds would outweigh all other samples of a subject."""


@dataclass(frozen=True)
class Predictions:
    """`values` [N, O, Q]: numbers or quantiles in target units, or log-probabilities of classes; `spread` [N, O].

    The spread is the standard deviation over repeats: of the number, the middle quantile, the likeliest class's
    probability.
    """

    values: NDArray[np.float64]
    spread: NDArray[np.float64]


def embed_asvs(model: PretrainModel, tokens: NDArray[np.uint8]) -> Tensor:
    """Embeddings [A, D] of all ASVs of a table, tokens [A, L], on which a head can be trained."""
    return encode_asvs(model, tokens, np.arange(len(tokens))).embeddings.clone()


def embed_carried(model: PretrainModel, samples: ASVDataset) -> Tensor:
    """Embeddings [A, D] of the ASVs of a table that any of these samples carries; 0 for the others."""
    carried = np.unique(samples.counts.indices).astype(np.int64)
    found = encode_asvs(model, samples.tokens, carried).embeddings
    embedded = found.new_zeros(len(samples.tokens), found.shape[1])
    embedded[torch.from_numpy(carried)] = found
    return embedded


def predict_draws(
    model: FinetuneModel, samples: ASVDataset, labels: EncodedLabels, draws: int, progress: Progress = no_progress
) -> NDArray[np.float64]:
    """Raw outputs [R, N, O, Q] of the draws of epochs 0 … draws - 1; one draw if nothing is random.

    The ASVs of the samples are embedded once for all draws, unless the model holds embeddings already.
    """
    device, training = next(model.parameters()).device, model.training
    cutting = samples.draw.depth is not None or (
        samples.draw.token_limit is not None and samples.draw.selection != "abundance"
    )
    model.eval()
    before = model.embedded
    model.open_table(samples.tokens, embed_carried(model.encoder, samples) if before is None else before)
    try:
        with torch.inference_mode():
            raw, draws = [], draws if cutting else 1
            for draw in range(draws):
                parts = split_labelled(samples, labels, draw, SAMPLE_ROWS)
                found = [model(TargetInputs(**part.to(device).seen())).members.mean(dim=0) for part in parts]
                raw.append(torch.cat(found))
                progress(draw + 1, draws)
    finally:
        model.embedded = before
        model.train(training)
    return torch.stack(raw).double().cpu().numpy()


def decode(raw: NDArray[np.float64], config: FinetuneConfig) -> NDArray[np.float64]:
    """Convert raw outputs of one model [R, N, O, Q] to target units or log-probabilities."""
    if config.target.task not in NUMERIC_TASKS:
        return log_softmax(raw, axis=-1)
    targets = [unscale_values(raw[:, :, place], target) for place, target in enumerate(config.schema.numbers)]
    return np.stack(targets, axis=2)


def average(repeats: Sequence[NDArray[np.float64]], config: FinetuneConfig) -> Predictions:
    """Average decoded outputs [R, N, O, Q] of one or more models: numbers, or log-probabilities (normalised)."""
    joined = np.concatenate(list(repeats))
    values = joined.mean(axis=0)
    if config.target.task in NUMERIC_TASKS:
        return Predictions(values, joined[..., joined.shape[-1] // 2].std(axis=0))
    likeliest = values.argmax(axis=-1)[None, ..., None]
    return Predictions(
        log_softmax(values, axis=-1), np.take_along_axis(np.exp(joined), likeliest, axis=-1)[..., 0].std(axis=0)
    )


def probabilities(values: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-probabilities [N, 1, C] at a temperature -> probabilities [N, C]."""
    return softmax(values[:, 0] / temperature, axis=-1)


def refuse_clashes(target: TargetConfig, classes: Sequence[str]) -> None:
    """Raise ConfigError if two columns of the predictions would have the same name."""
    endings = ["", TRUE, "_sd"]
    if target.task in NUMERIC_TASKS:
        endings += ["_lower", "_upper", *(f"_q{q:g}" for q in target.quantiles if target.task == "quantiles")]
    names = [SAMPLE_ID, IN_FOLD, *(f"{name}{ending}" for name in target.target for ending in endings)]
    names += [f"p_{name}" for name in classes]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"--target {' '.join(target.target)}: predictions would have two columns named {quote(twice[0])}; rename "
            "the column of the metadata"
        )


def prediction_table(
    sample_ids: Sequence[str], found: Predictions, config: FinetuneConfig, calibration: Calibration | None
) -> pd.DataFrame:
    """One row per sample, indexed by id.

    Numbers: the target's column, its `_sd` over repeats, with a calibration `_lower` and `_upper`; of quantiles also
    each as `_q0.05`. Classes: the likeliest, its `_sd`, and a probability of each class as `p_NAME`.
    """
    index = pd.Index(sample_ids, name=SAMPLE_ID)
    if config.target.task not in NUMERIC_TASKS:
        return class_table(index, found, config, calibration)
    known = () if calibration is None else calibration.residuals
    ends = prediction_intervals(found.values, known, config.fold.coverage) if known else None
    columns: dict[str, Any] = {}
    for place, name in enumerate(config.target.target):
        values = found.values[:, place]
        columns |= {name: values[:, values.shape[1] // 2], f"{name}_sd": found.spread[:, place]}
        if config.target.task == "quantiles":
            columns |= {f"{name}_q{q:g}": values[:, k] for k, q in enumerate(config.target.quantiles)}
        if ends is not None:
            columns |= {f"{name}_lower": ends[:, place, 0], f"{name}_upper": ends[:, place, 1]}
    return pd.DataFrame(columns, index=index)


def read_out_of_fold(run: Path, config: FinetuneConfig) -> pd.DataFrame:
    """The out-of-fold predictions of a run, by sample id; raises CheckpointError if they cannot be read."""
    words = () if config.target.task in NUMERIC_TASKS else (config.target.target[0], f"{config.target.target[0]}{TRUE}")
    types = dict.fromkeys((SAMPLE_ID, IN_FOLD, *words), str)
    try:
        table = read_frame(run / OUT_OF_FOLD, dtype=types, na_values=[""])
        return table.set_index(SAMPLE_ID)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{run / OUT_OF_FOLD}: not readable ({error}); let `aam train` finish first") from error


def class_table(
    index: pd.Index, found: Predictions, config: FinetuneConfig, calibration: Calibration | None
) -> pd.DataFrame:
    """Likeliest class and probabilities, at the calibrated temperature if there is one."""
    name, classes = config.target.target[0], config.schema.classes
    chance = probabilities(found.values, 1.0 if calibration is None else calibration.temperature)
    likeliest = np.array(classes, dtype=object)[chance.argmax(axis=1)]
    columns: dict[str, Any] = {name: likeliest, f"{name}_sd": found.spread[:, 0]}
    return pd.DataFrame(columns | {f"p_{c}": chance[:, place] for place, c in enumerate(classes)}, index=index)


def score_targets(
    table: pd.DataFrame, true: pd.DataFrame, config: FinetuneConfig, groups: Sequence[Hashable] | None
) -> dict[str, dict[str, Estimate]]:
    """Metrics of each target: predictions against `true` (columns named as the targets; missing values ignored)."""
    metrics = metrics_of(config.target.task)
    figures = {}
    for name in config.target.target:
        known = true[name].notna().to_numpy()
        units = None if groups is None else [group for group, there in zip(groups, known, strict=True) if there]
        predicted, truth = table[name].to_numpy()[known], true[name].to_numpy()[known]
        figures[name] = estimate(metrics, predicted, truth, units, config.run.seed)
    return figures


def score_points(found: Predictions, true: pd.DataFrame, config: FinetuneConfig) -> dict[str, float]:
    """The scores of `score_targets` without intervals, averaged over targets, for the validation of a run."""
    table = prediction_table(list(true.index), found, config, None)
    metrics = metrics_of(config.target.task)
    known = {name: true[name].notna().to_numpy() for name in config.target.target if true[name].notna().any()}
    each = {
        name: [metric(table[c].to_numpy()[rows], true[c].to_numpy()[rows]) for c, rows in known.items()]
        for name, metric in metrics.items()
    }
    return {name: float(np.mean(values)) for name, values in each.items() if values}


def log_odds(chances: ArrayLike) -> NDArray[np.float64]:
    """Log-odds of the second of two classes [N], from probabilities [N, 2] between `LEAST_CHANCE` and 1 less that."""
    second = np.asarray(chances, np.float64)[:, 1] * (1 - 2 * LEAST_CHANCE) + LEAST_CHANCE
    return np.log(second) - np.log1p(-second)


def score_probabilities(
    values: NDArray[np.float64],
    classes: NDArray[np.int64],
    temperature: float,
    groups: Sequence[Hashable] | None,
    seed: int,
) -> dict[str, float]:
    """Calibration of the probabilities, before and after temperature scaling; of two classes also the ROC AUC.

    Its interval resamples `groups` [N], or samples.
    """
    known = classes >= 0
    logs, truth = values[known, 0], classes[known]
    found = {
        "temperature": temperature,
        "nll": negative_log_likelihood(logs, truth, temperature),
        "nll_uncalibrated": negative_log_likelihood(logs, truth),
    }
    for name, t in (("ece", temperature), ("ece_uncalibrated", 1.0)):
        chances = probabilities(values[known], t)
        found[name] = expected_calibration_error(chances.max(axis=1), chances.argmax(axis=1) == truth)
    if logs.shape[1] == 2 and len(np.unique(truth)) == 2:
        units = None if groups is None else [group for group, there in zip(groups, known, strict=True) if there]
        area = score_samples(logs[:, 1] - logs[:, 0], truth, units, seed)
        found |= flatten_metrics({"": {"roc_auc": area}})
    return found


def flatten_metrics(figures: dict[str, dict[str, Estimate]]) -> dict[str, float]:
    """Metrics by key for metrics.json: `mae`, `mae_low`, `mae_high`; of several targets, prefixed with the name."""
    found: dict[str, float] = {}
    for target, estimates in figures.items():
        before = metric_prefix(target, len(figures))
        for name, (value, (low, high)) in estimates.items():
            found |= {f"{before}{name}": value, f"{before}{name}_low": low, f"{before}{name}_high": high}
    return found


def metric_prefix(target: str, count: int) -> str:
    """Prefix of the metrics of a target in metrics.json; empty if `count`, the number of targets, is 1."""
    return f"{target}_" if count > 1 else ""
