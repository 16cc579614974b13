"""A rank of a real run is lost: the others end at once, say which, and any number of ranks goes on with the run."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from processes import wait_for
from rank_processes import torchrun
from runs_on_ranks import EVERY, rank_of, saved_often, validation

from aam import cli
from aam.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

STEPS = 20
LAUNCH = ["--standalone", "--nproc-per-node", "3"]


@pytest.mark.parametrize("lost", [1, 0])
def test_a_killed_rank_ends_the_run_and_fewer_go_on_with_it(data: Path, lost: int):
    ranks = torchrun(LAUNCH, saved_often(data, "run", steps=100_000), data / "tmp")
    wait_for((data / "run" / "last" / "state.json").exists, ranks, 900)
    os.kill(rank_of(ranks, lost), signal.SIGKILL)
    begin = time.monotonic()
    _, err = ranks.communicate(timeout=200)
    assert time.monotonic() - begin < 120 and ranks.returncode != 0
    (line,) = (line for line in err.splitlines() if line.startswith("Error:"))
    assert f"rank {lost} is gone" in line and "go on with --resume" in line and str(data / "run" / "last") in line, err
    step = load_checkpoint(data / "run" / "last").state["train"]["step"]
    assert step > 0 and step % EVERY == 0


def test_a_rank_that_hangs_is_missed_after_the_time_that_was_given(data: Path):
    ranks = torchrun(LAUNCH, saved_often(data, "run", "--rank-timeout", "6", steps=100_000), data / "tmp")
    wait_for((data / "run" / "last" / "state.json").exists, ranks, 900)
    os.kill(rank_of(ranks, 1), signal.SIGSTOP)
    _, err = ranks.communicate(timeout=200)  # torchrun waits 30 seconds for the one that hangs, then kills it
    (line,) = (line for line in err.splitlines() if line.startswith("Error:"))
    assert re.search(r"^Error: rank 1 on \S+ does not answer; go on with --resume", line), err


def test_ranks_that_are_started_again_go_on_and_come_to_the_same_end(data: Path):
    """torchrun restarts the ranks by itself; then one process trains further. The curve is that of one process."""
    ranks = torchrun([*LAUNCH, "--max-restarts", "1"], saved_often(data, "run", steps=STEPS), data / "tmp")
    wait_for((data / "run" / "last" / "state.json").exists, ranks, 900)
    os.kill(rank_of(ranks, 2), signal.SIGKILL)
    _, err = ranks.communicate(timeout=900)
    assert ranks.returncode == 0, err
    assert cli.main(["pretrain", "--output-dir", str(data / "run"), "--resume", f"--max-steps={STEPS + EVERY}"]) == 0
    assert cli.main(saved_often(data, "alone", steps=STEPS)) == 0
    assert cli.main(["pretrain", "--output-dir", str(data / "alone"), "--resume", f"--max-steps={STEPS + EVERY}"]) == 0
    alone, together = validation(data / "alone"), validation(data / "run")
    assert list(together) == list(alone)
    assert together == pytest.approx(alone, rel=1e-3)
