"""The paths of `ASVDataset` and `collate_fn` that other code imports; they live in `aam.corpus.dataset`."""

from __future__ import annotations

from aam.corpus.dataset import ASVDataset, collate_fn

__all__ = ["ASVDataset", "collate_fn"]
