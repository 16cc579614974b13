"""How far the network is to be trusted: confidences and expected errors, fitted on tips that it was not asked.

In training many neighbours are left out, so it learns to expect that none of them is of the ASV's taxon more often than
is true of a whole reference. For each rank a factor of its scores and a shift of "none" mend that (Platt 1999); one
factor scales the expected errors, which the network learned as medians, to their mean.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam.models.placer import Placer
from aam.placement.lessons import Lesson, draw

STEPS, RATE = 300, 0.05
ROWS_AT_ONCE = 256


def fit_trust(net: Placer, lesson: Lesson, candidates: int, taxa: NDArray[np.int32]) -> None:
    """Set the factors of a network from tips of a lesson, with all their neighbours."""
    scores, targets, known, found, true = [], [], [], [], []
    for start in range(0, len(lesson.asked), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(lesson.asked)))
        reading, truth = draw(lesson, rows, candidates, None, taxa)
        with torch.no_grad():
            said = net(reading)
        best = said.score.argmax(1, keepdim=True)
        off = (said.height - truth.height).abs() + (said.stem - truth.stem).abs()
        found.append(said.error.gather(1, best))
        true.append(off.gather(1, best))
        said.ranks[:, :-1].masked_fill_(~truth.named, -1e4)
        scores.append(said.ranks)
        targets.append(torch.cat([truth.same, ~truth.same.any(1, keepdim=True)], 1))
        known.append(truth.known)
    net.error_scale *= torch.cat(true).mean() / torch.cat(found).mean().clamp_min(1e-9)
    fit_scores(net, torch.cat(scores), torch.cat(targets), torch.cat(known))


def fit_scores(net: Placer, scores: Tensor, targets: Tensor, known: Tensor) -> None:
    """Fit factor and shift of each rank: scores and targets [A, K + 1, ranks], of which `known` [A, ranks] count."""
    factor, shift = (torch.zeros(scores.shape[-1], requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([factor, shift], lr=RATE)
    for _ in range(STEPS):
        now = scores * factor.exp()
        now = torch.cat([now[:, :-1], now[:, -1:] + shift], 1).log_softmax(1)
        loss = -(torch.logsumexp(now.masked_fill(~targets, -1e4), 1) * known).sum(0) / known.sum(0).clamp_min(1)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    with torch.no_grad():
        net.none_shift.mul_(factor.exp()).add_(shift)
        net.sharpness.mul_(factor.exp())
