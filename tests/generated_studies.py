"""Small studies with labels that hold in all of them: tables with some ASVs in common, metadata, subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

BASES, ASVS, READS = 40, 24, 20


def write_study(folder: Path, classes: Sequence[str], seed: int, subjects: Sequence[str] | None = None) -> Path:
    """Write `table.tsv` and `metadata.tsv` of a study with a sample for each of `classes`; returns the folder.

    Samples are `s0`, `s1`, …; ASVs are 18 of 24 sequences that all studies draw from. The first three have three times
    the reads in samples that are not of class "control". `subjects` are those of the samples.
    """
    rng, folder = np.random.default_rng(seed), Path(folder)
    sequences = ["".join(row) for row in np.random.default_rng(99).choice(list("ACGT"), (ASVS, BASES))]
    columns = [0, 1, 2, *sorted(3 + rng.choice(ASVS - 3, 15, replace=False))]
    mean = np.full((len(classes), len(columns)), READS)
    mean[[label != "control" for label in classes], :3] *= 3
    counts, ids = rng.poisson(mean), [f"s{row}" for row in range(len(classes))]
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(counts.T, [sequences[column] for column in columns], ids).rename_axis("#OTU ID")
    table.to_csv(folder / "table.tsv", sep="\t")
    metadata = {"disease": list(classes), "bmi": np.linspace(18, 38, len(ids)).round(1)}
    if subjects is not None:
        metadata["subject"] = list(subjects)
    pd.DataFrame(metadata, ids).rename_axis("sample-id").to_csv(folder / "metadata.tsv", sep="\t")
    return folder


def study_options(folders: Sequence[Path]) -> list[str]:
    """The options --table and --metadata of these studies, in order."""
    return [
        part
        for folder in folders
        for part in ("--table", str(folder / "table.tsv"), "--metadata", str(folder / "metadata.tsv"))
    ]


def write_studies(folder: Path, classes: Mapping[str, Sequence[str]], per_subject: int = 2) -> list[Path]:
    """Write a study for each entry of `classes`, by its name; so many samples in a row are of one subject."""
    return [
        write_study(folder / name, own, seed, [f"P{row // per_subject}" for row in range(len(own))])
        for seed, (name, own) in enumerate(classes.items())
    ]
