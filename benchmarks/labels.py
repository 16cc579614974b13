#!/usr/bin/env python3
"""How well labels carry over to studies that were left out, and what a few labels in such a study add.

    python benchmarks/labels.py ../shared/data2 --cache labels-cache --seeds 3 --few

For each task every study is left out in turn, and the ensemble of `aam train --learner clades` learns from the others:
AUC over subjects (samples of 1,000 reads and more; a subject's score is the mean of its samples), for the ensemble and
its members. With --few: 10, 20 or 50 subjects of a study carry labels, the rest is predicted, by a forest on the
features, by the ensemble, and by the ensemble with what the other studies have taught.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import biom
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse import csr_array
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from aam.config.reference import PlacingConfig
from aam.learners.clades import CladeTable, clades_of
from aam.learners.ensemble import Ensemble, fit_ensemble, prior_share
from aam.learners.weights import Labelled
from aam.observer import Observer
from aam.workflows.asv_sources import Asvs
from aam.workflows.place import open_chosen, place_asvs

READS = 1000
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
FEW: dict[str, tuple[str, str, str, str, list[str], str]] = {
    "risk biopsy CD": ("risk", "biopsy", "disease", "control", ["CD"], "biopsy CD"),
    "risk stool CD": ("risk", "stool", "disease", "control", ["CD"], "stool CD"),
    "cs-prism stool IBD": ("cs-prism", "stool", "disease", "control", IBD, "stool IBD"),
    "jansson stool IBD": ("jansson-lamendella", "stool", "disease", "control", IBD, "stool IBD"),
    "mucosal biopsy CD": ("mucosal-ibd", "biopsy", "disease", "control", ["CD"], "biopsy CD"),
    "pouchitis CD": ("pouchitis", "", "disease", "control", ["CD"], "biopsy CD"),
    "ravel Nugent": ("ravel", "", "nugent_category", "low", ["high"], ""),
    "kostic tumour": ("kostic", "", "tissue", "normal", ["tumour"], ""),
}
"""Study, body site, column, negative and positive classes, and the task whose other studies teach it, if any."""


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
        numbers = [pd.factorize(names)[0].astype(np.int64) for names in (self.study, self.subject)]
        return Labelled(np.eye(2)[self.ill.astype(int)], *numbers, True)


def load(folder: Path, cache: Path) -> Data:
    """Read all tables and place their features on the shipped reference; the places are cached."""
    studies = sorted({study for names, _, _ in TASKS.values() for study in names} | {one[0] for one in FEW.values()})
    tables, frames = [], []
    for study in studies:
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
    found = clades_of(place_asvs(Asvs(names, names, "all studies"), chosen, None, observer), chosen.reference.tree)
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


def leave_out(data: Data, task: Task, study: str, seed: int) -> Ensemble:
    """The ensemble that has learned from all other studies of a task."""
    train = np.flatnonzero(task.study != study)
    return fit_ensemble(data.table.rows(task.rows[train]), task.labelled().rows(train), seed)


def odds(scores: np.ndarray) -> np.ndarray:
    """Score of the second class less that of the first, of scores [..., 2]."""
    return scores[..., 1] - scores[..., 0]


def between_studies(data: Data, names: list[str], seeds: int) -> None:
    """Print the AUC of each task, study and member."""
    for name in names:
        task, found, start = task_of(data, name), list[dict[str, object]](), time.perf_counter()
        for study in np.unique(task.study):
            test = task.study == study
            table = data.table.rows(task.rows[test])
            for seed in range(seeds):
                scores = odds(leave_out(data, task, str(study), seed).members(table))
                parts = dict(zip(("ridge", "forest", "study forests"), scores, strict=False))
                for member, score in {**parts, "ensemble": scores.mean(axis=0)}.items():
                    found.append(
                        {"study": study, "member": member, "auc": auc(score, task.ill[test], task.subject[test])}
                    )
        frame = pd.DataFrame(found).pivot_table(index="member", columns="study", values="auc")
        frame["mean"] = frame.mean(axis=1)
        print(f"\n{name} ({time.perf_counter() - start:.0f} s)\n{frame.round(3).to_string()}", flush=True)


def few_labels(data: Data, draws: int) -> None:
    """Print the mean AUC with 10, 20 and 50 labelled subjects."""
    found = []
    for name, (study, site, column, no, yes, teacher) in FEW.items():
        frame = data.metadata
        kept = (frame.study == study) & frame.body_site.fillna("").str.startswith(site) & frame[column].isin([no, *yes])
        rows = np.flatnonzero(kept.to_numpy())
        own = frame.iloc[rows]
        person = own.subject.fillna(pd.Series(own.index, own.index)) + (own[column] if column == "tissue" else "")
        prior = leave_out(data, task_of(data, teacher), study, 0) if teacher else None
        transferred = None if prior is None else odds(prior(data.table.rows(rows)))
        task = Task(rows, (own[column] != no).to_numpy(), own.study.to_numpy(), person.to_numpy())
        for labels in (10, 20, 50):
            for draw in range(draws):
                scores = one_draw(data, task, transferred, labels, draw)
                found.append({"task": name, "labels": labels} | scores)
        print(pd.DataFrame(found).query("task == @name").groupby("labels").mean(numeric_only=True).round(3), flush=True)
    table = pd.DataFrame(found)
    print(table.groupby(["task", "labels"]).mean().round(3).to_string())
    print(table.groupby(["task", "labels"]).mean().groupby("labels").mean().round(3).to_string())


def draw_subjects(task: Task, labels: int, draw: int) -> np.ndarray:
    """The subjects that carry a label: as many of either class as there are, half and half if possible."""
    people = pd.Series(task.ill, index=task.subject).groupby(level=0).mean() > 0.5
    rng = np.random.default_rng(draw)
    ill, well = (rng.permutation(people.index[people == kind].to_numpy()) for kind in (True, False))
    count = min(labels // 2, len(well) - 5)
    return np.r_[ill[: min(labels - count, len(ill) - 5)], well[:count]]


def one_draw(data: Data, task: Task, transferred: np.ndarray | None, labels: int, draw: int) -> dict[str, float]:
    """AUC over the subjects without a label, by method; `transferred` [n] is what the other studies say."""
    train = np.isin(task.subject, draw_subjects(task, labels, draw))
    known, test = np.flatnonzero(train), np.flatnonzero(~train)
    table, own = data.table.rows(task.rows), task.labelled()
    found = {"forest": forest(table, task, train, draw)[test]}
    found["ensemble"] = odds(fit_ensemble(table.rows(known), own.rows(known), draw)(table.rows(test)))
    told, share = found["ensemble"] if transferred is None else transferred[test], prior_share(labels)
    found |= {"with other studies": (1 - share) * found["ensemble"] + share * told, "other studies alone": told}
    return {name: auc(score, task.ill[test], task.subject[test]) for name, score in found.items()}


def forest(table: CladeTable, task: Task, train: np.ndarray, seed: int) -> np.ndarray:
    """A forest on mean root abundances of subjects, in 3 % of them, as the baseline of the field; for all samples."""
    shares = table.asvs[:, np.flatnonzero(np.bincount(table.asvs.indices, minlength=table.asvs.shape[1]) > 0)]
    people = pd.DataFrame(np.sqrt(shares.toarray())).groupby(task.subject).mean()
    x = people.loc[:, (people > 0).mean() > 0.03]
    ill = pd.Series(task.ill, index=task.subject).groupby(level=0).mean().loc[x.index] > 0.5
    own = x.index.isin(task.subject[train])
    model = RandomForestClassifier(300, class_weight="balanced", random_state=seed).fit(x[own].to_numpy(), ill[own])
    return pd.Series(model.predict_proba(x.to_numpy())[:, 1], index=x.index).loc[task.subject].to_numpy()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("labels-cache"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--draws", type=int, default=12)
    options = parser.parse_args()
    data = load(options.folder, options.cache)
    between_studies(data, options.tasks, options.seeds)
    if options.few:
        few_labels(data, options.draws)


if __name__ == "__main__":
    main()
