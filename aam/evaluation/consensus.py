"""Baseline for masked nucleotides: guess each position's most common base, whatever stands around it.

A ASVs, L positions (START + bases + PAD), 6 classes as in the nucleotide head.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.vocab import MASK, OUTPUT_SIZE

PSEUDOCOUNT = 1.0
"""Added to each class at each position, so that a base never seen in training costs a finite cross-entropy."""


class NucleotideScores(NamedTuple):
    """Masked-nucleotide scores over `positions` hidden positions; cross-entropy is in nats."""

    accuracy: float
    cross_entropy: float
    positions: int


def consensus(train_tokens: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Token frequencies per position of the training ASVs [A, L] -> [L, 6]; rows sum to 1.

    Each distinct ASV counts once, as it does for the model's loss. Ambiguous bases (MASK) count for no class.
    """
    if train_tokens.ndim != 2 or not train_tokens.size:
        raise ValueError(f"train_tokens has shape {train_tokens.shape}: expected [A, L] with at least one ASV")
    counts = np.stack([(train_tokens == token).sum(axis=0) for token in range(OUTPUT_SIZE)], axis=1) + PSEUDOCOUNT
    return counts / counts.sum(axis=1, keepdims=True)


def score(frequencies: NDArray[np.float64], tokens: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NucleotideScores:
    """Score the consensus on the positions a model was asked for.

    frequencies [L, 6]; tokens [A, L] are the true ones; mask [A, L] is True where they were hidden. Positions whose
    true token is MASK (an ambiguous base) are left out, as in the loss. With nothing to score every figure is 0.
    Raises ValueError where the shapes disagree.
    """
    if tokens.shape != mask.shape or tokens.shape[-1] != len(frequencies):
        raise ValueError(
            f"tokens {tokens.shape}, mask {mask.shape}, frequencies {frequencies.shape}: expected [A, L] twice, [L, 6]"
        )
    position = np.nonzero(mask & (tokens != MASK))[-1]
    true = tokens[mask & (tokens != MASK)]
    if not true.size:
        return NucleotideScores(0.0, 0.0, 0)
    guess = frequencies.argmax(axis=1)
    return NucleotideScores(
        accuracy=float((guess[position] == true).mean()),
        cross_entropy=float(-np.log(frequencies[position, true]).mean()),
        positions=int(true.size),
    )
