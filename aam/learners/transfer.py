"""How far a table lies from the studies that a model has learned from, by figures that need no label.

Each is a mean over samples, of shares of a sample's reads, so that deep samples do not outweigh others.

    depth        median number of reads of a sample
    columns      first and last column of the gene that the reads cover (median over ASVs)
    difference   share of its columns in which a read differs from the nearest sequence of the reference
    near         share of the reads that differ in at most `NEAR` of their columns
    known        share of the reads whose ASV the other studies (a new table: those of training) have
    distance     between two studies: root mean square, over the features of the model, of the difference of their mean
                 features, sampling error taken out; 0 to 1. A feature is the chance that a clade is seen in so many
                 reads (`aam.learners.features`)

S studies, N samples, A ASVs, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam.atomic import write_record
from aam.checkpoint import check_further_file, further_file
from aam.errors import CheckpointError
from aam.io.files import read_json_file
from aam.io.table import relative_abundance
from aam.placement.placements import Placements

STUDIES = "studies.json"
"""File of a checkpoint folder: what the studies of training are like."""
NEAR = 0.03
"""Share of differing columns up to which a read counts as of the kind of a reference sequence: the usual 97 %."""
FEWEST_SAMPLES = 5
"""With fewer samples the mean features of a table are not compared."""
DIGITS = 4
"""Decimals of mean features that are stored."""


@dataclass(frozen=True)
class ReadFigures:
    """What the reads of a table are like: `depth`, columns, `difference` and `near`; `unplaced` is the share of reads
    without a place on the reference."""

    samples: int
    depth: float
    first_column: int
    last_column: int
    difference: float
    near: float
    unplaced: float


def describe_reads(counts: csr_array, places: Placements) -> ReadFigures:
    """The figures of samples with `counts` [N, A] of ASVs that were placed."""
    depth, shares = np.asarray(counts.sum(axis=1)).ravel(), relative_abundance(counts)
    there = np.zeros(len(places.fate), bool)
    there[places.placed] = True
    differing = np.where(there, places.differing[:, 0] / np.maximum(places.covered, 1), 0.0)
    placed = shares @ there.astype(np.float64)
    own, reads = placed > 0, places.reads
    carried = there & (np.bincount(counts.indices, minlength=len(there)) > 0)
    return ReadFigures(
        samples=len(depth),
        depth=float(np.median(depth)),
        first_column=int(np.median(reads.begin[carried])) if carried.any() else 0,
        last_column=int(np.median(reads.end[carried])) if carried.any() else 0,
        difference=float(np.mean((shares @ differing)[own] / placed[own])) if own.any() else 1.0,
        near=min(mean_share(shares, there & (differing <= NEAR)), 1.0),
        unplaced=max(float(1.0 - placed.mean()), 0.0),
    )


def mean_share(shares: csr_array, which: NDArray[np.bool_]) -> float:
    """The share of the reads that is on some ASVs [A], a mean over samples."""
    return float(np.mean(shares @ which.astype(np.float64)))


@dataclass(frozen=True)
class Profile:
    """The mean features of a study: `mean` [F], and `noise`, the mean over features of its squared standard error."""

    mean: tuple[float, ...]
    noise: float

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Profile:
        """The profile of samples with features [N, F]."""
        count = len(features)
        noise = float(features.var(axis=0, ddof=1).mean() / count) if count > 1 else 0.0
        return cls(tuple(features.mean(axis=0).astype(float).round(DIGITS).tolist()), noise)

    def distance(self, other: Profile) -> float:
        """How far two studies lie apart; 0 where their means differ by no more than chance makes them differ."""
        square = np.square(np.array(self.mean) - np.array(other.mean)).mean() if self.mean else 0.0
        return float(np.sqrt(max(square - self.noise - other.noise, 0.0)))


@dataclass(frozen=True)
class TrainingStudy:
    """A study of training: what it contributes, its reads, and how it was predicted when it was left out.

    `known` is None and `nearest` empty where there is no other study. `scores`: metrics of the study by name, each with
    `value`, `low` and `high`; empty if it was not left out, or cannot be scored.
    """

    study: str
    subjects: int | None
    classes: Mapping[str, int]
    medians: Mapping[str, float]
    reads: ReadFigures
    known: float | None
    profile: Profile
    nearest: str = ""
    distance: float = 0.0
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingStudies:
    """The studies of training. `study_signal` and `label_signal`: how well the study, and the label within studies, of
    a sample can be told (`aam.evaluation.separability`), None where that cannot be tested. `scores`: as of a study, the
    means over studies left out."""

    studies: Sequence[TrainingStudy]
    study_signal: float | None = None
    label_signal: float | None = None
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def farthest(self) -> float:
        """The largest distance of a study to the study that is nearest to it."""
        return max((one.distance for one in self.studies), default=0.0)

    @property
    def study_outweighs(self) -> bool:
        """Whether the study of a sample can be told better than its label."""
        known = self.study_signal is not None and self.label_signal is not None
        return known and (self.study_signal or 0.0) > (self.label_signal or 0.0)


def parse_studies(record: Any) -> TrainingStudies:
    """Studies from what `write_studies` wrote; raises KeyError, TypeError or ValueError for others."""
    studies = []
    for one in record["studies"]:
        own = dict(one)
        own["reads"] = ReadFigures(**own["reads"])
        own["profile"] = Profile(tuple(map(float, own["profile"]["mean"])), float(own["profile"]["noise"]))
        studies.append(TrainingStudy(**own))
    return TrainingStudies(studies, record["study_signal"], record["label_signal"], record["scores"])


def write_studies(folder: Path, studies: TrainingStudies) -> None:
    """Write the studies of training into the folder of a checkpoint."""
    with further_file(folder, STUDIES):
        write_record(folder / STUDIES, asdict(studies))


def read_studies(folder: Path) -> TrainingStudies | None:
    """The studies of training of a checkpoint, None if it has no such file; raises CheckpointError for a bad one."""
    path = folder / STUDIES
    check_further_file(folder, STUDIES)
    return read_json_file(path, parse_studies, CheckpointError, "remove it, or train again") if path.exists() else None


def nearest_study(profile: Profile, others: Mapping[str, Profile]) -> tuple[str, float]:
    """The name of the study that is nearest to a profile, and its distance; "" and 0 if there is none."""
    distances = {name: profile.distance(other) for name, other in others.items()}
    nearest = min(distances, key=lambda name: distances[name], default="")
    return nearest, distances.get(nearest, 0.0)


def known_elsewhere(counts: csr_array, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
    """Share of the reads of each study whose ASV another study has; `rows` of counts [N, A] are the samples of each."""
    carried = {name: np.bincount(counts[own].indices, minlength=counts.shape[1]) > 0 for name, own in rows.items()}
    carriers = np.sum(list(carried.values()), axis=0)
    return {name: mean_share(relative_abundance(counts[own]), carriers > carried[name]) for name, own in rows.items()}
