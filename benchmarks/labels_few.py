#!/usr/bin/env python3
"""What a few labels in a study are worth, with and without what other studies teach.

    python benchmarks/labels_few.py ../shared/data2 --cache labels-cache --draws 12

10, 20 or 50 subjects of a study carry labels, the rest is predicted (AUC over subjects, mean of draws): by a forest on
the features, by the ensemble of `aam train --learner clades`, by the ensemble with what the other studies have taught
(--pretrained), and by the other studies alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from labels_data import IBD, Data, Task, auc, leave_out, load, odds, task_of
from sklearn.ensemble import RandomForestClassifier

from aam.learners.clades import CladeTable
from aam.learners.ensemble import fit_ensemble, prior_share

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
    """Run all tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("labels-cache"))
    parser.add_argument("--draws", type=int, default=12)
    options = parser.parse_args()
    few_labels(load(options.folder, options.cache), options.draws)


if __name__ == "__main__":
    main()
