"""A long run: resident memory, open files and the size of the log must not grow with the number of steps.

    python benchmarks/soak.py --steps 20000 --num-workers 2

Prints a row every `EVERY` seconds and the verdict; exit code 1 if memory grew by more than `MOST_GROWTH` after the
warm-up, files by any, or the log by more than `MOST_LOG` bytes a second. Linux only.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

EVERY = 5.0
WARM_UP = 0.2
"""Part of the run before what counts."""
MOST_GROWTH, MOST_LOG = 0.02, 2000.0
OPTIONS = ["--example", "--preset", "tiny", "--max-bp", "50", "--token-limit", "32", "--device", "cpu"]


class Reading(NamedTuple):
    """Seconds since the start, resident bytes of the training process, its open files, bytes of the log."""

    seconds: float
    memory: int
    files: int
    log: int


def read(process: int, seconds: float, log: Path) -> Reading:
    """The state of the process now."""
    home = Path("/proc") / str(process)
    fields = dict(line.split(":", 1) for line in (home / "status").read_text(encoding="utf-8").splitlines())
    size = log.stat().st_size if log.exists() else 0
    return Reading(seconds, int(fields["VmRSS"].split()[0]) * 1024, len(list((home / "fd").iterdir())), size)


def watch(steps: int, workers: int, folder: Path) -> list[Reading]:
    """Readings of a run of so many steps, from its first log line to the end of its training."""
    command = [sys.executable, "-m", "aam", "pretrain", *OPTIONS, "--max-steps", str(steps), "--eval-every", "500"]
    command += ["--num-workers", str(workers), "--no-preflight", "--output-dir", str(folder)]
    readings, start = list[Reading](), time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:  # progress: a line for each evaluation and every 15 seconds
            if "scoring" in line:
                break
            now = time.monotonic() - start
            if "step" in line and (not readings or now - readings[-1].seconds > EVERY):
                readings.append(read(run.pid, now, folder / "log.jsonl"))
                print(*readings[-1], sep="\t", flush=True)
        run.stderr.read()
    assert run.returncode == 0, f"the run ended with {run.returncode}"
    return readings


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--num-workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        readings = watch(asked.steps, asked.num_workers, Path(home) / "run")
    kept = readings[int(len(readings) * WARM_UP) :]
    third = max(1, len(kept) // 3)
    ends = kept[:third], kept[-third:]
    first, last = (statistics.median(r.memory for r in part) for part in ends)
    before, after = (int(statistics.median(r.files for r in part)) for part in ends)  # the log is open for moments
    growth, files = last / first - 1, after - before
    log = (kept[-1].log - kept[0].log) / max(kept[-1].seconds - kept[0].seconds, 1.0)
    print(f"{asked.steps} steps: memory {first / 2**20:.1f} -> {last / 2**20:.1f} MiB ({growth:+.2%}), open files")
    print(f"{files:+d}, log {log:.0f} bytes a second, {kept[-1].log} in all")
    return int(growth > MOST_GROWTH or files > 0 or log > MOST_LOG)


if __name__ == "__main__":
    sys.exit(main())
