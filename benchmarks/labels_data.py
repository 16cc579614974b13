"""The labelled studies of the benchmarks of labels: tables, labels, and features on the clades of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import biom
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from aam.config.reference import PlacingConfig
from aam.learners.clades import CladeTable, clades_of
from aam.learners.ensemble import Ensemble, fit_ensemble
from aam.learners.weights import Labelled
from aam.observer import Observer
from aam.workflows.asv_sources import Asvs
from aam.workflows.place import open_chosen, place_asvs

READS = 1000
STUDIES = [
    *("american-gut", "cs-prism", "herfarth", "hmp-v35", "jansson-lamendella", "kostic"),
    *("mucosal-ibd", "pouchitis", "protect", "ravel", "risk"),
]
IBD = ["CD", "UC", "IC"]
FOUR = ["risk", "cs-prism", "jansson-lamendella", "herfarth", "american-gut"]
TASKS: dict[str, tuple[list[str], str, list[str]]] = {
    "stool UC": (["cs-prism", "jansson-lamendella", "american-gut"], "stool", ["UC"]),
    "biopsy CD": (["risk", "mucosal-ibd", "pouchitis"], "biopsy", ["CD"]),
    "stool CD": (FOUR, "stool", ["CD"]),
    "stool IBD": (FOUR, "stool", IBD),
    "obese": (["american-gut", "jansson-lamendella", "herfarth", "hmp-v35", "cs-prism"], "stool", []),
}
"""Studies, beginning of the body site, diseases of the cases; controls are `control`. Without diseases: BMI."""


class Data(NamedTuple):
    """All samples: metadata, and shares of ASVs on the clades of the reference."""

    metadata: pd.DataFrame
    table: CladeTable


class Task(NamedTuple):
    """Rows of the data with a label; `ill` bool, `study` and `subject` texts [n]."""

    rows: np.ndarray
    ill: np.ndarray
    study: np.ndarray
    subject: np.ndarray

    def labelled(self) -> Labelled:
        """The labels for a learner."""
        study, subject = (pd.factorize(names)[0].astype(np.int64) for names in (self.study, self.subject))
        return Labelled(np.eye(2)[self.ill.astype(int)], study, subject, True)


def load(folder: Path, cache: Path) -> Data:
    """Read all tables and place their features on the shipped reference; the places are cached."""
    tables, frames = [], []
    for study in STUDIES:
        frame = pd.read_csv(folder / study / "metadata.tsv", sep="\t", dtype=str).set_index("sample-id")
        table = biom.load_table(str(folder / study / "table.biom"))
        table = table.filter(lambda counts, _id, _md: counts.sum() >= READS, inplace=False)
        table = table.filter(set(table.ids()) & set(frame.index), inplace=False).remove_empty()
        tables.append(table)
        frames.append(frame.loc[table.ids()].assign(study=study))
    names = sorted(set().union(*(set(table.ids("observation")) for table in tables)))
    column = {name: number for number, name in enumerate(names)}
    blocks = []
    for table in tables:
        entries = table.matrix_data.T.tocoo()
        at = np.array([column[name] for name in table.ids("observation")])
        blocks.append(sp.csr_array((entries.data, (entries.row, at[entries.col])), (table.shape[1], len(names))))
    counts = sp.vstack(blocks).tocsr()
    shares = csr_array(counts.multiply(1 / counts.sum(axis=1)[:, None])).astype(np.float32)
    return Data(pd.concat(frames), CladeTable(shares, members(names, cache), names))


def members(names: list[str], cache: Path) -> csr_array:
    """Which clades of the shipped reference each feature lies in."""
    cache.mkdir(parents=True, exist_ok=True)
    file, list_file = cache / "members.npz", cache / "names.txt"
    if file.exists() and list_file.read_text().split("\n") == names:
        return csr_array(sp.load_npz(file))
    observer = Observer()
    chosen = open_chosen(PlacingConfig(), observer)
    places = place_asvs(Asvs(names, names, "all studies"), chosen, None, observer)
    found = clades_of(places, chosen.reference.tree)
    sp.save_npz(file, sp.csr_matrix(found))
    list_file.write_text("\n".join(names))
    return found


def task_of(data: Data, name: str) -> Task:
    """The samples of a task."""
    studies, site, cases = TASKS[name]
    frame = data.metadata
    kept = frame.study.isin(studies) & frame.body_site.fillna("").str.startswith(site)
    if cases:
        kept &= frame.disease.isin([*cases, "control"])
        ill = frame.disease.isin(cases)
    else:
        bmi, age = (pd.to_numeric(frame[column], errors="coerce") for column in ("bmi", "age_years"))
        kept &= ((bmi >= 30) | ((bmi >= 18.5) & (bmi <= 25))) & ~(age < 18)
        ill = bmi >= 30
    rows = np.flatnonzero(kept.to_numpy())
    own = frame.iloc[rows]
    subject = own.study + " " + own.subject.fillna(pd.Series(own.index, own.index))
    return Task(rows, ill.to_numpy()[rows], own.study.to_numpy(), subject.to_numpy())


def auc(score: np.ndarray, ill: np.ndarray, subject: np.ndarray) -> float:
    """AUC over subjects, whose score is the mean of their samples."""
    people = pd.DataFrame({"subject": subject, "score": score, "ill": ill.astype(float)}).groupby("subject").mean()
    return float(roc_auc_score(people.ill > 0.5, people.score))


def odds(scores: np.ndarray) -> np.ndarray:
    """Score of the second class less that of the first, of scores [..., 2]."""
    return scores[..., 1] - scores[..., 0]


def leave_out(data: Data, task: Task, study: str, seed: int) -> Ensemble:
    """The ensemble that has learned from all other studies of a task."""
    train = np.flatnonzero(task.study != study)
    return fit_ensemble(data.table.rows(task.rows[train]), task.labelled().rows(train), seed)
