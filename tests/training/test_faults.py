"""Faults planted in real runs: what is found, what is written down, and how the run goes on."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from aam.checkpoint import load_checkpoint, save_checkpoint
from aam.data.dataset import Batch
from aam.errors import Interrupted, NonFiniteError
from aam.health.bundle import load_bundle, save_bundle
from aam.health.ledger import Ledger
from aam.training.bundles import BUNDLE, open_bundle
from aam.training.faults import FAULTS, TRAINING
from aam.training.guard import HALVED, SKIPPED
from aam.training.loop import Run, train
from aam.training.replay import compare, replay, trace
from aam.training.signals import StopRequest
from aam.training.sinks import JsonlSink
from aam.training.state import TrainState

NewRun = Callable[..., tuple[Run, TrainState]]
GENEROUS = {"quarantine_budget": 0.5, "intervention_budget": 0.5}
BAD, ROW, SLOT = 3, 2, 1
"""The batch that is spoiled, counted from 0, and the sample and its ASV that are."""


def spoil(run: Run, change: Callable[[Batch], Batch], at: int = BAD) -> list[Batch]:
    """Let one batch of the run come in changed; the list holds it once it was drawn."""
    stream, seen = run.batches, []

    def batches(start: int) -> Iterator[Batch]:
        for number, batch in enumerate(stream(start), start):
            if number == at:
                batch = change(batch)
                seen.append(batch)
            yield batch

    run.batches = batches
    return seen


def infinite_count(batch: Batch) -> Batch:
    counts = batch.counts.clone()
    counts[ROW, SLOT] = math.inf
    return dataclasses.replace(batch, counts=counts)


def rare_asv(batch: Batch) -> Batch:
    """One ASV of one sample is a thousandth of a read."""
    counts = batch.counts.clone()
    counts[ROW, SLOT] = 1e-3
    return dataclasses.replace(batch, counts=counts)


def close(run: Run) -> None:
    for sink in run.sinks:
        sink.close()


def text_of(run: Run, step: int = BAD + 1) -> str:
    return (run.config.run.output_dir / FAULTS / f"step-{step}" / "report.txt").read_text()


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.learner.model.state_dict().items()}


def finite(run: Run) -> bool:
    moments = [t for entry in run.learner.optimizer.state_dict()["state"].values() for t in entry.values()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in (*weights(run).values(), *moments))


def test_an_infinite_count_stops_the_run_and_is_named(new_run: NewRun, capsys: pytest.CaptureFixture[str]):
    run, state = new_run("run", max_steps=6)
    seen = spoil(run, infinite_count)
    with pytest.raises(NonFiniteError, match=r"step 4: Inf already in a tensor handed in.*report.txt") as caught:
        train(run, state, StopRequest())
    assert caught.value.exit_code == 3 and state.step == BAD and finite(run)
    sample, column = seen[0].sample_ids[ROW], int(seen[0].asvs[seen[0].index[ROW, SLOT]])
    text, table = text_of(run), run.health.backing.table
    wanted = [
        "step: 4", "epoch: 1", "micro-batch: 1 of 1", "cause", f"samples at fault\n  {sample}\n", table.asv_ids[column],
        table.sequences[column], "line: ", "dataset.py", "tensor: float32 [8, 16]", "pattern: element", "largest |x|",
        "learning rates so far: sum ", "verdict: input",
    ]  # fmt: skip
    assert [part for part in wanted if part not in text and part != "cause"] == []
    terminal = capsys.readouterr().err
    assert sample in terminal and table.sequences[column][:20] in terminal and "report.txt" in terminal
    assert len(terminal.splitlines()) < 10 and "aam replay" in terminal


def test_a_skipped_step_loses_one_sample_and_the_account_is_exact(new_run: NewRun, tmp_path: Path):
    run, state = new_run("run", max_steps=40, on_fault="skip", **GENEROUS)
    run.sinks.append(JsonlSink(tmp_path / "log.jsonl"))
    seen = spoil(run, infinite_count)
    train(run, state, StopRequest())
    close(run)
    sample = seen[0].sample_ids[ROW]
    assert state.step == 40 and finite(run)
    stream, start = run.batches(0), TrainState()
    epoch = [name for _ in range(18) for batch in run.health.draw(stream, start).batches for name in batch.sample_ids]
    assert sample not in epoch and len(epoch) == 18 * 8 - 1  # 18 batches of 8, one of them without the sample
    ledger = Ledger.read(tmp_path / "run" / "ledger.jsonl")
    accounts = {(row.stage, row.item): (row.entered, row.kept, row.quarantined) for row in ledger.accounts()}
    assert accounts == {
        ("table", "sample"): (190, 188, 2),
        ("table", "asv"): (310, 310, 0),
        (TRAINING, "sample"): (150, 149, 1),
    }
    (loss,) = (loss for loss in ledger.losses if loss.stage == TRAINING)
    assert loss.id == sample and loss.facts["step"] == 4 and loss.facts["cause"] == "input" and not loss.planned
    assert "1 interventions in 40 steps (1 skipped step)" in run.health.line(40) and "149 kept + 1" in run.health.line(
        40
    )
    last = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()][-1]
    assert run.health.record(40)["interventions"] == {SKIPPED: 1}
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
    starts, stream = [], run.batches

    def batches(start: int) -> Iterator[Batch]:
        starts.append(start)
        return stream(start)

    run.batches = batches
    train(run, state, StopRequest())
    assert starts == [0, 2] and state.batches == 6  # the last checkpoint was that after two steps
    assert run.health.interventions.counts == {"rollback": 1} and finite(run)


def test_without_a_culprit_the_batch_is_left_out(new_run: NewRun):
    run, state = new_run("run", max_steps=6, on_fault="rollback", quarantine_budget=0.9, intervention_budget=0.5)
    seen = spoil(run, lambda batch: dataclasses.replace(batch, faith_pd=batch.faith_pd * math.nan))
    train(run, state, StopRequest())
    assert run.health.skipped == {BAD} and state.batches == 7 and state.step == 6
    stage = {row.stage: row for row in run.health.ledger.accounts()}["step 4"]
    assert (stage.entered, stage.kept) == (len(seen[0].sample_ids), 0)
    assert run.health.ledger.lost("sample", TRAINING) == set()


@pytest.mark.parametrize(
    ("budgets", "text"),
    [
        ({"quarantine_budget": 0.5}, r"1 interventions in 6 steps \(1 skipped step\): above the budget of 0.100%"),
        ({"intervention_budget": 0.5}, r"1 of 190 samples are quarantined, above the budget of 0.00%"),
    ],
)
def test_budgets_stop_a_run(new_run: NewRun, budgets: dict[str, float], text: str):
    run, state = new_run("run", max_steps=6, on_fault="skip", **budgets)
    spoil(run, infinite_count)
    with pytest.raises(NonFiniteError, match=text) as caught:
        train(run, state, StopRequest())
    assert caught.value.exit_code == 3


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
    assert run.health.ledger.lost("sample", TRAINING) == {sample}


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


def test_skipping_cannot_help_against_a_bad_weight(new_run: NewRun):
    run, state = new_run("run", max_steps=4, on_fault="skip", **GENEROUS)
    with torch.no_grad():
        run.learner.model.scalars.pd.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="cause: parameter; skipping cannot help"):
        train(run, state, StopRequest())
    assert "scalars.pd.weight" in text_of(run, 1)


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


def test_noticed_late_but_never_applied(new_run: NewRun):
    """With a read every fourth step the device itself leaves the bad update out."""
    run, state = new_run("run", max_steps=8, watch_every=4, on_fault="skip", **GENEROUS)
    seen = spoil(run, infinite_count, at=1)
    train(run, state, StopRequest())
    assert finite(run) and "noticed: 2 updates later" in text_of(run, 2)
    assert run.health.ledger.lost("sample", TRAINING) == {seen[0].sample_ids[ROW]}


def test_the_last_steps_are_read_too(new_run: NewRun):
    run, state = new_run("run", max_steps=5, watch_every=4)
    spoil(run, infinite_count, at=4)
    with pytest.raises(NonFiniteError, match="step 5: "):
        train(run, state, StopRequest())


def infinite_gradient(run: Run) -> None:
    run.learner.model.hidden_asvs.rare.weight.register_hook(lambda gradient: gradient + math.inf)


def test_sanitised_gradients_are_counted(new_run: NewRun):
    run, state = new_run("run", max_steps=3, sanitize_grads=True, intervention_budget=1.0)
    infinite_gradient(run)
    train(run, state, StopRequest())
    assert run.health.interventions.counts == {"sanitised gradient": 3} and finite(run)


@pytest.mark.parametrize("switch", ["debug_finite", "anomaly_detect"])
def test_closer_looks_find_the_operation_at_once(new_run: NewRun, switch: str):
    run, state = new_run("run", max_steps=3, **{switch: True})
    run.learner.model.scalars.pd.register_forward_hook(lambda module, args, output: (output * 0.0).sqrt() * output)
    with pytest.raises(NonFiniteError, match="step 1: "):  # the derivative of the root at 0
        train(run, state, StopRequest())


def test_clamped_blocks_are_counted(new_run: NewRun):
    run, state = new_run("run", max_steps=2, safe_clamp=True, intervention_budget=1.0)
    with torch.no_grad():
        run.learner.model.sample_encoder.transformer.blocks[0].feed[2].bias.fill_(1e6)
    train(run, state, StopRequest())
    assert run.health.interventions.counts == {"clamp": 2}


def test_a_healthy_step_is_made_again_in_another_process(new_run: NewRun, tmp_path: Path):
    run, state = new_run("run", max_steps=4, bundle_step=3, accumulate=2)
    train(run, state, StopRequest())
    path = tmp_path / "run" / "bundles" / "step-3" / BUNDLE
    bundle = open_bundle(path, torch.device("cpu"))
    assert bundle.config.model.dropout == 0.2 and trace(bundle).report.ok
    assert all(row.same for row in compare(bundle.outcome, replay(bundle)))
    done = subprocess.run([sys.executable, "-m", "aam", "replay", str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("same bits") == 3, done.stdout + done.stderr
    content = load_bundle(path)
    content["model"]["scalars.pd.weight"] += 1e-7
    changed = open_bundle(save_bundle(tmp_path / "changed.safetensors", content), torch.device("cpu"))
    assert not all(row.same for row in compare(bundle.outcome, replay(changed)))


def test_a_fault_is_made_again_from_its_bundle(new_run: NewRun, tmp_path: Path):
    run, state = new_run("run", max_steps=6)
    seen = spoil(run, infinite_count)
    with pytest.raises(NonFiniteError):
        train(run, state, StopRequest())
    bundle = open_bundle(tmp_path / "run" / FAULTS / "step-4" / BUNDLE, torch.device("cpu"))
    fault = trace(bundle)
    assert fault.verdict.cause == "input" and fault.samples == (seen[0].sample_ids[ROW],)
    again = replay(bundle)
    assert not again.updated and all(row.same for row in compare(bundle.outcome, again))


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
