"""Small studies on a random reference, whose label is the abundance of a clade and not of any one ASV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from generated_reference import random_reference, read_of, save_reference

TIPS = 40
LONG = slice(500, 1000)
"""Columns of the reads; no two tips are equal there."""


def write_clade_studies(folder: Path, subjects: Mapping[str, int], seed: int = 0) -> Path:
    """Write the reference `reference/` and, for each study by name, `NAME.tsv` and `NAME-metadata.tsv`.

    A study has so many subjects with two samples each, ids `NAME.0`, …, half of them of the class `ill`. It lacks a
    third of the ASVs of the reference, others than its neighbours. Half of the ASVs are rare, and those of them among
    the first half of the tips from left to right have four times the reads in those who are ill. `level` is a number
    that follows the class.
    """
    reference = random_reference(TIPS)
    save_reference(folder / "reference", reference)
    for number, (name, count) in enumerate(subjects.items()):
        rng = np.random.default_rng([seed, number])
        tips = np.flatnonzero(np.arange(TIPS) % 3 != number % 3)
        ill = np.arange(2 * count) // 2 % 2 == 1
        rare = tips % 2 == 0
        mean = np.tile(np.where(rare, 1.0, 40.0), (2 * count, 1))
        mean[np.ix_(ill, rare & (tips < TIPS // 2))] *= 4
        counts = rng.poisson(mean * rng.gamma(5, 0.2, mean.shape))
        ids = [f"{name}.{row}" for row in range(2 * count)]
        reads = [read_of(reference, tip, LONG) for tip in tips.tolist()]
        pd.DataFrame(counts.T, reads, ids).rename_axis("#OTU ID").to_csv(folder / f"{name}.tsv", sep="\t")
        metadata = {
            "state": np.where(ill, "ill", "healthy"),
            "subject": [f"P{row // 2}" for row in range(2 * count)],
            "study": name,
            "level": (10 + 5 * ill + rng.normal(size=len(ill))).round(2),
        }
        pd.DataFrame(metadata, ids).rename_axis("sample-id").to_csv(folder / f"{name}-metadata.tsv", sep="\t")
    return folder


def options_of(folder: Path, *names: str) -> list[str]:
    """The options of these studies and of the reference."""
    files = [(folder / f"{name}.tsv", folder / f"{name}-metadata.tsv") for name in names]
    found = [part for table, own in files for part in ("--table", str(table), "--metadata", str(own))]
    return [*found, "--group-column", "subject", "--reference", str(folder / "reference"), "--threads", "1"]
