"""What a batch hides from the model, to ask it back: bases, ASVs of samples, or only their counts."""

from __future__ import annotations

import numpy as np

from aam import vocab
from aam.config import LossConfig


def hide_slots(valid: np.ndarray, hiding: LossConfig | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose slots to hide wholly and slots to hide the count of, both [B, S]; the rest of a sample is never empty."""
    if hiding is None or hiding.hidden_asvs == 0:
        return np.zeros_like(valid), np.zeros_like(valid)
    order = np.where(valid, rng.random(valid.shape), np.inf).argsort(axis=1).argsort(axis=1)
    quota = (valid.sum(axis=1, keepdims=True) * hiding.hidden_asvs).astype(np.int64)
    return order < quota, (order >= quota) & (order < 2 * quota)


def mask_bases(tokens: np.ndarray, hiding: LossConfig | None, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Hide bases of some of the distinct ASVs [U, L]; only A, C, G and T are ever hidden and asked back."""
    count = 0 if hiding is None else int(np.ceil(hiding.masked_asvs * len(tokens)))
    rows = np.sort(rng.choice(len(tokens), count, replace=False))
    hit = np.isin(tokens[rows], (vocab.A, vocab.C, vocab.G, vocab.T))
    if hiding is not None:
        hit &= rng.random(hit.shape) < hiding.mask_ratio
    at = np.argwhere(hit)
    return {
        "masked_rows": rows,
        "masked_tokens": np.where(hit, np.uint8(vocab.MASK), tokens[rows]),
        "masked_at": at,
        "masked_bases": tokens[rows][at[:, 0], at[:, 1]].astype(np.int64),
    }
