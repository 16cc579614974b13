"""The studies that `encoder.py` measures an encoder on: rarefied samples with their metadata and tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import biom
import numpy as np
import pandas as pd
from biom.util import biom_open
from numpy.typing import NDArray
from placement_data import REFERENCE, Study
from scipy import sparse

from aam.corpus.rarefy import rarefy_table
from aam.io.metadata import read_text
from aam.io.table import Table, read_table
from aam.phylogeny.tree import Tree, read_tree

DEPTHS = {"ecam-infants": 2000, "ibd-2538": 5000, "udca-gut": 5000}
"""Reads of a sample; `TABLE_DEPTH` in all other studies."""
TABLE_DEPTH = 1000
SUBJECTS = {"ecam-infants": "host_subject_id", "ibd-2538": "host_subject_id", "udca-gut": "host_subject_id"}
"""Column of the subject, `subject` in all other studies."""
SEED = 1

Chooses = Callable[[pd.DataFrame], "NDArray[np.bool_] | pd.Series"]
"""Which samples to take, from their metadata."""


class Cohort(NamedTuple):
    """Samples of a study, rarefied: ids, counts and DNA, and their metadata, a row each."""

    study: Study
    ids: list[str]
    about: pd.DataFrame

    @property
    def name(self) -> str:
        """The study, or what was pooled."""
        return self.study.name

    def rows(self, rows: NDArray[np.int64]) -> Cohort:
        """Some of the samples, and the ASVs that they carry."""
        study = self.study._replace(counts=self.study.counts[rows])
        study = study.only(np.flatnonzero(np.asarray(study.counts.sum(axis=0)).ravel() > 0))
        return Cohort(study, [self.ids[row] for row in rows.tolist()], self.about.iloc[rows])

    def column(self, name: str) -> NDArray[np.object_]:
        """A column of the metadata, None where it is missing."""
        values = self.about[name]
        return values.where(values.notna(), None).to_numpy(object)

    @property
    def subjects(self) -> NDArray[np.object_]:
        """The subject of each sample."""
        return self.column("subject")

    def write(self, path: Path) -> Path:
        """Write the table as BIOM, features called by their DNA."""
        return write_table(self.study, self.ids, path)


class Places(NamedTuple):
    """Where the studies lie: `data` those with trees of their own, `data2` those on one reference."""

    data: Path
    data2: Path

    def folder(self, name: str) -> Path:
        """The folder of a study."""
        return (self.data if (self.data / name).is_dir() else self.data2) / name

    def open(self, name: str, chooses: Chooses, most: int | None) -> Cohort:
        """Samples of a study that are chosen and deep enough, `most` of them, drawn by a fixed seed."""
        table, frame = read_once(self.folder(name)), self.metadata(name)
        deep = table.depths() >= DEPTHS.get(name, TABLE_DEPTH)
        rows = np.flatnonzero(deep & np.asarray(chooses(frame), dtype=bool))
        return self._take(name, np.random.default_rng(SEED).permutation(rows)[:most])

    def open_people(self, name: str, chooses: Chooses, most: int) -> Cohort:
        """As `open`, all samples of people drawn by a fixed seed, of so many that there are about `most` samples."""
        cohort = self.open(name, chooses, None)
        order = np.random.default_rng(SEED).permutation(sorted(set(cohort.subjects)))
        place = {subject: rank for rank, subject in enumerate(order.tolist())}
        ranks = np.array([place[subject] for subject in cohort.subjects])
        return cohort.rows(np.argsort(ranks, kind="stable")[:most])

    def open_each(self, name: str, column: Callable[[pd.DataFrame], pd.Series], most: int) -> Cohort:
        """As `open`, `most` samples of each value of a column, which the pool has as `class`."""
        values = column(self.metadata(name))
        kinds = sorted(values.dropna().unique())
        parts = [self.open(name, partial(is_one, values, kind), most) for kind in kinds]
        found = pool(name, parts)
        return found._replace(about=found.about.assign(**{"class": values.loc[found.ids].to_numpy()}))

    def metadata(self, name: str) -> pd.DataFrame:
        """The metadata of a study in the order of its table, with the columns `subject` and `study`."""
        frame = read_text(self.folder(name) / "metadata.tsv").reindex(read_once(self.folder(name)).sample_ids)
        if (subject := SUBJECTS.get(name)) is not None:
            frame = frame.assign(subject=frame[subject])
        return frame.assign(study=name)

    def _take(self, name: str, rows: NDArray[np.int64]) -> Cohort:
        """Some samples of a study, rarefied."""
        table = read_once(self.folder(name))
        ids = [table.sample_ids[row] for row in rows.tolist()]
        counts = rarefy_table(table.counts[rows], ids, DEPTHS.get(name, TABLE_DEPTH), seed=0)
        study = Study(name, list(table.asv_ids), list(table.sequences), counts)
        return Cohort(study, ids, self.metadata(name).iloc[rows]).rows(np.arange(len(rows)))

    def tree(self, name: str) -> Tree:
        """The tree of the ASVs of a study: its own, or that of the reference."""
        own = self.folder(name) / "tree.nwk"
        return read_once_tree(own if own.exists() else self.data2 / REFERENCE / "tree.nwk")


def is_one(values: pd.Series, kind: str, frame: pd.DataFrame) -> pd.Series:
    """Whether each sample of a study has a value, of those given in the order of its metadata."""
    return values == kind


@cache
def read_once(folder: Path) -> Table:
    """The table of a study, kept."""
    return read_table(folder / "table.biom")


@cache
def read_once_tree(path: Path) -> Tree:
    """A tree, kept: that of the reference takes seconds."""
    return read_tree(path)


def pool(name: str, cohorts: Sequence[Cohort]) -> Cohort:
    """Samples of several cohorts; ASVs of equal DNA are one column."""
    place: dict[str, int] = {}
    parts = []
    for cohort in cohorts:
        columns = np.array([place.setdefault(text, len(place)) for text in cohort.study.sequences], dtype=np.int64)
        parts.append((cohort.study.counts.tocoo(), columns))
    blocks = [
        sparse.csr_array((part.data, (part.coords[0], columns[part.coords[1]])), shape=(part.shape[0], len(place)))
        for part, columns in parts
    ]
    names = list(place)
    study = Study(name, names, names, sparse.csr_array(sparse.vstack(blocks)))
    return Cohort(study, [one for cohort in cohorts for one in cohort.ids], pd.concat([one.about for one in cohorts]))


def write_table(study: Study, ids: Sequence[str], path: Path) -> Path:
    """Write counts as BIOM, features called by their DNA, samples by `ids`."""
    with biom_open(str(path), "w") as file:
        biom.Table(sparse.csr_matrix(study.counts.T), study.sequences, list(ids)).to_hdf5(file, "benchmark")
    return path
