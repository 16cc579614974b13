"""Entries 65 to 73: precomputed distances that cannot be distances, or are of other samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from attempts import SMALL_RUN, Attempt, Case, Entries, hold
from generated_samples import community, write_files

entry = Entries()
COUNT = 10
"""Samples of the table."""


def pretrain(
    folder: Path, values: np.ndarray, words: str, code: int = 2, ids: list[str] | None = None, *options: str
) -> Attempt:
    """An attempt to pretrain on a matrix of distances."""
    write_files(community(samples=COUNT, asvs=20, richness=12), folder)
    path = folder / "distances.npy"
    np.save(path, values)
    (folder / "distances.ids.txt").write_text("\n".join(ids or [f"s{row}" for row in range(len(values))]) + "\n")
    files = ["--table", folder / "table.tsv", "--unifrac-matrix", path, "--output-dir", folder / "out"]
    return Attempt(["pretrain", *files, *SMALL_RUN, *options], words, path if code else "", code)


def distances() -> np.ndarray:
    """Distances [10, 10] between places on a line."""
    places = np.linspace(0, 0.9, COUNT)
    return np.abs(places[:, None] - places)


def changed(row: int, column: int, value: float, both: bool = True) -> np.ndarray:
    """The distances with another one between two samples."""
    values = distances()
    values[row, column] = value
    values[column, row] = value if both else values[column, row]
    return values


@entry("65 to 69")
def values_that_are_no_distances(folder: Path) -> Iterator[Attempt]:
    between = "between 's0' and 's1' is"
    cases = [
        (changed(0, 1, np.nan), f"distance nan {between} not finite"),
        (changed(0, 1, np.inf), f"distance inf {between} not finite"),
        (changed(0, 1, 0.9, both=False), f"distance 0.9 {between} not the same in both directions"),
        (changed(1, 1, 0.1), "distance 0.1 between 's1' and 's1' is not 0 from a sample to itself"),
        (changed(0, 1, -0.5), f"distance -0.5 {between} negative"),
        (changed(0, 1, 1.7), f"distance 1.7 {between} above 1, the most that this UniFrac can be"),
    ]
    for values, words in cases:
        yield pretrain(folder, values, words + ".*; compute the matrix again")


@entry(70)
def repeated_ids(folder: Path) -> Attempt:
    found = pretrain(folder, distances(), "1 id found more than once, first 's1'", ids=["s0", "s1", "s1", *"3456789"])
    return replace(found, file=folder / "distances.ids.txt")


@entry(72)
def samples_without_distances(folder: Path) -> Attempt:
    return pretrain(folder, distances()[:9, :9], r"1 samples? .*s9", 0, None, "--dry-run")


@entry(73)
def samples_without_reads(folder: Path) -> Attempt:
    """Two blanks in the table are left out and counted; their distances, 0 and 1, train nothing."""
    values = np.ones((COUNT + 2, COUNT + 2))
    values[:COUNT, :COUNT], values[COUNT:, COUNT:] = distances(), 0
    np.fill_diagonal(values, 0)
    found = pretrain(folder, values, "2 samples without reads: s10, s11", 0, None, "--dry-run")
    rows = (folder / "table.tsv").read_text().splitlines()
    blank = [rows[0] + "\ts10\ts11", *(row + "\t0\t0" for row in rows[1:])]
    (folder / "table.tsv").write_text("\n".join(blank) + "\n")
    return found


def test_matrix(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


test_matrix = entry.parametrize()(test_matrix)
