"""What the benchmarks share: work in processes of its own, asked in turns; operations counted; results as JSON.

Each piece of work lives in its own process, so that peaks of memory do not mix and the turns are fair: in every round
each does its work once, so that a busy machine is busy for all. Processes are named "work".
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

LATEST = Path(__file__).parent / "results" / "latest"
"""Where results go that are not asked to go elsewhere; not part of the repository."""

Work = Callable[[int], Mapping[str, float]]
"""Does round `number` and says what it did, by name."""


@dataclass(frozen=True)
class Timing:
    """Medians over rounds: `wall` and `cpu` seconds (user + system), peak memory in bytes, and what the work said."""

    wall: float
    cpu: float
    memory: int
    rounds: int
    said: dict[str, float]


def files_of(table: Path | None, tree: Path | None) -> dict[str, Any]:
    """The options of a run on a study, on the embedded example where none is given."""
    return {"example": True} if table is None else {"table": table, "tree": tree}


def peak_memory() -> int:
    """Most memory this process has held, in bytes; on Linux its own, not what its parent had held before."""
    if platform.system() == "Linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve(connection: Connection, make: Callable[[], Work], threads: int) -> None:
    """Build the work, then do it whenever a round number comes in, until None does."""
    torch.set_num_threads(threads)
    work = make()
    connection.send(None)
    while (number := connection.recv()) is not None:
        start, cpu = time.perf_counter(), time.process_time()
        said = work(number)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        connection.send((wall, cpu, peak_memory(), dict(said)))


def in_turns(works: Mapping[str, Callable[[], Work]], seconds: float, threads: int) -> dict[str, Timing]:
    """Ask all in turns for about so many seconds, two rounds at least; the first, which warms up, is left out."""
    context = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    rows: dict[str, list[Any]] = {name: [] for name in works}
    try:
        for name, make in works.items():
            ends[name], other = context.Pipe()
            context.Process(target=serve, args=(other, make, threads), daemon=True).start()
            other.close()
        for end in ends.values():
            end.recv()
        start, number = time.monotonic(), 0
        while number < 2 or (time.monotonic() - start) * (number + 1) / number < seconds:
            for name, end in ends.items():
                end.send(number)
                rows[name].append(end.recv())
            number += 1
    finally:
        for end in ends.values():
            end.send(None)
    return {name: summary(found) for name, found in rows.items()}


def summary(rows: list[tuple[float, float, int, dict[str, float]]]) -> Timing:
    """Medians of all rounds but the first; the last peak is the largest."""
    warm = rows[1:]
    said = {key: float(np.median([row[3][key] for row in warm])) for key in warm[0][3]}
    wall, cpu = (float(np.median([row[column] for row in warm])) for column in (0, 1))
    return Timing(wall, cpu, rows[-1][2], len(warm), said)


def make_gemm(dtype: torch.dtype) -> Work:
    """The three products of a linear layer in training, forward and both backward, as transformers of width 128 have
    them: [2048, 128] by [128, 512], many times. 2,048 rows are a chunk of the encoders."""
    inputs, weights, upper = (torch.ones(*shape, dtype=dtype) for shape in ((2048, 128), (512, 128), (2048, 512)))
    out, lower, change = torch.empty_like(upper), torch.empty_like(inputs), torch.empty_like(weights)
    times = 80

    def work(number: int) -> dict[str, float]:
        for _ in range(times):
            torch.mm(inputs, weights.T, out=out)
            torch.mm(upper, weights, out=lower)
            torch.mm(upper.T, inputs, out=change)
        return {"operations": 3 * 2.0 * 2048 * 128 * 512 * times}

    return work


def transformer_operations(rows: int, length: int, dim: int, layers: int, ffn_ratio: int = 4) -> float:
    """Operations of one training step (forward and twice that backward) of a transformer over `rows` rows."""
    per_position = 8 * dim**2 + 4 * ffn_ratio * dim**2 + 4 * length * dim
    return 3.0 * rows * length * layers * per_position


def print_scores(name: str, at: str, scores: Mapping[str, float]) -> None:
    """A line of a long race as soon as it is known: who, after how much work, how good."""
    figures = "  ".join(f"{figure} {value:.4f}" for figure, value in scores.items())
    print(f"{name:<20}{at:<24}{figures}", flush=True)


def write(path: Path | None, subject: str, timings: Mapping[str, Timing], about: Mapping[str, object]) -> None:
    """Results as JSON, with the machine they come from."""
    path = path or LATEST / f"{subject}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()[0],
        "python": platform.python_version(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    found = {name: asdict(timing) for name, timing in timings.items()}
    path.write_text(json.dumps({"machine": machine, **about, "timings": found}, indent=1) + "\n", encoding="utf-8")
    print(f"written to {path}")


def processor() -> str:
    """Its name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
