"""What the network reads of ASVs and their candidates: where they differ, and how the candidates lie on the tree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE
from aam.models.placer import Reading
from aam.placement.lineages import Lineages
from aam.placement.neighbours import one_hot

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
USUAL = 150
"""Columns of a usual read; the number of columns enters as the logarithm of its ratio to this."""


class Candidates(NamedTuple):
    """K candidates of B ASVs: codes uint8 [B, K, W], number in `Lineages`, tips of the group and their spread [B, K].

    `valid` bool [B, K]; what is not valid may hold anything that is a number of a tip.
    """

    codes: NDArray[np.uint8]
    numbers: Ints
    size: Ints
    spread: Floats
    valid: NDArray[np.bool_]


def read(lineages: Lineages, asked: NDArray[np.uint8], found: Candidates, first: int) -> Reading:
    """The reading of ASVs with codes [B, W] on columns from `first` on (counted from 0 in the network's columns)."""
    real = (asked != NO_BASE)[:, None]
    differing = (found.codes != asked[:, None]) & real
    length = real.sum(-1).astype(np.float32)
    apart = differing.sum(-1) / np.maximum(length, 1)
    between = _differences(np.where(real, found.codes, NO_BASE)) / np.maximum(length, 1)[..., None]
    ancestor = lineages.common(found.numbers[:, :, None], found.numbers[:, None])
    depth = lineages.depth[found.numbers]
    tree = np.sqrt(np.maximum(depth[:, :, None] + depth[:, None] - 2 * ancestor, 0))
    root = 3 * np.sqrt(apart)  # square roots are distances as the square roots of tree distances are
    is_asv = (found.numbers >= lineages.tips).astype(np.float32)
    size, width = np.log(np.maximum(found.size, 1)), np.broadcast_to(np.log(length / USUAL + 1e-3), apart.shape)
    numbers = [10 * apart, root, depth, root - root[:, :1], tree[:, 0], is_asv, width, size, 3 * np.sqrt(found.spread)]
    pairs = [tree, 3 * np.sqrt(between), ancestor]
    bases = torch.from_numpy(np.where(differing, found.codes, NO_BASE))
    differs = (bases[..., None] == torch.arange(4, dtype=torch.uint8)).flatten(-2).float()
    return Reading(one_hot(asked), differs, _tensor(numbers), _tensor(pairs), torch.from_numpy(found.valid), first)


def _differences(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Columns in which two candidates with codes [B, K, W] differ, [B, K, K]; of those that at least one has."""
    flags = one_hot(codes.reshape(-1, codes.shape[-1])).reshape(*codes.shape[:2], -1)
    same = torch.bmm(flags, flags.transpose(1, 2)).numpy()
    bases = np.diagonal(same, axis1=1, axis2=2)
    return np.maximum(bases[:, :, None], bases[:, None]) - same


def _tensor(parts: list[NDArray[np.floating]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(parts, -1).astype(np.float32))
