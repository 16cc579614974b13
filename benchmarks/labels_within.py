#!/usr/bin/env python3
"""Labels within one study: the ensemble of `aam train --learner clades` beside a forest.

    python benchmarks/labels_within.py ../shared/data2 --cache labels-cache --seeds 3

Five folds by subject; AUC, or R2 of numbers, over samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from labels_data import Data, load, odds
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GroupKFold

from aam.learners.ensemble import fit_ensemble
from aam.learners.weights import Labelled

WITHIN: dict[str, tuple[str, str, str, list[str]]] = {
    "risk biopsy CD": ("risk", "biopsy", "disease", ["control", "CD"]),
    "risk stool CD": ("risk", "stool", "disease", ["control", "CD"]),
    "protect log10 calprotectin": ("protect", "stool", "calprotectin", []),
    "ravel Nugent": ("ravel", "", "nugent_category", ["low", "high"]),
    "kostic tumour": ("kostic", "", "tissue", ["normal", "tumour"]),
}
"""Study, beginning of the body site, column, and both classes; none: its logarithm."""


def within_studies(data: Data, seeds: int) -> None:
    """Print the scores of five folds by subject in one study: samples, AUC or R2, of a forest and of the ensemble."""
    for name, (study, site, column, classes) in WITHIN.items():
        frame = data.metadata
        kept = (frame.study == study) & frame.body_site.fillna("").str.startswith(site) & frame[column].notna()
        kept &= frame[column].isin(classes) if classes else True
        rows = np.flatnonzero(kept.to_numpy())
        own, shares = frame.iloc[rows], data.table.asvs[rows]
        subject = pd.factorize(own.subject.fillna(pd.Series(own.index, own.index)))[0].astype(np.int64)
        values = (
            own[column].eq(classes[1]).to_numpy(float) if classes else np.log10(own[column].astype(float).to_numpy())
        )
        target = np.eye(2)[values.astype(int)] if classes else values[:, None]
        labelled = Labelled(target, np.zeros(len(rows), np.int64), subject, bool(classes))
        measure = roc_auc_score if classes else r2_score
        for seed in range(seeds):
            said = {"forest": np.zeros(len(rows)), "ensemble": np.zeros(len(rows))}
            for train, test in GroupKFold(5, shuffle=True, random_state=seed).split(values, groups=subject):
                fitted = fit_ensemble(data.table.rows(rows[train]), labelled.rows(train), seed)
                found = fitted(data.table.rows(rows[test]))
                said["ensemble"][test] = odds(found) if classes else found[:, 0]
                common = np.bincount(shares[train].indices, minlength=shares.shape[1]) >= 0.01 * len(train)
                x = shares[:, np.flatnonzero(common)].toarray()
                if classes:
                    forest = RandomForestClassifier(500, class_weight="balanced_subsample", random_state=seed)
                    said["forest"][test] = forest.fit(x[train], values[train]).predict_proba(x[test])[:, 1]
                else:
                    forest = RandomForestRegressor(300, max_features=1 / 3, random_state=seed)
                    said["forest"][test] = forest.fit(x[train], values[train]).predict(x[test])
            print(name, seed, {key: round(float(measure(values, score)), 3) for key, score in said.items()}, flush=True)


def main() -> None:
    """Run all tasks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("labels-cache"))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    within_studies(load(options.folder, options.cache), options.seeds)


if __name__ == "__main__":
    main()
