"""Faults planted in real runs: what is found, and what is written down."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from spoilt_runs import BAD, ROW, SLOT, NewRun, close, finite, infinite_count, spoil, text_of
from torch import nn

from aam.checkpoint import load_checkpoint, save_checkpoint
from aam.corpus.dataset import Batch
from aam.errors import NonFiniteError
from aam.stopping import StopRequest
from aam.training.faults import TRAINING_STAGE
from aam.training.guard import HALVED
from aam.training.loop import train
from aam.training.sinks import JsonlSink


def rare_asv(batch: Batch) -> Batch:
    """One ASV of one sample is a thousandth of a read."""
    counts = batch.counts.clone()
    counts[ROW, SLOT] = 1e-3
    return dataclasses.replace(batch, counts=counts)


def test_an_infinite_count_stops_the_run_and_is_named(new_run: NewRun, capsys: pytest.CaptureFixture[str]):
    run, state = new_run("run", max_steps=6)
    seen = spoil(run, infinite_count)
    with pytest.raises(NonFiniteError, match=r"step 4: Inf already in a tensor handed in.*report.txt") as caught:
        train(run, state, StopRequest())
    assert caught.value.exit_code == 3 and state.step == BAD and finite(run)
    sample, column = seen[0].sample_ids[ROW], int(seen[0].asvs[seen[0].index[ROW, SLOT]])
    text, table = text_of(run), run.table
    wanted = [
        "step: 4", "epoch: 1", "micro-batch: 1 of 1", "cause", f"samples at fault\n  {sample}\n", table.asv_ids[column],
        table.sequences[column], "line: ", "dataset.py", "tensor: float32 [8, 16]", "pattern: element", "largest |x|",
        "updates so far: no weight can have moved further than ", "verdict: input",
    ]  # fmt: skip
    assert [part for part in wanted if part not in text and part != "cause"] == []
    terminal = capsys.readouterr().err
    assert sample in terminal and table.sequences[column][:20] in terminal and "report.txt" in terminal
    assert len(terminal.splitlines()) < 10 and "aam replay" in terminal


def test_a_sample_that_overflows_half_precision_alone(new_run: NewRun):
    """log(1e-6) / 5 = -2.8 times 30,000 is beyond fp16; the rarest ASV of the others, 1 in 3,500 reads, is not."""
    run, state = new_run(
        "run", max_steps=1, precision="fp16", on_fault="skip", quarantine_budget=0.5, intervention_budget=1.0
    )
    with torch.no_grad():
        run.learner.model.sample_encoder.abundance[0].weight.fill_(30000.0)
    seen = spoil(run, rare_asv, at=0)
    train(run, state, StopRequest())
    text, sample = text_of(run, 1), seen[0].sample_ids[ROW]
    assert text.startswith(f"verdict: precision ({sample})") and "fp32: survives" in text
    assert "module: sample_encoder.abundance.0" in text and f"ASV {run.health.names.ids[0][:4]}" in text
    assert run.health.ledger.lost("sample", TRAINING_STAGE) == {sample}


def test_a_loss_scale_that_is_too_large_is_no_fault(new_run: NewRun):
    run, state = new_run("run", max_steps=4, precision="fp16")
    run.learner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    run.health.interventions.budget = 0.5
    train(run, state, StopRequest())
    assert run.learner.scaler.get_scale() == 2.0**96 and run.health.interventions.total == 0  # still looking for one
    run.health.guard.scaled = True
    run.budget, state.done = dataclasses.replace(run.budget, steps=5), False
    train(run, state, StopRequest())
    assert run.health.interventions.counts == {HALVED: 1}


def test_a_weight_that_overflows_after_a_resume(new_run: NewRun, tmp_path: Path):
    """A checkpoint whose weights are finite, one of them huge: loading accepts it, the first step does not."""
    train(*new_run("run", max_steps=2), StopRequest())
    stored = load_checkpoint(tmp_path / "run" / "last")
    stored.model["sample_encoder.transformer.blocks.0.feed.0.weight"][0] = 3e38
    save_checkpoint(tmp_path / "run" / "last", stored)
    run, state = new_run("run", max_steps=5, resume=True)
    with pytest.raises(NonFiniteError, match=r"step 3: (NaN|Inf) .*sample_encoder.transformer.blocks.0.feed"):
        train(run, state, StopRequest())
    assert "cause: algorithm" in str(pytest.raises(NonFiniteError, train, run, state, StopRequest()).value)


def test_a_fault_that_does_not_happen_again_is_transient(new_run: NewRun):
    run, state = new_run("run", max_steps=4)
    calls: list[int] = []

    def once(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return output * math.nan if len(calls) == 2 else output

    run.learner.model.scalars.pd.register_forward_hook(once)
    with pytest.raises(NonFiniteError, match="step 2: .*cause: transient"):
        train(run, state, StopRequest())


def test_the_micro_batch_is_told(new_run: NewRun):
    run, state = new_run("run", max_steps=4, accumulate=3)
    seen = spoil(run, infinite_count, at=4)
    with pytest.raises(NonFiniteError, match="step 2: "):
        train(run, state, StopRequest())
    assert "micro-batch: 2 of 3" in text_of(run, 2) and f"samples at fault\n  {seen[0].sample_ids[ROW]}" in text_of(
        run, 2
    )


def test_the_last_steps_are_read_too(new_run: NewRun):
    run, state = new_run("run", max_steps=5, watch_every=4)
    spoil(run, infinite_count, at=4)
    with pytest.raises(NonFiniteError, match="step 5: "):
        train(run, state, StopRequest())


@pytest.mark.parametrize("switch", ["debug_finite", "anomaly_detect"])
def test_closer_looks_find_the_operation_at_once(new_run: NewRun, switch: str):
    run, state = new_run("run", max_steps=3, **{switch: True})
    run.learner.model.scalars.pd.register_forward_hook(lambda module, args, output: (output * 0.0).sqrt() * output)
    with pytest.raises(NonFiniteError, match="step 1: "):  # the derivative of the root at 0
        train(run, state, StopRequest())


def test_spikes_and_update_ratios_are_in_the_log(new_run: NewRun, tmp_path: Path):
    run, state = new_run("run", max_steps=30, lr=1e-5)
    run.sinks.append(JsonlSink(tmp_path / "log.jsonl"))
    spoil(run, lambda batch: dataclasses.replace(batch, faith_pd=batch.faith_pd * 1e9), at=25)
    train(run, state, StopRequest())
    close(run)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    spikes = [row for row in rows if row["kind"] == "spike"]
    assert {row["step"] for row in spikes} >= {26} and any("faith_pd" in row and row["sigmas"] > 6 for row in spikes)
    assert run.health.guard.spikes == len(spikes)
    trained = [row for row in rows if row["kind"] == "train"]
    assert any("update_ratio" in row for row in trained) and trained[-1]["spikes"] == len(spikes)
