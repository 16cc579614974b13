"""What a run does about a fault: skip, roll back, mend in an emergency, or stop where a budget is spent."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from every_step import EveryStep
from spoilt_runs import BAD, GENEROUS, ROW, NewRun, close, finite, infinite_count, spoil, text_of, weights

from aam.errors import Interrupted, NonFiniteError
from aam.health.ledger import Ledger
from aam.stopping import StopRequest
from aam.training.faults import TRAINING_STAGE
from aam.training.guard import SKIPPED
from aam.training.loop import TrainingRun, train
from aam.training.sinks import JsonlSink
from aam.training.state import TrainState


def test_a_skipped_step_loses_one_sample_and_the_account_is_exact(new_run: NewRun, tmp_path: Path):
    run, state = new_run("run", max_steps=20, on_fault="skip", **GENEROUS)
    run.sinks.append(JsonlSink(tmp_path / "log.jsonl"))
    seen = spoil(run, infinite_count)
    train(run, state, StopRequest())
    close(run)
    sample = seen[0].sample_ids[ROW]
    assert state.step == 20 and finite(run)
    stream, start = run.stream(0), TrainState()
    epoch = [name for _ in range(18) for batch in run.health.draw(stream, start).batches for name in batch.sample_ids]
    assert sample not in epoch and len(epoch) == 18 * 8 - 1  # 18 batches of 8, one of them without the sample
    ledger = Ledger.read(tmp_path / "run" / "ledger.jsonl")
    accounts = {(row.stage, row.item): (row.entered, row.kept, row.quarantined) for row in ledger.accounts()}
    assert accounts == {
        ("table", "sample"): (190, 188, 2),
        ("table", "asv"): (310, 310, 0),
        (TRAINING_STAGE, "sample"): (150, 149, 1),
    }
    (loss,) = (loss for loss in ledger.losses if loss.stage == TRAINING_STAGE)
    assert loss.id == sample and loss.facts["step"] == 4 and loss.facts["cause"] == "input" and not loss.planned
    line = run.health.line(20)
    assert "1 intervention in 20 steps (1 skipped step)" in line and "149 kept + 1" in line
    last = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()][-1]
    assert run.health.record(20)["interventions"] == {SKIPPED: 1}
    assert last["kind"] == "validation" or (last["interventions"], last["quarantined"]) == (1, 1)


def test_a_run_that_skipped_goes_on_bitwise_after_an_interruption(new_run: NewRun):
    options: dict[str, Any] = {"max_steps": 8, "on_fault": "skip", **GENEROUS}
    whole = new_run("whole", **options)
    spoil(whole[0], infinite_count)
    train(*whole, StopRequest())
    broken, stop = new_run("broken", **options), StopRequest()
    spoil(broken[0], infinite_count)
    save = broken[0].save

    def save_and_stop(state: TrainState, name: str) -> Path:
        stop.requested = state.step == BAD + 2  # right after the skipped step
        return save(state, name)

    broken[0].save = save_and_stop
    broken[0].config = dataclasses.replace(
        broken[0].config, run=dataclasses.replace(broken[0].config.run, eval_every=BAD + 2)
    )
    with pytest.raises(Interrupted):
        train(*broken, stop)
    again = new_run("broken", resume=True, **options)
    assert again[0].health.interventions.counts == {SKIPPED: 1}
    train(*again, StopRequest())
    assert all(torch.equal(tensor, weights(whole[0])[name]) for name, tensor in weights(again[0]).items())
    assert again[0].health.line(8) == whole[0].health.line(8)


def test_rollback_goes_back_to_the_last_checkpoint_and_leaves_the_sample_out(new_run: NewRun):
    run, state = new_run("run", max_steps=6, on_fault="rollback", eval_every=2, **GENEROUS)
    spoil(run, infinite_count)
    train(run, state, StopRequest())
    assert run.batches.starts == [0, 2] and state.batches == 6  # the last checkpoint was that after two steps
    assert run.health.interventions.counts == {"rollback": 1} and finite(run)


def test_without_a_culprit_the_batch_is_left_out(new_run: NewRun):
    run, state = new_run("run", max_steps=6, on_fault="rollback", quarantine_budget=0.9, intervention_budget=0.5)
    seen = spoil(run, lambda batch: dataclasses.replace(batch, faith_pd=batch.faith_pd * math.nan))
    train(run, state, StopRequest())
    assert run.health.skipped == {BAD} and state.batches == 7 and state.step == 6
    stage = {row.stage: row for row in run.health.ledger.accounts()}["step 4"]
    assert (stage.entered, stage.kept) == (len(seen[0].sample_ids), 0)
    assert run.health.ledger.lost("sample", TRAINING_STAGE) == set()


@pytest.mark.parametrize(
    ("budgets", "text"),
    [
        ({"quarantine_budget": 0.5}, r"1 intervention in 6 steps \(1 skipped step\): above the budget of 0.100%"),
        ({"intervention_budget": 0.5}, r"1 of 190 samples are quarantined, above the budget of 0.00%"),
    ],
)
def test_budgets_stop_a_run(new_run: NewRun, budgets: dict[str, float], text: str):
    run, state = new_run("run", max_steps=6, on_fault="skip", **budgets)
    spoil(run, infinite_count)
    with pytest.raises(NonFiniteError, match=text) as caught:
        train(run, state, StopRequest())
    assert caught.value.exit_code == 3


def test_skipping_cannot_help_against_a_bad_weight(new_run: NewRun):
    run, state = new_run("run", max_steps=4, on_fault="skip", **GENEROUS)
    with torch.no_grad():
        run.learner.model.scalars.pd.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="cause: parameter; skipping cannot help"):
        train(run, state, StopRequest())
    assert "scalars.pd.weight" in text_of(run, 1)


def test_noticed_late_but_never_applied(new_run: NewRun):
    """With a read every fourth step the device itself leaves the bad update out."""
    run, state = new_run("run", max_steps=8, watch_every=4, on_fault="skip", **GENEROUS)
    seen = spoil(run, infinite_count, at=1)
    train(run, state, StopRequest())
    assert finite(run) and "noticed: 2 updates later" in text_of(run, 2)
    assert run.health.ledger.lost("sample", TRAINING_STAGE) == {seen[0].sample_ids[ROW]}


@pytest.mark.parametrize("interrupted", [pytest.param(False, marks=pytest.mark.slow), True])
def test_steps_that_are_unread_are_read_before_a_checkpoint_takes_them(new_run: NewRun, interrupted: bool):
    """At the end of a run and where it is stopped, so that a resumed one knows of them; only the bad step is lost."""
    run, state = new_run("run", max_steps=3, watch_every=9, on_fault="skip", **GENEROUS)
    seen, stop = spoil(run, infinite_count, at=1), StopRequest()
    if interrupted:
        run.meter = EveryStep(stop, 2)
        with pytest.raises(Interrupted, match="after step 2"):
            train(run, state, stop)
        run, state = new_run("run", max_steps=3, watch_every=9, on_fault="skip", resume=True, **GENEROUS)
    train(run, state, stop if not interrupted else StopRequest())
    assert run.health.ledger.lost("sample", TRAINING_STAGE) == {seen[0].sample_ids[ROW]} and finite(run)
    assert run.health.interventions.counts == {"skipped step": 1}
    alone, at = new_run("alone", max_steps=3, on_fault="skip", **GENEROUS)
    spoil(alone, infinite_count, at=1)
    train(alone, at, StopRequest())
    assert all(torch.equal(tensor, weights(alone)[name]) for name, tensor in weights(run).items())


def infinite_gradient(run: TrainingRun) -> None:
    run.learner.model.hidden_asvs.rare.weight.register_hook(lambda gradient: gradient + math.inf)


def test_sanitised_gradients_are_counted(new_run: NewRun):
    run, state = new_run("run", max_steps=3, sanitize_grads=True, intervention_budget=1.0)
    infinite_gradient(run)
    train(run, state, StopRequest())
    assert run.health.interventions.counts == {"sanitised gradient": 3} and finite(run)


def test_clamped_blocks_are_counted(new_run: NewRun):
    run, state = new_run("run", max_steps=2, safe_clamp=True, intervention_budget=1.0)
    with torch.no_grad():
        run.learner.model.sample_encoder.transformer.blocks[0].feed[2].bias.fill_(1e6)
    train(run, state, StopRequest())
    assert run.health.interventions.counts == {"clamp": 2}
