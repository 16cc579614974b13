"""Teach the placer on the reference alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aam.gene.profile import gene_profile
from aam.models.placer import Placer, Places, Reading
from aam.observer import Progress
from aam.placement.hold_out import HeldOut
from aam.placement.lessons import Lesson, Truth, draw, make_lesson, usual_windows
from aam.placement.reference import Reference
from aam.placement.window import Window

WEIGHT_DECAY, RISE, CLIP = 0.02, 0.15, 1.0
"""Of AdamW; share of the steps in which the rate rises; largest norm of the gradient."""


@dataclass(frozen=True)
class LearnConfig:
    """How the placer learns: `steps` of `batch` tips with `candidates` each, drawn from `lessons` pairs of a tip and a
    window."""

    steps: int = 7000
    batch: int = 128
    candidates: int = 16
    lessons: int = 80000
    dim: int = 64
    layers: int = 3
    lr: float = 3e-3
    seed: int = 0


def step_loss(places: Places, reading: Reading, truth: Truth) -> Tensor:
    """The loss of a batch: lengths (of likelier relatives more), the closest relative, expected error, taxa."""
    valid, count = reading.valid, reading.valid.sum(1, keepdim=True).clamp_min(1)
    best = (truth.ancestor >= truth.ancestor.amax(1, keepdim=True) - 1e-6) & valid
    log_chance = places.score.log_softmax(1)
    weight = (0.2 / count + 0.8 * log_chance.exp().detach()) * valid
    wrong = length_loss(places.height, truth.height) + length_loss(places.stem, truth.stem)
    off = ((places.height - truth.height).abs() + (places.stem - truth.stem).abs()).detach()
    relative = -torch.logsumexp(log_chance.masked_fill(~best, -1e4), 1).mean()
    target = torch.cat([truth.same, ~truth.same.any(1, keepdim=True)], 1)
    taxa = -torch.logsumexp(places.ranks.log_softmax(1).masked_fill(~target, -1e4), 1) * truth.known
    return (
        10 * (weight * wrong).sum(1).mean()
        + 0.1 * relative
        + (weight * (places.error - off).abs()).sum(1).mean()
        + 0.02 * taxa.mean()
    )


def length_loss(found: Tensor, true: Tensor) -> Tensor:
    """Squared error of lengths and of their square roots: short branches matter too."""
    roots = ((length.clamp_min(0) + 1e-4).sqrt() for length in (found, true))
    one, other = roots
    return (one - other).square() + (found - true).square()


def make_lessons(
    reference: Reference, config: LearnConfig, held: HeldOut, progress: Progress
) -> tuple[list[Lesson], NDArray[np.float64]]:
    """The lessons of each window, and the chance of each."""
    rng, total = np.random.default_rng(config.seed), len(reference.tree.tip_names)
    never, gone = held.asked_never(total), held.gone(total)
    lessons, shares = [], []
    windows = usual_windows(reference, rng)
    for number, (first, last, share) in enumerate(windows):
        window = Window(reference, first, last, ~gone)
        can = np.flatnonzero((window.group_of >= 0) & ~never)
        progress(number, len(windows))
        if len(can) < config.batch:
            continue
        asked = rng.choice(can, min(len(can), int(share * config.lessons)), replace=False)
        lessons.append(make_lesson(window, asked))
        shares.append(share)
    progress(len(windows), len(windows))
    return lessons, np.array(shares) / sum(shares)


class Learning:
    """A network that learns, step by step; a step's draw is a function of seed and step, so it can go on anywhere."""

    def __init__(self, reference: Reference, config: LearnConfig) -> None:
        """Begin at step 0."""
        torch.manual_seed(config.seed)
        self.config, self.taxa, self.step = config, reference.taxa, 0
        self.net = Placer(gene_profile().last, config.dim, layers=config.layers)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.lr, total_steps=config.steps, pct_start=RISE
        )

    def go_on(self, lessons: Sequence[Lesson], chance: NDArray[np.float64], until: int) -> float:
        """Take the steps up to number `until`; the mean loss of them."""
        losses = []
        while self.step < until:
            rng = np.random.default_rng((self.config.seed, self.step))
            lesson = lessons[rng.choice(len(lessons), p=chance)]
            rows = rng.choice(len(lesson.asked), min(self.config.batch, len(lesson.asked)), replace=False)
            reading, truth = draw(lesson, rows, self.config.candidates, rng, self.taxa)
            loss = step_loss(self.net(reading), reading, truth)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
            self.optimizer.step()
            self.schedule.step()
            self.step += 1
            losses.append(loss.item())
        return float(np.mean(losses)) if losses else float("nan")

    def tensors(self) -> dict[str, Tensor]:
        """Weights and the state of the optimiser, by name."""
        moments = self.optimizer.state_dict()["state"]
        named = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        return named | {f"{row}.{name}": tensor for row, parts in moments.items() for name, tensor in parts.items()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Go back to what `tensors` gave at a step; raises KeyError or RuntimeError for tensors of another network."""
        self.net.load_state_dict({name[4:]: part for name, part in tensors.items() if name.startswith("net.")})
        state = self.optimizer.state_dict()
        for group in state["param_groups"]:
            for row in group["params"]:
                state["state"][row] = {name: tensors[f"{row}.{name}"] for name in ("step", "exp_avg", "exp_avg_sq")}
        self.optimizer.load_state_dict(state)
        self.step = step
        with warnings.catch_warnings():  # the schedule is moved without steps of the optimiser
            warnings.simplefilter("ignore")
            for _ in range(step):
                self.schedule.step()
