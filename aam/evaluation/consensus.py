"""Baseline for masked nucleotides: guess each position's most common base, whatever stands around it.

A ASVs, L positions (START + bases + PAD), T hidden bases.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.models.chunked_encoder import log_frequencies


class NucleotideScores(NamedTuple):
    """Masked-nucleotide scores; cross-entropy is in nats a base."""

    accuracy: float
    cross_entropy: float


def consensus(
    train_tokens: NDArray[np.uint8], positions: NDArray[np.int64], bases: NDArray[np.int64]
) -> NucleotideScores:
    """Score the frequencies of tokens in training ASVs [A, L] on bases [T] that were hidden at these positions [T].

    Each distinct ASV counts once, as it does for the model's loss. Both figures are 0 where nothing was hidden.
    """
    if not len(bases):
        return NucleotideScores(0.0, 0.0)
    logs = log_frequencies(torch.from_numpy(train_tokens)).double().numpy()
    hits = logs.argmax(axis=1)[positions] == bases
    return NucleotideScores(float(hits.mean()), float(-logs[positions, bases].mean()))
