"""Embeddings that a frozen ASV encoder has computed, so that no ASV is encoded twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOST_ROWS = 1 << 20
"""Embeddings that are kept; when there are more, all are forgotten and computed anew."""
FIRST_ROWS = 1 << 12


class ASVMemory:
    """Embeddings by the tokens of their ASVs."""

    def __init__(self) -> None:
        self._place: dict[bytes, int] = {}
        self._kept: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_place": {}, "_kept": None}  # what another process needs it computes

    @torch.no_grad()
    def recall(self, tokens: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Embeddings [U, D] of tokens [U, L]; those of unknown ASVs are computed."""
        width = tokens.shape[1]
        text = tokens.to(torch.uint8).cpu().numpy().tobytes()
        rows = (text[at : at + width].rstrip(b"\0") for at in range(0, len(text), width))
        keys = [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
        if len(self._place) > MOST_ROWS:
            self._place.clear()
        unknown = {key: row for row, key in enumerate(keys) if key not in self._place}
        if unknown:
            found = compute(tokens[torch.tensor(list(unknown.values()), device=tokens.device)])
            begin, end = len(self._place), len(self._place) + len(unknown)
            self._reserve(end, found)[begin:end] = found
            self._place |= {key: begin + number for number, key in enumerate(unknown)}
        if self._kept is None:
            return compute(tokens)
        return self._kept[torch.tensor([self._place[key] for key in keys], dtype=torch.int64, device=tokens.device)]

    def _reserve(self, rows: int, like: Tensor) -> Tensor:
        """The kept embeddings, with room for so many rows."""
        kept = self._kept
        if kept is None or len(kept) < rows:
            with torch.inference_mode(False):  # made in an evaluation, it is written to by later steps of training
                wider = torch.empty(max(FIRST_ROWS, 2 * rows), like.shape[1], dtype=like.dtype, device=like.device)
            if kept is not None:
                wider[: len(kept)] = kept
            self._kept = kept = wider
        return kept
