"""Settings of `aam prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aam.config.fields import option
from aam.config.pretrain import DataConfig


@dataclass(frozen=True)
class PrepareConfig:
    """What a corpus is made of; tables, trees and sequences belong together in the order in which they are given."""

    table: tuple[Path, ...] = option(
        (), "Feature table: BIOM (HDF5 or JSON), QIIME 2 .qza, or TSV; give the option again for each further study."
    )
    tree: tuple[Path, ...] = option(
        (), "Rooted phylogeny with branch lengths: one for all tables, or one for each, in their order."
    )
    sequences: tuple[Path, ...] = option(
        (), "ASV sequences (FASTA or .qza) where feature ids are not sequences: one for all tables, or one for each."
    )
    max_bp: int = option(
        DataConfig.max_bp, "Bases of a sequence that a model can be shown; longer ones are cut.", low=1
    )
    max_missing: float = option(
        DataConfig.max_missing,
        "Largest fraction of the ASVs of a table that may be absent from its tree; they are dropped and counted.",
        low=0.0,
        high=1.0,
    )
