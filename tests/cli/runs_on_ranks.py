"""Pretrainings of several processes on a small study: how they are asked for, waited for and looked at."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

OPTIONS = ["--preset", "tiny", "--patch", "4", "--batch-size", "4", "--device", "cpu"]
OPTIONS += ["--dropout", "0"]  # noise is drawn apart on each rank
EVERY = 5
"""Steps between the checkpoints of `saved_often`."""


def options(data: Path, run: str, *more: str) -> list[str]:
    """A pretraining on the study in `data`, which leaves its run there."""
    files = ["--table", data / "table.tsv", "--tree", data / "tree.nwk", "--output-dir", data / run]
    return ["pretrain", *map(str, files), *OPTIONS, *more]


def saved_often(data: Path, run: str, *more: str, steps: int) -> list[str]:
    """The same, so many steps long, with its first checkpoint soon."""
    return options(data, run, "--no-preflight", f"--max-steps={steps}", f"--eval-every={EVERY}", *more)


def rank_of(launcher: subprocess.Popen, rank: int) -> int:
    """Process id of a rank that `torchrun` has started."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    wanted = f"\0RANK={rank}\0".encode()
    return next(int(child) for child in children if wanted in environment(child))


def environment(process: str) -> bytes:
    """Environment of a process, each variable between two NULs; empty where the process has ended meanwhile."""
    try:
        return b"\0" + Path(f"/proc/{process}/environ").read_bytes()
    except (ProcessLookupError, FileNotFoundError):
        return b""


def validation(folder: Path) -> dict[int, float]:
    """Held-out loss by step."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "validation"}
