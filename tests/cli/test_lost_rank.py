"""A rank of a real run is lost: the others end at once, say which, and any number of ranks goes on with the run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from generated_samples import community, write_files
from rank_processes import torchrun

from aam import cli
from aam.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

STEPS, EVERY = 20, 5
LAUNCH = ["--standalone", "--nproc-per-node", "3"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_files(community(samples=12, asvs=30, richness=8), tmp_path)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def options(data: Path, run: str, *more: str, steps: int = STEPS) -> list[str]:
    files = ["--table", data / "table.tsv", "--tree", data / "tree.nwk", "--output-dir", data / run]
    small = [
        "--preset",
        "tiny",
        "--patch",
        "4",
        "--batch-size",
        "4",
        "--device",
        "cpu",
        "--dropout",
        "0",
        "--no-preflight",
    ]
    return ["pretrain", *map(str, files), *small, f"--max-steps={steps}", f"--eval-every={EVERY}", *more]


def rank_of(launcher: subprocess.Popen, rank: int) -> int:
    """Process id of a rank that `torchrun` has started."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    wanted = f"\0RANK={rank}\0".encode()
    return next(int(child) for child in children if wanted in b"\0" + Path(f"/proc/{child}/environ").read_bytes())


def wait_for(path: Path, launcher: subprocess.Popen, seconds: float = 900.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert launcher.poll() is None and time.monotonic() < deadline, launcher.communicate()[1]
        time.sleep(0.2)


def validation(folder: Path) -> dict[int, float]:
    """Held-out loss by step."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "validation"}


@pytest.mark.parametrize("lost", [1, 0])
def test_a_killed_rank_ends_the_run_and_fewer_go_on_with_it(data: Path, lost: int):
    ranks = torchrun(LAUNCH, options(data, "run", steps=100_000), data / "tmp")
    wait_for(data / "run" / "last" / "state.json", ranks)
    os.kill(rank_of(ranks, lost), signal.SIGKILL)
    begin = time.monotonic()
    _, err = ranks.communicate(timeout=200)
    assert time.monotonic() - begin < 120 and ranks.returncode != 0
    (line,) = (line for line in err.splitlines() if line.startswith("Error:"))
    assert f"rank {lost} is gone" in line and "go on with --resume" in line and str(data / "run" / "last") in line, err
    step = load_checkpoint(data / "run" / "last").state["train"]["step"]
    assert step > 0 and step % EVERY == 0


def test_a_rank_that_hangs_is_missed_after_the_time_that_was_given(data: Path):
    ranks = torchrun(LAUNCH, options(data, "run", "--rank-timeout", "6", steps=100_000), data / "tmp")
    wait_for(data / "run" / "last" / "state.json", ranks)
    os.kill(rank_of(ranks, 1), signal.SIGSTOP)
    _, err = ranks.communicate(timeout=200)  # torchrun waits 30 seconds for the one that hangs, then kills it
    (line,) = (line for line in err.splitlines() if line.startswith("Error:"))
    assert re.search(r"^Error: rank 1 on \S+ does not answer; go on with --resume", line), err


def test_ranks_that_are_started_again_go_on_and_come_to_the_same_end(data: Path):
    """torchrun restarts the ranks by itself; then one process trains further. The curve is that of one process."""
    ranks = torchrun([*LAUNCH, "--max-restarts", "1"], options(data, "run"), data / "tmp")
    wait_for(data / "run" / "last" / "state.json", ranks)
    os.kill(rank_of(ranks, 2), signal.SIGKILL)
    _, err = ranks.communicate(timeout=900)
    assert ranks.returncode == 0, err
    assert cli.main(["pretrain", "--output-dir", str(data / "run"), "--resume", f"--max-steps={STEPS + EVERY}"]) == 0
    assert cli.main(options(data, "alone", steps=STEPS)) == 0
    assert cli.main(["pretrain", "--output-dir", str(data / "alone"), "--resume", f"--max-steps={STEPS + EVERY}"]) == 0
    alone, together = validation(data / "alone"), validation(data / "run")
    assert list(together) == list(alone)
    assert together == pytest.approx(alone, rel=1e-3)
