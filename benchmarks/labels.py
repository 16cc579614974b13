#!/usr/bin/env python3
"""How well labels carry over to studies that were left out.

    python benchmarks/labels.py ../shared/data2 --cache labels-cache --seeds 3

For each task every study is left out in turn, and the ensemble of `aam train --learner clades` learns from the others:
AUC over subjects (samples of 1,000 reads and more; a subject's score is the mean of its samples), for the ensemble and
its members.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from labels_data import TASKS, Data, auc, leave_out, load, odds, task_of


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


def main() -> None:
    """Run the tasks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("labels-cache"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    between_studies(load(options.folder, options.cache), options.tasks, options.seeds)


if __name__ == "__main__":
    main()
