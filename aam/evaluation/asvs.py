"""ASVs of a table under a trained model, each encoded once, whatever the number of samples that carry it.

U ASVs of a table of A, the other axes as in `aam.models`.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam.config import Precision
from aam.models.precision import at_least_single, products_in
from aam.models.pretrain_model import PretrainModel
from aam.phylogeny.community import Progress

ASV_ROWS = 512
"""ASVs encoded at once; they bound memory and change nothing."""


class EmbeddingStore(Protocol):
    """Keeps ASV embeddings between calls; see `aam.evaluation.asv_cache`."""

    def find(self, tokens: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which of these ASVs [U] are known, and the embeddings [known, D] of those."""

    def add(self, tokens: NDArray[np.uint8], embeddings: NDArray[np.float32]) -> None:
        """Keep the embeddings [n, D] of these ASVs."""


class EncodedASVs(NamedTuple):
    """The ASVs that are columns `columns` int64 [U] of a table, ascending, and their `embeddings` [U, D]."""

    columns: NDArray[np.int64]
    embeddings: Tensor


def no_progress(done: int, total: int) -> None:
    """Nobody watches."""


def device_of(model: PretrainModel) -> torch.device:
    """Where the model computes."""
    return next(model.parameters()).device


@torch.inference_mode()
def encode_asvs(
    model: PretrainModel,
    tokens: NDArray[np.uint8],
    columns: NDArray[np.int64],
    store: EmbeddingStore | None = None,
    progress: Progress = no_progress,
    precision: Precision = "fp32",
) -> EncodedASVs:
    """Embed the ASVs that are `columns` [U] (ascending) of tokens [A, L]; what `store` holds is not encoded again.

    In bfloat16 embeddings differ by about 0.5 % of their size, and the distances between them by 0.1 %.
    """
    device, known = device_of(model), np.zeros(len(columns), dtype=bool)
    embeddings: Tensor | None = None
    if store is not None:
        known, found = store.find(tokens[columns])
        embeddings = torch.zeros(len(columns), found.shape[1])
        embeddings[torch.from_numpy(known)] = torch.from_numpy(found)
    missing = np.flatnonzero(~known)
    parts = []
    for start in range(0, len(missing), ASV_ROWS):
        some = tokens[columns[missing[start : start + ASV_ROWS]]]
        with products_in(precision, device):
            encoded = model.asv_encoder.embed(torch.from_numpy(some).to(device))
        parts.append(at_least_single(encoded))
        if store is not None:
            store.add(some, parts[-1].float().cpu().numpy())
        progress(min(start + ASV_ROWS, len(missing)), len(missing))
    if embeddings is None:
        return EncodedASVs(columns, torch.cat(parts))
    if parts:
        embeddings[torch.from_numpy(missing)] = torch.cat(parts).float().cpu()
    return EncodedASVs(columns, embeddings.to(device))
