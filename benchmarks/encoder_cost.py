"""Section g of `encoder.py`: seconds and memory of commands from a cold start, on one core."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from placement_cost import one_core


def cost(arguments: list[str], cache: Path) -> dict[str, float]:
    """Seconds by the clock, busy seconds and peak memory in MB of `aam` with these arguments, on one core.

    Its environment has no settings of the allocator; `cache` replaces the user's folder of caches.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cache)}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "aam", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
        preexec_fn=one_core, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"aam {' '.join(arguments)}: {said.strip().splitlines()[-1]}")
    busy = used.ru_utime + used.ru_stime
    return {"seconds": time.perf_counter() - start, "busy seconds": busy, "MB": used.ru_maxrss / 1024}


def embed_cost(folder: Path, table: Path, work: Path) -> dict[str, float]:
    """`aam embed` of a table."""
    path = work / "embeddings.tsv"
    path.unlink(missing_ok=True)
    return cost(["embed", "--model", str(folder), "--table", str(table), "-o", str(path)], work / "cache")


def place_costs(reference: Path, table: Path, work: Path) -> dict[str, dict[str, float]]:
    """`aam place` of a table on a reference that was never opened, and once more."""
    copy, found = work / "reference", {}
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(reference, copy, ignore=shutil.ignore_patterns("cache"))
    for name in ("first time", "again"):
        shutil.rmtree(work / "placed", ignore_errors=True)
        arguments = [
            "place",
            "--reference",
            str(copy),
            "--table",
            str(table),
            "--threads",
            "1",
            "-o",
            str(work / "placed"),
        ]
        found[name] = cost(arguments, work / "cache")
    shutil.rmtree(copy)
    return found
