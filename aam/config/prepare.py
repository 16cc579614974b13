"""Settings of `aam prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aam.config.fields import AUTO_BASES, MOST_BASES, Orient, Positions, option
from aam.config.pretrain import DataConfig


@dataclass(frozen=True)
class PrepareConfig:
    """Inputs of a corpus; the first table, tree and sequences belong together, then the second, and so on."""

    table: tuple[Path, ...] = option(
        (), "Feature table: BIOM (HDF5 or JSON), QIIME 2 .qza, or TSV; repeat the option for each study."
    )
    tree: tuple[Path, ...] = option(
        (), "Rooted phylogeny with branch lengths: one for all tables, or one for each table in the same order."
    )
    sequences: tuple[Path, ...] = option(
        (),
        "ASV sequences (FASTA or .qza), needed if ASV ids are not sequences: one file for all tables, or one for each table in the same order.",
    )
    max_bp: int = option(
        DataConfig.max_bp,
        "Number of bases stored from the start of each sequence; longer sequences are cut; auto: the length of the reads.",
        low=1,
        words={"auto": AUTO_BASES},
        high=MOST_BASES,
    )
    positions: Positions = option(
        DataConfig.positions, "What a base's position is for the model, as in `aam pretrain`: read, or gene."
    )
    trim: str = option(
        DataConfig.trim,
        "Bases of the reads to keep: none cuts nothing, auto keeps the bases of the 16S gene that the reads of all tables have, START:LENGTH keeps LENGTH bases from column START of the gene on.",
    )
    orient: Orient = option(
        DataConfig.orient, "Reads of the minus strand: auto reverse complements them, none leaves them."
    )
    max_missing: float = option(
        DataConfig.max_missing,
        "Largest fraction of a table's ASVs that may be missing from its tree; missing ASVs are dropped and counted.",
        low=0.0,
        high=1.0,
    )
