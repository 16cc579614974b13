"""What a fine-tuned model predicts, as a number that can be explained by the ASVs of a sample.

The head reads ASVs by their embeddings and, those it knows, as themselves. Behind its embedding in a slot an ASV
therefore has marks: a 1 in the place it has among the known ASVs, or none. Along the paths of integrated gradients they
fade in like the embedding, so what the head learned of single ASVs counts for them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aam.config import NUMERIC_TASKS, FinetuneConfig, NumericTarget
from aam.errors import ConfigError
from aam.evaluation.explain import Scalar, Slots
from aam.models.finetune_model import FinetuneModel
from aam.models.target_head import community_features, read_amount
from aam.wording import quote


class Output(NamedTuple):
    """One of the numbers that a model predicts: target `target`, its quantile or class number `place`; and its name."""

    target: int
    place: int
    name: str


def choose_output(config: FinetuneConfig, asked: str | None) -> Output:
    """The target or class called `asked`; by default the first target (its middle quantile), or the last class.

    Raises `ConfigError` for a name that the model does not know.
    """
    numeric = config.target.task in NUMERIC_TASKS
    names = config.target.target if numeric else config.schema.classes
    asked = (names[0] if numeric else names[-1]) if asked is None else asked
    if asked not in names:
        kind = "targets" if numeric else "classes"
        raise ConfigError(f"--of is {quote(asked)}, but the {kind} of this model are {', '.join(map(quote, names))}")
    number, quantiles = names.index(asked), len(config.target.quantiles)
    if numeric:
        return Output(number, quantiles // 2 if config.target.task == "quantiles" else 0, f"predicted {asked}")
    return Output(0, number, f"log-odds of {config.target.target[0]} being {asked}")


def target_scalar(model: FinetuneModel, config: FinetuneConfig, output: Output) -> Scalar:
    """The prediction as a function of slots with marks: a number in the units of its target, or log-odds of a class.

    Covariates are taken as unknown.
    """
    width = config.model.dim

    def scalar(slots: Slots) -> Tensor:
        asvs, marks = slots.asvs[..., :width], slots.asvs[..., width:]
        samples = model.encoder.sample_encoder(asvs, slots.abundance, slots.valid).embeddings
        known = (read_amount(slots.abundance, slots.valid)[:, None] @ marks)[:, 0]
        features = torch.cat([known, community_features(asvs, samples, slots.abundance, slots.valid)], dim=1)
        raw = model.head.read(features, *unknown_covariates(config, features)).mean(dim=0)[:, output.target]
        if config.target.task not in NUMERIC_TASKS:
            return log_odds(raw, output.place)
        return in_units(raw[:, output.place], config.schema.numbers[output.target])

    return scalar


def unknown_covariates(config: FinetuneConfig, features: Tensor) -> tuple[Tensor, Tensor]:
    """`numeric` [B, 2 X] and `categories` [B, X] of samples of which no covariate is known."""
    categorical = sum(bool(covariate.categories) for covariate in config.schema.covariates)
    missing = features.new_tensor([0.0, 1.0] * (len(config.schema.covariates) - categorical))
    categories = torch.zeros(len(features), categorical, dtype=torch.int64, device=features.device)
    return missing.expand(len(features), -1), categories


def log_odds(raw: Tensor, place: int) -> Tensor:
    """log p / (1 - p) [B] of class number `place`, of logits or log-probabilities [B, C]."""
    others = torch.cat([raw[:, :place], raw[:, place + 1 :]], dim=1)
    return raw[:, place] - others.logsumexp(dim=1)


def in_units(raw: Tensor, target: NumericTarget) -> Tensor:
    """The learned scale back to target units; `aam.data.label_schema.unscaled` with gradients."""
    values = raw * target.scale + target.center
    return values.expm1() if target.transform.startswith("log") else values


def identity_marks(model: FinetuneModel, width: int) -> Tensor:
    """Marks [A, identities] of the ASVs of the table that was opened last."""
    assert model.identity is not None
    return F.one_hot(model.identity + 1, width + 1)[:, 1:].float()
