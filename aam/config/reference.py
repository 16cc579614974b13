"""Settings of `aam reference`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aam.config.fields import option


@dataclass(frozen=True)
class ReferenceConfig:
    """Inputs of a reference, and its columns."""

    sequences: Path | None = option(
        None, "Sequences of the tips, best whole 16S genes: FASTA (aligned or not), .gz, or QIIME 2 .qza."
    )
    tree: Path | None = option(
        None, "Rooted phylogeny with branch lengths whose tips are named like the sequences: Newick, .gz, or .qza."
    )
    taxonomy: Path | None = option(
        None,
        "Lineages: two columns, id and ranks between semicolons, as Greengenes, SILVA, GTDB and QIIME 2 write them.",
    )
    region: str = option(
        "none",
        "Part of the gene to keep: a name such as v4, or FROM:TO in columns of the alignment; none keeps the whole "
        "gene, which serves every primer.",
    )
    threads: int | None = option(None, "Cores to use (default: all).", low=1)
    learn: bool = option(
        True, "Learn how ASVs are placed on the reference: 20 to 40 minutes of a core for 100,000 tips."
    )
    learn_steps: int | None = option(None, "Steps of that learning (default: 7000).", low=1)
