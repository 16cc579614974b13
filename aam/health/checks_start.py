"""Preflight checks without training: parameters, optimiser, learning rates, batches, initial loss, model modes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _NormBase

from aam.health.operations import float_tensors, leaves
from aam.health.stats import find_non_finite
from aam.health.trial import IGNORED, TENSORS_SHOWN, CheckFailed, Checks, CheckSkipped, Head, Make
from aam.text import name_few

LOSS_TOLERANCE = 0.1  # tolerated distance of an initial cross-entropy from its expectation
PERFECT_PART = 0.25  # a perfect prediction must score below this part of the untrained model's loss
MODE_TOLERANCE = 1e-5  # tolerated relative difference between modes in fp32
KERNEL_TOLERANCE = 1e-3  # and between attention kernels, which sum in another order
MIN_RATE_SUM = 0.01  # the learning rates of a whole run must sum to this part of the size of a typical weight


def check_trainable(make: Make, left: float) -> str:
    """Every parameter is trained, except those that the trial names as frozen."""
    trial = make()
    names = [name for name, p in trial.model.named_parameters() if not p.requires_grad and name not in trial.frozen]
    if names:
        raise CheckFailed(
            f"frozen: {name_few(names, TENSORS_SHOWN)}; set requires_grad, or name them as frozen on purpose"
        )
    return f"{sum(p.requires_grad for p in trial.model.parameters())} trainable tensors"


def check_optimizer(make: Make, left: float) -> str:
    """Every trainable tensor of the model is in the optimiser exactly once, and no other tensor is."""
    trial = make()
    held = [id(p) for group in trial.optimizer.param_groups for p in group["params"]]
    names = {id(p): name for name, p in trial.model.named_parameters() if p.requires_grad}
    missing = [name for key, name in names.items() if key not in held]
    if missing:
        raise CheckFailed(
            f"not in the optimiser: {name_few(missing, TENSORS_SHOWN)} ({len(missing)} of {len(names)} tensors)"
        )
    if len(held) != len(set(held)):
        raise CheckFailed("the optimiser holds a tensor twice; its updates would be applied twice")
    foreign = len(set(held) - {id(p) for p in trial.model.parameters()})
    if foreign:
        raise CheckFailed(f"the optimiser holds {foreign} tensors that are not of the model")
    return f"{len(names)} tensors in {len(trial.optimizer.param_groups)} groups"


def check_learning_rates(make: Make, left: float) -> str:
    """Learning rates are finite, above 0, and large enough in sum to change a weight.

    AdamW changes no weight by more than the sum of the learning rates. A run whose rates sum to less than 1 % of the
    size of a typical weight cannot learn.
    """
    trial = make()
    rates = list(trial.rates) or [float(group["lr"]) for group in trial.optimizer.param_groups]
    if bad := [rate for rate in rates if not math.isfinite(rate) or rate < 0]:
        raise CheckFailed(f"learning rate {bad[0]} among {len(rates)}; expected finite and above 0")
    if not any(rates):
        raise CheckFailed("every learning rate is 0")
    matrices = [p.detach() for p in trial.model.parameters() if p.dim() > 1 and p.numel()]
    if not trial.rates or not matrices:
        return f"peak {max(rates):.3g}"
    sizes = torch.stack([matrix.float().square().mean().sqrt() for matrix in matrices])
    size, bound = float(sizes.median()), math.fsum(rates)
    if bound < MIN_RATE_SUM * size:
        raise CheckFailed(
            f"all {len(rates)} rates sum to {bound:.3g}, but a typical weight is {size:.3g}: nothing can move"
        )
    return f"peak {max(rates):.3g}, sum {bound:.3g} against weights of {size:.3g}"


def check_batches_differ(make: Make, left: float) -> str:
    """Two consecutive batches differ."""
    trial = make()
    first, second = (leaves(batch) for batch in list(trial.batches)[:2])
    if first and len(first) == len(second) and all(map(_equal, first, second)):
        raise CheckFailed("the first two batches are equal; the loader hands out the same batch again")
    return f"{len(trial.batches)} batches seen"


def check_initial_loss(make: Make, left: float) -> str:
    """The untrained loss is finite, and that of each classification head is that of chance: ln V + var(logits) / 2.

    For logits that do not depend on the target, the expected cross-entropy is E[log sum exp] - E[logit], which is
    ln V + variance / 2 for normal logits. If a head has a prior (log frequencies), the expectation is the
    cross-entropy of the prior with the targets, plus half the variance, under the prior, of logits minus prior.
    Also checks that targets are in range and not all ignored, and that heads return logits, not probabilities.
    """
    trial = make()
    trial.model.train()
    batch = trial.batches[0]
    output = trial.predict(batch)
    loss = float(trial.score(output, batch).detach())
    if not math.isfinite(loss):
        raise CheckFailed(f"the first loss is {loss}")
    if trial.heads is None:
        return f"loss {loss:.4g}; no classification head to compare with chance"
    return "; ".join(_check_head(name, head) for name, head in trial.heads(output, batch).items())


def check_perfect_prediction(make: Make, left: float) -> str:
    """Perfect predictions, built directly from the data, have a much lower loss than the untrained model."""
    trial = make()
    if trial.perfect is None:
        raise CheckSkipped("no perfect prediction given")
    batch = trial.batches[0]
    with torch.no_grad():
        found, untrained = (
            float(trial.score(output, batch)) for output in (trial.perfect(batch), trial.predict(batch))
        )
    if not found < PERFECT_PART * untrained:
        raise CheckFailed(
            f"right answers score {found:.4g}, the untrained model {untrained:.4g}: loss and targets disagree"
        )
    return f"right answers {found:.3g}, untrained model {untrained:.3g}"


def check_input(make: Make, left: float) -> str:
    """Different inputs give different outputs, and the content of the padding changes nothing."""
    trial = make()
    trial.model.eval()
    with torch.no_grad():
        first, second = (float_tensors(trial.predict(batch)) for batch in list(trial.batches)[:2])
        if all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-6, atol=1e-7)
            for a, b in zip(first, second, strict=False)
        ):
            raise CheckFailed("two different batches give the same output: the model does not see its input")
        if trial.junk is None:
            return "outputs differ between batches"
        again = float_tensors(trial.predict(trial.junk(trial.batches[0])))
    if not all(a.shape == b.shape and _close(a, b, MODE_TOLERANCE) for a, b in zip(first, again, strict=True)):
        raise CheckFailed("values in the padding change the output: the mask is inverted, or missing somewhere")
    return "outputs differ between batches, not with junk in the padding"


def check_modes(make: Make, left: float) -> str:
    """Training (dropout 0), evaluation, no_grad, inference mode and each attention kernel give the same output."""
    trial = make()
    batch = trial.batches[0]
    for module in trial.model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    trial.model.eval()
    expected = float_tensors(trial.predict(batch))
    if bad := find_non_finite((str(i), t) for i, t in enumerate(expected)):
        raise CheckFailed(
            f"output {bad[0][0].name} in evaluation mode holds {bad[0][0].nan} NaN and {bad[0][0].inf} Inf"
        )
    for name, context in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
        with context():
            _check_agreement(expected, trial.predict(batch), name, MODE_TOLERANCE)
    with sdpa_kernel([SDPBackend.MATH]):
        _check_agreement(expected, trial.predict(batch), "plain attention kernel", KERNEL_TOLERANCE)
    if any(isinstance(module, _NormBase) and module.track_running_stats for module in trial.model.modules()):
        return "evaluation modes agree; training differs by design (running statistics)"
    trial.model.train()
    once, twice = (float_tensors(trial.predict(batch)) for _ in range(2))
    if not all(map(torch.equal, once, twice)):
        return "evaluation modes agree; training is random beyond nn.Dropout, so it is not compared"
    _check_agreement(expected, once, "training", MODE_TOLERANCE)
    return "all modes agree"


START_CHECKS: Checks = (
    ("trainable", check_trainable),
    ("optimiser", check_optimizer),
    ("learning rate", check_learning_rates),
    ("batches", check_batches_differ),
    ("initial loss", check_initial_loss),
    ("perfect prediction", check_perfect_prediction),
)
MODE_CHECKS: Checks = (
    ("input", check_input),
    ("modes", check_modes),
)


def _check_head(name: str, head: Head) -> str:
    logits, targets = head.logits.detach().float().flatten(0, -2), head.targets.flatten()
    kept = targets != IGNORED
    if not bool(kept.any()):
        raise CheckFailed(f"{name}: every target is ignored, so the loss is a mean of nothing")
    logits, targets, classes = logits[kept], targets[kept], logits.shape[-1]
    allowed = head.classes if head.classes is not None else frozenset(range(classes))
    if strange := sorted(set(targets.unique().tolist()) - allowed):
        raise CheckFailed(f"{name}: targets {strange[:4]} occur, expected {sorted(allowed)[:8]}; labels off by one?")
    if bool((logits >= 0).all()) and bool((logits.sum(-1) - 1).abs().max() < 1e-3):
        raise CheckFailed(f"{name}: each row sums to 1: probabilities go into a loss that applies softmax itself")
    found = float(cross_entropy(logits, targets))
    chance, words = _chance(logits, targets, None if head.prior is None else head.prior.flatten(0, -2)[kept])
    # A head with few targets has noise of its own, which is no fault.
    noise = (
        3 * float(cross_entropy(logits, targets, reduction="none").std()) / math.sqrt(len(targets))
        if len(targets) > 1
        else math.inf
    )
    if abs(found - chance) > LOSS_TOLERANCE + noise:
        raise CheckFailed(f"{name}: starts at {found:.3f} nats, chance is {chance:.3f} ({words})")
    return f"{name} {found:.3f} nats, chance {chance:.3f} ({words})"


def _chance(logits: Tensor, targets: Tensor, prior: Tensor | None) -> tuple[float, str]:
    """Expected cross-entropy, also in words, of logits [n, V] that depend on the targets [n] only by the prior."""
    if prior is None:
        spread = float(logits.var(dim=-1, correction=0).mean()) / 2
        return math.log(logits.shape[-1]) + spread, f"ln {logits.shape[-1]} + var/2 of {spread:.3f}"
    weight, rest = prior.float().softmax(-1), logits - prior.float()
    mean = (weight * rest).sum(-1, keepdim=True)
    spread = float((weight * (rest - mean) ** 2).sum(-1).mean()) / 2
    known = float(cross_entropy(prior.float(), targets))
    return known + spread, f"{known:.3f} of the frequencies + var/2 of {spread:.3f}"


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor))


def _check_agreement(expected: list[Tensor], output: Any, name: str, tolerance: float) -> None:
    for index, (a, b) in enumerate(zip(expected, float_tensors(output), strict=True)):
        if not _close(a.detach(), b.detach(), tolerance):
            worst = float((a.detach() - b.detach()).abs().max())
            raise CheckFailed(f"output {index} differs between evaluation and {name} by up to {worst:.3g}")


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    scale = float(a.abs().max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * max(scale, 1.0))
