"""--max-memory: what is measured before a run, what is chosen, and that it changes no number it need not change."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from every_step import EveryStep

from aam import cli
from aam.errors import ConfigError, Interrupted
from aam.models.chunks import keep_at_most
from aam.stopping import StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.memory import (
    MemoryPlan,
    begin_peak,
    largest_plan,
    limit_memory,
    newest_peak,
    peak_memory,
    plans_upwards,
)
from aam.training.state import TrainState

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
CPU = torch.device("cpu")
PLENTY = 1000.0


def test_plans_go_from_two_samples_at_a_time_to_the_whole_batch_then_keep_more():
    plans = list(plans_upwards(samples=9, fewest=1))
    assert [plan.parts for plan in plans] == [4, 2, 1, 1, 1, 1, 1, 1]  # 9 samples in 4 parts: 3, 2, 2 and 2
    assert [plan.kept for plan in plans] == [0, 0, 0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    assert [plan.parts for plan in plans_upwards(samples=16, fewest=4)] == [8, 4, 4, 4, 4, 4, 4]
    assert {plan.parts for plan in plans_upwards(samples=1, fewest=1)} == {1}


@pytest.mark.parametrize(
    ("most", "parts", "tried"),
    [
        (99, None, [8]),
        (100, 8, [8]),  # 100 + 2 (100 - 90) = 120 are expected of 4 parts
        (120, 4, [8, 4]),  # 120 + 2 (120 - 100) = 160 of 2 parts
        (160, 2, [8, 4, 2]),  # 160 + 2 (160 - 120) = 240 of 1 part
        (240, 2, [8, 4, 2, 1]),  # it takes 250
        (250, 1, [8, 4, 2, 1]),
    ],
)
def test_a_plan_is_tried_if_its_expected_growth_fits(most: int, parts: int | None, tried: list[int]):
    bytes_of, seen = {8: 100, 4: 120, 2: 160, 1: 250}, []

    def measure(plan: MemoryPlan) -> int:
        seen.append(plan.parts)
        return bytes_of[plan.parts]

    plan, needed = largest_plan([MemoryPlan(count, 0.0) for count in bytes_of], measure, before=90, most=most)
    assert (None if plan is None else plan.parts) == parts and seen == tried
    assert needed == bytes_of[8 if parts is None else parts]


def losses_of(run: TrainingRun, state: TrainState) -> list[torch.Tensor]:
    """Loss terms of every step of a run."""
    run.meter = EveryStep(StopRequest(), None)
    train(run, state, StopRequest())
    return run.meter.losses


def test_activations_that_are_not_kept_change_no_bit(new_run: NewRun):
    """With dropout, whose random numbers are drawn again; the trial itself leaves nothing behind either."""
    found = []
    for name in ("usual", "none kept", "after a trial"):
        run, state = new_run(name, max_steps=3, dropout=0.1)
        if name == "none kept":
            keep_at_most(run.learner.model, 0)
        if name == "after a trial":
            assert "parts" not in limit_memory(run.learner, run.batches, PLENTY)
        found.append(losses_of(run, state))
    assert all(torch.equal(one, other) for steps in zip(*found, strict=True) for one, other in [steps[:2], steps[1:]])


def test_the_trial_is_made_on_the_samples_with_the_most_asvs(new_run: NewRun):
    run, _ = new_run("run", batch_size=4)
    samples = run.batches.samples
    richness = np.array([len(samples[0, row].asvs) for row in range(len(samples))])
    batch = run.batches.richest()
    assert sorted(batch.valid.sum(1).tolist()) == sorted(richness)[-4:]
    assert torch.equal(batch.tokens, run.batches.richest().tokens)


def test_a_resumed_run_is_in_the_same_parts_without_a_trial(new_run: NewRun):
    whole = losses_of(*new_run_in_parts(new_run, "whole", 4))
    run, state = new_run_in_parts(new_run, "run", 4)
    run.learner.kept, run.learner.planned_for = 0.25, 0.7
    stop = StopRequest()
    run.meter = EveryStep(stop, 2)
    with pytest.raises(Interrupted):
        train(run, state, stop)
    again, resumed = new_run("run", max_steps=4, resume=True)
    assert limit_memory(again.learner, again.batches, 0.7) == ""  # less than any process takes: nothing was tried
    assert (again.learner.parts, again.learner.kept, again.learner.planned_for) == (4, 0.25, 0.7)
    assert all(map(torch.equal, whole[2:], losses_of(again, resumed)))


def new_run_in_parts(new_run: NewRun, name: str, parts: int) -> tuple[TrainingRun, TrainState]:
    """A run of four steps whose batches are computed in parts."""
    run, state = new_run(name, max_steps=4)
    run.learner.parts = parts
    return run, state


def test_a_run_that_was_in_parts_is_never_in_fewer(new_run: NewRun):
    run, _ = new_run("run")
    run.learner.parts = 2
    limit_memory(run.learner, run.batches, PLENTY)
    assert run.learner.parts == 2


def test_too_little_memory_is_refused_with_what_is_needed(new_run: NewRun):
    run, _ = new_run("run")
    before = torch.get_rng_state()
    with pytest.raises(
        ConfigError,
        match=r"--max-memory 0.01: found in a trial that the process takes \d+\.\d\d GB for the 8 samples with the "
        r"most ASVs, in 4 parts; give it \d+\.?\d* or more, or use a smaller --batch-size",
    ):
        limit_memory(run.learner, run.batches, 0.01)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot begin a new peak of memory")
def test_a_new_peak_begins_and_the_old_one_is_remembered():
    held = torch.ones(100 * 2**20 // 4)
    del held
    highest = newest_peak(CPU)
    begin_peak(CPU)
    assert newest_peak(CPU) < highest - 50 * 2**20 and peak_memory(CPU) >= highest


@pytest.mark.parametrize("command", [["pretrain"], ["train", "--target", "age_months"]], ids=["pretrain", "train"])
def test_the_plan_and_the_run_say_what_it_takes(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = [*command, "--example", "--preset", "tiny", "--max-bp", "20", "--token-limit", "16", "--max-steps", "2"]
    options += ["--device", "cpu", "--max-memory", "100", "--output-dir", str(tmp_path / "run")]
    assert cli.main([*options, "--dry-run"]) == 0
    assert re.search(r"^memory +--max-memory 100: a step takes up to \d+\.\d\d GB$", capsys.readouterr().out, re.M)
    assert cli.main(options) == 0
    assert re.search(r"^--max-memory 100: a step takes up to \d+\.\d\d GB$", capsys.readouterr().err, re.M)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["config"]["run"]["max_memory"] == 100.0
