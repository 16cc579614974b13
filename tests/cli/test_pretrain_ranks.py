"""`torchrun … aam pretrain`: several processes train the model of one, leave one run, and go on with it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from processes import wait_for
from rank_processes import torchrun
from runs_on_ranks import options

from aam import cli
from aam.checkpoint import open_model

pytestmark = pytest.mark.slow


def start_ranks(data: Path, run: str, *more: str) -> subprocess.Popen:
    """Two ranks of `aam pretrain`."""
    arguments = options(data, run, "--eval-every", "2", *more)
    return torchrun(["--standalone", "--nproc-per-node", "2"], arguments, data / "tmp")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return open_model(folder)[0].state_dict()


def test_two_ranks_leave_one_run_and_the_weights_of_one_process(data: Path):
    ranks = start_ranks(data, "two", "--max-steps", "4")
    out, err = ranks.communicate(timeout=300)
    assert ranks.returncode == 0, err
    assert cli.main(options(data, "one", "--eval-every", "2", "--max-steps", "4")) == 0
    names = {path.name for path in (data / "one").iterdir()}
    assert {path.name for path in (data / "two").iterdir()} == names and not list((data / "tmp").glob("aam-rank*"))
    assert out.count("held-out samples, after") == 1  # one summary
    texts = [(data / run / "log.jsonl").read_text().splitlines() for run in ("one", "two")]
    logs = [[json.loads(line) for line in lines] for lines in texts]
    assert [(line["kind"], line["step"]) for line in logs[0] if line["kind"] == "validation"] == [
        (line["kind"], line["step"]) for line in logs[1] if line["kind"] == "validation"
    ]
    alone, together = weights(data / "one" / "last"), weights(data / "two" / "last")
    for name, weight in alone.items():
        # Where a gradient is nothing but rounding, AdamW still moves by up to the learning rate.
        if "project.bias" not in name:
            torch.testing.assert_close(together[name], weight, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_a_signal_to_the_launcher_leaves_a_checkpoint_that_one_process_can_go_on_from(data: Path):
    ranks = start_ranks(data, "run", "--max-steps", "100000", "--eval-every", "100000", "--no-preflight")
    log = data / "run" / "log.jsonl"
    wait_for(lambda: log.exists() and log.stat().st_size, ranks)
    ranks.send_signal(signal.SIGTERM)
    _, err = ranks.communicate(timeout=100)
    assert ranks.returncode != 0 and "interrupted by SIGTERM after step" in err, err
    state = json.loads((data / "run" / "last" / "state.json").read_text())
    step = state["train"]["step"]
    assert step > 0
    more = ["--resume", "--max-steps", str(step + 2)]
    assert cli.main(["pretrain", "--output-dir", str(data / "run"), *more]) == 0


def test_ranks_with_parts_leave_what_one_process_leaves(data: Path):
    ranks = start_ranks(data, "two", "--max-steps", "4", "--shard")
    out, err = ranks.communicate(timeout=300)
    assert ranks.returncode == 0, err
    assert cli.main(options(data, "one", "--eval-every", "2", "--max-steps", "4")) == 0
    assert {path.name for path in (data / "two").iterdir()} == {path.name for path in (data / "one").iterdir()}
    assert out.count("held-out samples, after") == 1 and "Warning" not in err
    alone, together = weights(data / "one" / "last"), weights(data / "two" / "last")
    for name, weight in alone.items():
        if "project.bias" not in name:
            torch.testing.assert_close(together[name], weight, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    more = ["--resume", "--max-steps", "6"]
    assert cli.main(["pretrain", "--output-dir", str(data / "two"), *more]) == 0  # whole, in one process
