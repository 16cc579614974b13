"""Teach the placer on the reference alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aam.gene.profile import gene_profile
from aam.models.placer import Placer, Places, Reading
from aam.placement.lessons import Lesson, Truth, draw, lineage_numbers, make_lesson, usual_windows
from aam.placement.reference import Reference
from aam.placement.window import Window

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LearnConfig:
    """How the placer learns."""

    steps: int = 6000
    batch: int = 128
    candidates: int = 16
    lessons: int = 60000
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


def learn(
    reference: Reference,
    config: LearnConfig,
    held: NDArray[np.bool_],
    gone: NDArray[np.bool_],
    progress: Callable[[int, int, str], None],
) -> tuple[Placer, list[Lesson]]:
    """Learn on the tips that are not `held` [R] (never asked) and not `gone` [R] (no candidates either)."""
    rng, taxa = np.random.default_rng(config.seed), lineage_numbers(reference)
    torch.manual_seed(config.seed)
    lessons, shares = [], []
    for first, last, share in usual_windows(reference, rng):
        window = Window(reference, first, last, ~gone)
        can = np.flatnonzero((window.group_of >= 0) & ~held & ~gone)
        asked = rng.choice(can, min(len(can), int(share * config.lessons)), replace=False)
        lessons.append(make_lesson(window, asked))
        shares.append(share)
        progress(0, config.steps, f"columns {first} to {last}: {len(window.codes):,} different tips")
    net = Placer(gene_profile().last, config.dim, 4, config.layers)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=config.steps, pct_start=0.15)
    chance = np.array(shares) / sum(shares)
    losses = []
    for step in range(1, config.steps + 1):
        lesson = lessons[rng.choice(len(lessons), p=chance)]
        rows = rng.choice(len(lesson.asked), min(config.batch, len(lesson.asked)), replace=False)
        reading, truth = draw(lesson, rows, config.candidates, rng, taxa)
        loss = step_loss(net(reading), reading, truth)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 250 == 0:
            progress(step, config.steps, f"loss {np.mean(losses[-250:]):.4f}")
    return net.eval(), lessons
