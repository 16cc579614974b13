"""Replay bundles: one file with the inputs and the outcome of a step, and the bitwise replay of it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aam.checkpoint import Finetuned, build_model
from aam.config import RunnableConfig, from_dict, to_dict
from aam.corpus.batches import LabelledBatch
from aam.corpus.dataset import Batch
from aam.errors import CheckpointError, NonFiniteError
from aam.health.bundle import load_bundle, restore_random_state
from aam.stored import KIND_OF, KINDS
from aam.training.losses import TargetScale
from aam.training.objective import Objective, PretrainObjective, TargetObjective
from aam.training.optim import MuonAdamW, loss_scaler
from aam.training.step import Guard, Learner, StepResult, step

BUNDLE = "bundle.safetensors"
BATCH_CLASSES: dict[str, type[Batch]] = {"pretrain": Batch, "finetune": LabelledBatch}
"""Type of the batches of each kind of run."""


@dataclass(frozen=True)
class Attempt:
    """Inputs of a step: its `number` (from 0), its batches, and the random states at its start."""

    number: int
    horizon: int
    microbatches: tuple[Batch, ...]
    random: Mapping[str, Any]


@dataclass(frozen=True)
class AsvNames:
    """Ids and sequences of the ASVs, by column of the table."""

    ids: Sequence[str] | Mapping[int, str] = ()
    sequences: Sequence[str] | Mapping[int, str] = ()

    def of(self, batches: Sequence[Batch]) -> dict[str, dict[str, str]]:
        """Select the ASVs of some batches, for a bundle."""
        columns = sorted({int(column) for batch in batches for column in batch.asvs}) if self.ids else []
        return {
            name: {str(column): known[column] for column in columns}
            for name, known in (("ids", self.ids), ("sequences", self.sequences))
        }


@dataclass(frozen=True)
class Outcome:
    """Result of a step: loss terms [n], gradient norm [] and, as SHA-256, the weights after it."""

    terms: Tensor
    grad_norm: Tensor
    weights: str
    updated: bool


@dataclass(frozen=True)
class Bundle:
    """A step from a bundle file: `learner` and `attempt` before the step; `outcome` None if it was not recorded."""

    config: RunnableConfig
    learner: Learner
    attempt: Attempt
    names: AsvNames
    outcome: Outcome | None
    versions: dict[str, Any]


def bundle_contents(config: RunnableConfig, learner: Learner, attempt: Attempt, names: AsvNames) -> dict[str, Any]:
    """All inputs of a step."""
    groups = [{k: v for k, v in group.items() if k != "params"} for group in learner.optimizer.param_groups]
    return {
        "kind": KIND_OF[type(config)],
        "config": to_dict(config),
        "model": learner.model.state_dict(),
        "beside": learner.objective.extra_state(learner.model),
        "groups": groups,
        "optimizer": learner.optimizer.state_dict()["state"],
        "scaler": learner.scaler.state_dict(),
        "number": attempt.number,
        "horizon": attempt.horizon,
        "batches": [vars(batch) for batch in attempt.microbatches],
        "random": attempt.random,
        "asvs": names.of(attempt.microbatches),
        "versions": runtime_versions(learner.device),
    }


def rebuild_model(content: dict[str, Any], config: RunnableConfig, device: torch.device) -> tuple[nn.Module, Objective]:
    """Rebuild model and objective from a bundle."""
    built, known = build_model(config), content["beside"]
    built.model.load_state_dict(content["model"])
    built.model.to(device)
    if not isinstance(built, Finetuned):
        return built.model, PretrainObjective(built.config.loss, TargetScale(**known["scale"]))
    placed = {name: None if tensor is None else tensor.to(device) for name, tensor in known.items()}
    built.model.identity, built.model.embedded = placed["identity"], placed["embedded"]
    return built.model, TargetObjective(built.config.target, placed["class_weights"])


def runtime_versions(device: torch.device) -> dict[str, Any]:
    """Versions and settings on which the last bits of a result depend, besides its inputs."""
    return {
        "torch": torch.__version__,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def outcome_of(learner: Learner, result: StepResult, updated: bool) -> Outcome:
    """The outcome of a step that has just run."""
    return Outcome(result.terms.cpu(), result.grad_norm.cpu(), fingerprint(learner.model.state_dict()), updated)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """The bytes of a tensor, in which NaN equals NaN."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def copy_tensors(value: Any) -> Any:
    """The same nesting with copies of its tensors."""
    return torch.utils._pytree.tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, value)


def open_bundle(path: Path, device: torch.device) -> Bundle:
    """Read a bundle and rebuild the step; sets the number of threads of the run, on which the last bits depend.

    Raises CheckpointError if the file is damaged, no bundle, or from another version with unknown settings.
    """
    content = load_bundle(path)
    try:
        kind = content["kind"]
        config = from_dict(KINDS[kind], content["config"])
        torch.set_num_threads(content["versions"]["threads"])
        model, objective = rebuild_model(content, config, device)
        named = dict(model.named_parameters())
        groups = [{**group, "params": [named[name] for name in group["names"]]} for group in content["groups"]]
        optimizer = MuonAdamW(groups, config.optim.lr, config.optim.precision)
        optimizer.load_state_dict(optimizer.state_dict() | {"state": content["optimizer"]})
        scaler = loss_scaler(config.optim, device)
        scaler.load_state_dict(content["scaler"])
        batches = tuple(BATCH_CLASSES[kind](**fields) for fields in content["batches"])
        attempt = Attempt(content["number"], content["horizon"], batches, content["random"])
        known = {key: {int(column): text for column, text in content["asvs"][key].items()} for key in content["asvs"]}
        outcome = Outcome(**content["outcome"]) if content.get("outcome") else None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: the step cannot be rebuilt ({reason}); use the aam that wrote it") from error
    learner = Learner(model.train(), optimizer, scaler, config.optim, objective, device)
    return Bundle(config, learner, attempt, AsvNames(**known), outcome, content["versions"])


class Stopped(NonFiniteError):
    """Raised to end a replayed step before its update."""


class ReplayGuard(Guard):
    """Stores the result of a step; ends the step before its update if the recorded step made no update."""

    def __init__(self, update: bool):
        self.update = update
        self.result: StepResult | None = None

    def admit(self, learner: Learner, result: StepResult) -> Tensor:
        self.result = result
        if not self.update:
            raise Stopped("the recorded step made no update either")
        return result.grad_norm


def replay(bundle: Bundle) -> Outcome:
    """Repeat the step of a bundle, which updates the learner of the bundle."""
    attempt, learner = bundle.attempt, bundle.learner
    restore_random_state(attempt.random)
    guard = ReplayGuard(update=bundle.outcome is None or bundle.outcome.updated)
    with suppress(Stopped):
        step(learner, attempt.microbatches, attempt.number, attempt.horizon, guard)
    assert guard.result is not None  # the step came as far as its guard
    return outcome_of(learner, guard.result, guard.update)


class Comparison(NamedTuple):
    """One quantity of a step: as recorded, as replayed, and whether they agree to the last bit."""

    name: str
    recorded: str
    again: str
    same: bool


def compare_outcomes(recorded: Outcome, again: Outcome) -> Iterator[Comparison]:
    """Compare loss terms, gradient norm and weights of a step and its replay; of the terms only the total is shown."""
    pairs = (("loss terms", recorded.terms, again.terms), ("gradient norm", recorded.grad_norm, again.grad_norm))
    for name, *tensors in pairs:
        one, other = (f"{tensor.flatten()[0].item():.9g}" for tensor in tensors)
        yield Comparison(name, one, other, tensor_bytes(tensors[0]) == tensor_bytes(tensors[1]))
    yield Comparison("weights", recorded.weights[:16], again.weights[:16], recorded.weights == again.weights)
