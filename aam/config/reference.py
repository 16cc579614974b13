"""Settings of `aam reference`, and of a reference in pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aam.config.fields import MOST_THREADS, Windows, option


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
    threads: int | None = option(None, "Cores to use (default: all).", low=1, high=MOST_THREADS)
    learn: bool = option(
        True, "Learn how ASVs are placed on the reference: 20 to 40 minutes of a core for 100,000 tips."
    )
    learn_steps: int | None = option(None, "Steps of that learning (default: 7000).", low=1, high=10_000_000)


@dataclass(frozen=True)
class TipsConfig:
    """A reference phylogeny that is learned beside samples, or alone."""

    reference: Path | None = option(
        None,
        "Folder that `aam reference` wrote, or the word shipped for the one that comes with aam: the model also learns the tree distances between its tips, and without --table nothing else.",
    )
    reference_tips: int = option(
        256, "Reference tips per batch, half of them near each other in the tree.", low=16, high=16_384
    )
    windows: Windows = option(
        "reads",
        "Window of the gene in which tips are read in training: that of the table's reads, or (random, with --positions gene) others in each batch, in which ASVs that equal a tip are read too.",
    )


@dataclass(frozen=True)
class PlacingConfig:
    """What the commands that place ASVs share."""

    reference: Path | None = option(
        None,
        "Folder that `aam reference` wrote (default: that of the environment variable AAM_REFERENCE, or gg-13-8, which comes with aam).",
    )
    threads: int | None = option(
        None, "Threads that align the sequences (default: one for each core).", low=1, high=MOST_THREADS
    )


@dataclass(frozen=True)
class InsertionConfig(PlacingConfig):
    """Settings of the commands that make a tree of the ASVs that they place."""

    joint: bool = option(
        False,
        "Let ASVs far from the reference hang on each other, so that those of a clade that it lacks share a stem; their places then depend on the other ASVs of the table.",
    )
