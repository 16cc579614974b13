"""The tasks of `trials`, broken in ways that no error message gives away."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from trials import CLASSES, Batch, Encoder, Recipe, draw, freeze, plain_step, score

from aam.health.trial import Trial


class Patched(Encoder):
    """The encoder with one line of its forward pass replaced."""

    def __init__(self, fault: str):
        super().__init__()
        self.fault = fault

    def forward(self, batch: Batch):
        if self.fault == "mask inverted":
            shown = ~batch.valid
            shown[:, -1] |= ~shown.any(1)  # a full sequence would have no key
            return super().forward(batch._replace(valid=shown))
        if self.fault == "mixed over the batch":
            out = super().forward(batch)
            return {name: value.mean(0, keepdim=True).expand_as(value) for name, value in out.items()}
        if self.fault == "hidden detached":
            handle = self.last.register_forward_pre_hook(lambda module, args: (args[0].detach(),))
            out = super().forward(batch)
            handle.remove()
            return out
        if self.fault == "block unused":
            kept = self.mlp
            self.mlp = nn.Sequential(nn.Identity())
            out = super().forward(batch)
            self.mlp = kept
            return out
        if self.fault == "no mask":
            return super().forward(batch._replace(valid=torch.ones_like(batch.valid)))
        return super().forward(batch)


def steps(change: Callable) -> Recipe:
    return Recipe(step=change)


def no_backward(recipe, trial, batch):
    trial.optimizer.zero_grad()
    trial.score(trial.predict(batch), batch)
    trial.optimizer.step()


def no_update(recipe, trial, batch):
    trial.optimizer.zero_grad()
    trial.score(trial.predict(batch), batch).backward()


def zeroed_after_backward(recipe, trial, batch):
    trial.score(trial.predict(batch), batch).backward()
    trial.optimizer.zero_grad(set_to_none=False)
    trial.optimizer.step()


def never_zeroed(recipe, trial, batch):
    trial.score(trial.predict(batch), batch).backward()
    nn.utils.clip_grad_norm_(trial.model.parameters(), 1.0)
    trial.optimizer.step()


def evaluation_mode(recipe, trial, batch):
    trial.model.eval()
    plain_step(recipe, trial, batch)


def ascent(recipe, trial, batch):
    trial.optimizer.zero_grad()
    (-trial.score(trial.predict(batch), batch)).backward()
    trial.optimizer.step()


def clipped_to_nothing(recipe, trial, batch):
    plain_step(replace(recipe, clip=0.0), trial, batch)


def random_targets(recipe, trial, batch):
    order = torch.randperm(len(batch.label))
    plain_step(recipe, trial, batch._replace(label=batch.label[order], number=batch.number[order]))


def detached_loss(output, batch):
    return score(output, batch).detach().requires_grad_()


def dealt(size: int, seed: int) -> Batch:
    batch = draw(size, seed)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed + 1))
    return batch._replace(label=batch.label[order], number=batch.number[order])


def ignored(size: int, seed: int) -> Batch:
    return draw(size, seed)._replace(label=torch.full((size,), -100))


def off_by_one(size: int, seed: int) -> Batch:
    batch = draw(size, seed)
    return batch._replace(label=(batch.label + 1) % CLASSES)


def held_out_too(make_batch) -> Callable[[Trial], None]:
    """The fault is in the data set, so it is in the held-out samples as well."""

    def change(trial: Trial) -> None:
        trial.held_out = [make_batch(64, 200)]
        trial.few = make_batch(4, 100)

    return change


def data(make_batch) -> Recipe:
    return Recipe(batches=lambda: [make_batch(16, seed) for seed in range(8)], change=held_out_too(make_batch))


def dead(model: Encoder) -> Encoder:
    nn.init.constant_(model.mlp[0].bias, -100.0)
    return model


class Doubled(Encoder):
    """Softmax inside the model, and again inside the loss."""

    def forward(self, batch: Batch):
        out = super().forward(batch)
        return {**out, "classes": out["classes"].softmax(-1)}


FAULTS = {
    "no backward": ("update", steps(no_backward)),
    "no step of the optimiser": ("update", steps(no_update)),
    "learning rate 0": ("learning rate", Recipe(optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=0.0))),
    "learning rates of the run too small": (
        "learning rate",
        Recipe(
            optimizer=lambda m: torch.optim.AdamW(m.parameters(), lr=6e-9),
            change=lambda t: setattr(t, "rates", [6e-9] * 1000),
        ),
    ),
    "loss detached": ("gradient reach", Recipe(score=detached_loss)),
    "block frozen": ("trainable", Recipe(build=lambda: freeze(Encoder(), "qkv", "out"))),
    "optimiser holds a copy": (
        "optimiser",
        Recipe(optimizer=lambda m: torch.optim.AdamW(copy.deepcopy(m).parameters(), lr=3e-3)),
    ),
    "optimiser without the head": (
        "optimiser",
        Recipe(optimizer=lambda m: torch.optim.AdamW(list(m.parameters())[:-4], lr=3e-3)),
    ),
    "all targets ignored": ("initial loss", data(ignored)),
    "mask inverted": ("input", Recipe(build=lambda: Patched("mask inverted"))),
    "mask forgotten": ("input", Recipe(build=lambda: Patched("no mask"))),
    "targets shuffled in the data": ("perfect prediction", data(dealt)),
    "targets shuffled at every step": ("shuffled control", steps(random_targets)),
    "labels off by one": ("perfect prediction", data(off_by_one)),
    "evaluation mode left on": ("update", steps(evaluation_mode)),
    "double softmax": ("initial loss", Recipe(build=Doubled)),
    "gradients zeroed after backward": ("update", steps(zeroed_after_backward)),
    "gradients never zeroed": ("fresh gradients", steps(never_zeroed)),
    "gradient ascent": ("loss falls", steps(ascent)),
    "hidden states detached": ("gradient reach", Recipe(build=lambda: Patched("hidden detached"))),
    "block unused": ("gradient reach", Recipe(build=lambda: Patched("block unused"))),
    "mean over the batch": ("overfit", Recipe(build=lambda: Patched("mixed over the batch"))),
    "same batch again and again": ("batches", Recipe(batches=lambda: [draw(16, 0)] * 8)),
    "clipped to nothing": ("update", steps(clipped_to_nothing)),
    "dead units": ("gradient reach", Recipe(build=lambda: dead(Encoder()))),
    "half precision swallows the update": (
        "update",
        Recipe(build=lambda: Encoder().bfloat16(), optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e-5)),
    ),
}
"""What is wrong with a task: the name of the check that must find it, and the task."""
