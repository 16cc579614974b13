"""Influence of each ASV on an output of a model: integrated gradients, attention, and a check by deleting ASVs.

The head of a fine-tuned model reads the embeddings of ASVs and, for frequent ASVs, also their abundances one by one
(identities). Therefore the embedding of an ASV in a slot is followed by marks: a one-hot of its identity, or zeros.
Integrated gradients scale marks and embeddings alike along their paths, so identities count as influence too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aam.config import NUMERIC_TASKS, FinetuneConfig, NumericTarget
from aam.errors import ConfigError
from aam.inference.embed import Encoding, SlotBatch
from aam.models.finetune_model import FinetuneModel
from aam.models.pretrain_model import PretrainModel
from aam.models.target_head import community_features, log_amounts
from aam.observer import Progress, no_progress
from aam.text import quote

PATH_STEPS = 32
"""Points of the integral along a path, at the middles of equal parts; each has a path of its own."""
DELETED_COUNTS = (1, 2, 4, 8, 16)
"""Numbers of ASVs deleted from a sample; samples with no more ASVs than that are left out of the mean."""
RANDOM_DRAWS = 5
"""Random deletions of each sample that are averaged."""
RANKINGS = ("integrated gradients", "attention", "abundance", "random")
RANKING_LABELS = ("share", "attention", "abundance", "chance")
"""By what ASVs are chosen for deletion, in drivers.json, and in words: the share is that of the influence."""


class Slots(NamedTuple):
    """Inputs of the sample encoder: asvs [B, S, D], relative abundance [B, S], valid [B, S].

    If the explained output reads marks, they follow the embeddings in the last axis of `asvs`.
    """

    asvs: Tensor
    abundance: Tensor
    valid: Tensor


Scalar = Callable[[Slots], Tensor]
"""The output that is explained, one number [B] for each sample; gradients must reach `asvs` and `abundance`."""


@dataclass(frozen=True)
class Explanation:
    """Influence of each ASV [U] on an output, over the samples that carry it.

    `deletion` [rankings, DELETED_COUNTS]: mean |change| of the output. `samples`: number of samples;
    `abundance`, `attention`: mean; `attribution`: mean integrated gradient, with its sign;
    `influence`: mean of its size; `share`: part of the sum of sizes over all ASVs. `deleted_samples` [DELETED_COUNTS].
    """

    samples: NDArray[np.int64]
    abundance: NDArray[np.float64]
    attention: NDArray[np.float64]
    attribution: NDArray[np.float64]
    influence: NDArray[np.float64]
    share: NDArray[np.float64]
    deletion: NDArray[np.float64]
    deleted_samples: NDArray[np.int64]
    explained_samples: int
    table_samples: int
    """Samples that there were to draw from."""

    def order(self) -> NDArray[np.int64]:
        """ASVs [U], the one with the largest share first."""
        return np.argsort(-self.share, kind="stable")

    def deletion_table(self) -> dict[str, Any]:
        """Effect of deleting ASVs, by their number as text.

        Has the samples, the mean change of the output by ranking, and its ratio to that of random ASVs."""
        found = dict[str, Any]()
        for column, count in enumerate(DELETED_COUNTS):
            if self.deleted_samples[column]:
                changes = dict(zip(RANKINGS, self.deletion[:, column].tolist(), strict=True))
                times = changes["integrated gradients"] / changes["random"] if changes["random"] else None
                samples = int(self.deleted_samples[column])
                found[str(count)] = {"samples": samples, "mean_change": changes, "times_random": times}
        return found

    def verdict(self) -> str:
        """What the check by deletion says of the shares, in a sentence; empty where nothing could be deleted."""
        times = [row["times_random"] for row in self.deletion_table().values() if row["times_random"] is not None]
        if not times:
            return ""
        low, high = f"{min(times):.1f}", f"{max(times):.1f}"
        compared = f"{low if low == high else f'{low} to {high}'} times as much as deleting ASVs at random"
        word = "tell what matters" if min(times) > 1 else "say little" if max(times) > 1 else "say nothing"
        return f"the shares {word}: deleting the ASVs with the largest ones changes the output {compared}"


def distance_to_mean(model: PretrainModel, mean: Tensor) -> Scalar:
    """Mean squared difference between a sample embedding and `mean` [D]."""

    def scalar(slots: Slots) -> Tensor:
        return (model.sample_encoder(*slots).embeddings - mean).square().mean(dim=1)

    return scalar


def explain(
    encoding: Encoding,
    scalar: Scalar,
    max_samples: int,
    seed: int = 0,
    progress: Progress = no_progress,
    marks: Tensor | None = None,
) -> Explanation:
    """Explain `scalar` on at most `max_samples` samples of an encoding, drawn at random by `seed`.

    `marks` [U, M] of the ASVs are appended to their embeddings in the slots that `scalar` is called with.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(encoding.samples))[:max_samples]).tolist()
    width = len(encoding.asvs.columns)
    sums = {name: np.zeros(width) for name in ("samples", "abundance", "attention", "attribution", "influence")}
    moved, counted, done = (
        np.zeros((len(RANKINGS), len(DELETED_COUNTS))),
        np.zeros(len(DELETED_COUNTS), dtype=np.int64),
        0,
    )
    asvs = encoding.asvs.embeddings.clone()  # out of inference mode, so that gradients may pass
    marked = asvs if marks is None else torch.cat([asvs, marks], dim=1)
    for batch in encoding.batches(encoding.token_limit, rows):
        slots = Slots(marked[batch.index], batch.abundance, batch.valid)
        gradients = integrated_gradients(scalar, slots, marked, rng)
        attention = attention_weights(encoding.model, slots._replace(asvs=asvs[batch.index]))
        add_to_sums(sums, batch, attention, gradients)
        for column, count in enumerate(DELETED_COUNTS):
            enough = slots.valid.sum(dim=1) > count
            if enough.any():
                some = Slots(*(values[enough] for values in slots))
                ranked = [gradients.abs()[enough], attention[enough], some.abundance]
                moved[:, column] += deletion_effects(scalar, some, ranked, count, rng)
                counted[column] += int(enough.sum())
        done += len(batch.index)
        progress(done, len(rows))
    carried = np.maximum(sums["samples"], 1)
    means = {name: sums[name] / carried for name in ("abundance", "attention", "attribution", "influence")}
    share = sums["influence"] / max(sums["influence"].sum(), np.finfo(float).tiny)
    return Explanation(
        samples=sums["samples"].astype(np.int64),
        share=share,
        deletion=moved / np.maximum(counted, 1),
        deleted_samples=counted,
        explained_samples=len(rows),
        table_samples=len(encoding.samples),
        **means,
    )


def average_explanations(found: Sequence[Explanation]) -> Explanation:
    """Average the explanations of the same samples by several models, field by field."""
    means = {
        field.name: np.mean([getattr(one, field.name) for one in found], axis=0)
        for field in fields(Explanation)
        if field.name not in ("samples", "deleted_samples", "explained_samples", "table_samples")
    }
    return replace(found[0], **means)


def integrated_gradients(scalar: Scalar, slots: Slots, background: Tensor, rng: np.random.Generator) -> Tensor:
    """Attribution of each slot [B, S], 0 in padding; paths start from random rows of `background` [U, D]."""
    amounts = torch.where(slots.valid, slots.abundance, 1.0).log()
    equal = -slots.valid.sum(dim=1, keepdim=True).log().expand_as(amounts)
    moved = torch.where(slots.valid, amounts - equal, 0.0)
    total = torch.zeros_like(amounts)
    for step in range(PATH_STEPS):
        reached = (step + 0.5) / PATH_STEPS
        origin = background[torch.from_numpy(rng.integers(len(background), size=amounts.shape)).to(background.device)]
        with torch.enable_grad():
            point = (origin + reached * (slots.asvs - origin)).detach().requires_grad_()
            amount = (equal + reached * moved).detach().requires_grad_()
            output = scalar(Slots(point, torch.where(slots.valid, amount.exp(), 0.0), slots.valid)).sum()
            by_asv, by_amount = torch.autograd.grad(output, (point, amount), materialize_grads=True)
        total += ((slots.asvs - origin) * by_asv).sum(dim=-1) + moved * by_amount
    return torch.where(slots.valid, total / PATH_STEPS, 0.0)


@torch.no_grad()
def attention_weights(model: PretrainModel, slots: Slots) -> Tensor:
    """Mean over the queries of the pooling's weights [B, S], which sum to 1 for each sample."""
    states = model.sample_encoder(*slots).states
    return model.sample_encoder.pooling.weights(states, slots.valid).mean(dim=-1)


@torch.no_grad()
def deletion_effects(
    scalar: Scalar, slots: Slots, scores: list[Tensor], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Sum over samples of |change| of the scalar if `count` slots are deleted [scores + 1].

    The slots are the leading ones by each score [B, S] and, last, random ones."""
    before = scalar(slots)
    draws = [torch.from_numpy(rng.random(slots.valid.shape)).to(slots.valid.device) for _ in range(RANDOM_DRAWS)]
    moved = [
        float((scalar(drop_leading_slots(slots, score, count)) - before).abs().sum()) for score in [*scores, *draws]
    ]
    return np.array([*moved[: len(scores)], np.mean(moved[len(scores) :])])


def drop_leading_slots(slots: Slots, score: Tensor, count: int) -> Slots:
    """Delete the `count` valid slots of largest score [B, S] of each sample and rescale the abundances to sum 1."""
    leading = torch.where(slots.valid, score, -torch.inf).argsort(dim=1, descending=True)[:, :count]
    valid = slots.valid.scatter(1, leading, False)
    abundance = torch.where(valid, slots.abundance, 0.0)
    return Slots(slots.asvs, abundance / abundance.sum(dim=1, keepdim=True), valid)


def add_to_sums(sums: dict[str, NDArray[np.float64]], batch: SlotBatch, attention: Tensor, gradients: Tensor) -> None:
    """Add the slots [B, S] of a batch to the sums [U] of their ASVs."""
    valid = batch.valid.cpu().numpy()
    place = batch.index.cpu().numpy()[valid]
    found = {"abundance": batch.abundance, "attention": attention, "attribution": gradients}
    found |= {"influence": gradients.abs(), "samples": torch.ones_like(gradients)}
    for name, values in found.items():
        sums[name] += np.bincount(place, weights=values.double().cpu().numpy()[valid], minlength=len(sums[name]))


class Output(NamedTuple):
    """One number that a model predicts: number of the target, `place` of its quantile or class, and its name."""

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

    All covariates are unknown.
    """
    width = config.model.dim

    def scalar(slots: Slots) -> Tensor:
        asvs, marks = slots.asvs[..., :width], slots.asvs[..., width:]
        samples = model.encoder.sample_encoder(asvs, slots.abundance, slots.valid).embeddings
        known = (log_amounts(slots.abundance, slots.valid)[:, None] @ marks)[:, 0]
        features = torch.cat([known, community_features(asvs, samples, slots.abundance, slots.valid)], dim=1)
        raw = model.head.read(features, *unknown_covariates(config, features)).mean(dim=0)[:, output.target]
        if config.target.task not in NUMERIC_TASKS:
            return log_odds(raw, output.place)
        return to_target_units(raw[:, output.place], config.schema.numbers[output.target])

    return scalar


def unknown_covariates(config: FinetuneConfig, features: Tensor) -> tuple[Tensor, Tensor]:
    """`numeric` [B, 2 X] and `categories` [B, X] of samples without known covariates."""
    categorical = sum(bool(covariate.categories) for covariate in config.schema.covariates)
    missing = features.new_tensor([0.0, 1.0] * (len(config.schema.covariates) - categorical))
    categories = torch.zeros(len(features), categorical, dtype=torch.int64, device=features.device)
    return missing.expand(len(features), -1), categories


def log_odds(raw: Tensor, place: int) -> Tensor:
    """Log-odds log(p / (1 - p)) [B] of class number `place`, from logits or log-probabilities [B, C]."""
    others = torch.cat([raw[:, :place], raw[:, place + 1 :]], dim=1)
    return raw[:, place] - others.logsumexp(dim=1)


def to_target_units(raw: Tensor, target: NumericTarget) -> Tensor:
    """Convert from the learned scale to target units; `aam.corpus.label_schema.unscaled` with gradients."""
    values = raw * target.scale + target.center
    return values.expm1() if target.transform.startswith("log") else values


def identity_marks(model: FinetuneModel, width: int) -> Tensor:
    """Marks [A, identities] of the ASVs of the table that the model has open."""
    assert model.identity is not None
    return F.one_hot(model.identity + 1, width + 1)[:, 1:].float()
