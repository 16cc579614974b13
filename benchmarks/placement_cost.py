"""Busy seconds and peak memory of one method as its own process on one core; section e of `placement.py`.

python benchmarks/placement_cost.py METHOD ASVS.txt TABLES WORK LEARNED        one JSON line
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from placement_data import merged_reference, mutated
from placement_methods import IN_PROCESS, Methods

SIZES = (1_000, 10_000, 100_000)


def cost_of(methods: Methods, method: str, asvs: Sequence[str], tables: Path) -> dict[str, float | int]:
    """What it costs to place DNA on the reference of V4 fragments, in a process of its own."""
    path = methods.work / "asvs.txt"
    path.write_text("\n".join(asvs) + "\n")
    command = [sys.executable, __file__, method, *map(str, (path, tables, methods.work, methods.learned))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, preexec_fn=one_core)
    return {"ASVs": len(asvs), **json.loads(done.stdout)}


def one_core() -> None:
    """Keep this process on one of its cores, if the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def scaling(methods: Methods, method: str, tables: Path) -> Iterator[dict[str, float | int]]:
    """The same for made-up ASVs."""
    made = mutated(merged_reference(tables, methods.work), max(SIZES), seed=0)
    for size in SIZES:
        yield cost_of(methods, method, made[:size], tables)


def main(method: str, path: str, tables: str, work: str, learned: str) -> None:
    """Place the ASVs and build the tree of them."""
    from aam.placement.insertion import insertion_tree

    asvs, times = Path(path).read_text().split(), [time.process_time()]
    reference = merged_reference(Path(tables), Path(work))
    times.append(time.process_time())
    placements = IN_PROCESS[method](reference, [f"a{row}" for row in range(len(asvs))], asvs, Path(learned))
    times.append(time.process_time())
    tree = insertion_tree(placements, reference, with_reference=False)
    times.append(time.process_time())
    found = dict(
        zip(("seconds to open", "seconds to place", "seconds for the tree"), np.diff(times).tolist(), strict=True)
    )
    memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps({"placed": len(tree.tip_names), **found, "MB": memory}))


if __name__ == "__main__":
    main(*sys.argv[1:])
