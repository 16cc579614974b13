"""A step for which memory does not suffice is made in parts; the batch stays the same."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from every_step import EveryStep
from processes import in_process

from aam.corpus.batches import split_batch
from aam.errors import Interrupted, NonFiniteError, OutOfMemoryError
from aam.health.guards import HALVED_BATCH
from aam.health.preflight import preflight
from aam.stopping import StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.probes import PretrainProbes
from aam.training.state import TrainState
from aam.training.step import Learner, step

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
ERRORS = [
    MemoryError("Unable to allocate 3.5 GiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to al"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 10 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("std::bad_alloc"),
]
ids = ["python", "torch", "cuda", "cublas", "c++"]


def limit_samples(learner: Learner, most: int, error: Exception) -> list[int]:
    """Let the model fail for batches of more samples; the list holds the sizes that it has seen."""
    seen: list[int] = []

    def refuse(model: Any, args: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled():
            seen.append(len(args[0].index))
            if seen[-1] > most:
                raise error

    learner.model.register_forward_pre_hook(refuse)
    return seen


@pytest.mark.parametrize("error", ERRORS, ids=ids)
def test_a_step_that_lacks_memory_is_made_in_halves_and_counted(
    new_run: NewRun, error: Exception, capsys: pytest.CaptureFixture[str]
):
    run, state = new_run("run", max_steps=3)
    seen = limit_samples(run.learner, most=4, error=error)
    train(run, state, StopRequest())
    assert seen == [8, 4, 4, 4, 4, 4, 4]  # tried once, then two halves in each of three steps
    assert run.health.interventions.counts == {HALVED_BATCH: 1} and run.learner.parts == 2
    told = capsys.readouterr().err
    assert told.startswith("step 1: not enough memory for samples 11402.") and "(8 samples, " in told
    assert "ASVs); from here on batches are computed in 2 parts" in told and told.count("\n") == 1


def test_the_gradient_of_the_parts_is_their_mean_by_samples(new_run: NewRun):
    """Five samples in two parts, of three and of two: 3/5 of the one loss and 2/5 of the other."""
    (whole, _), (parted, _) = (new_run(name, dropout=0.0, batch_size=5) for name in ("whole", "parted"))
    batch = whole.batches[0]
    first, second = split_batch(batch, 2)
    assert first.sample_ids + second.sample_ids == batch.sample_ids and len(first.sample_ids) == 3
    gradients, losses = [], []
    for part in (first, second):
        whole.learner.optimizer.zero_grad()
        output = whole.learner.model(whole.learner.objective.inputs(part))
        loss = whole.learner.objective.losses(output, part).total
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: p.grad for name, p in whole.learner.model.named_parameters() if p.grad is not None})
    parted.learner.parts = 2
    result = step(parted.learner, [batch], 0, 10)
    assert torch.allclose(result.terms[0], 0.6 * losses[0] + 0.4 * losses[1])
    mean = [0.6 * gradients[0][name] + 0.4 * gradients[1][name] for name in gradients[0]]
    assert torch.allclose(result.grad_norm, torch.nn.utils.get_total_norm(mean), rtol=1e-4)


def test_random_numbers_are_drawn_as_if_nothing_had_happened(new_run: NewRun):
    """With dropout: the step after a failed one equals the step of a run that was in parts from the start."""
    terms = []
    for parts in (1, 2):
        run, state = new_run(f"run {parts}", max_steps=2)
        limit_samples(run.learner, most=4, error=ERRORS[0])
        run.learner.parts = parts
        run.meter = EveryStep(StopRequest(), None)
        train(run, state, StopRequest())
        terms.append(torch.stack(run.meter.losses))
    assert torch.equal(*terms)


def test_a_resumed_run_stays_in_parts(new_run: NewRun, capsys: pytest.CaptureFixture[str]):
    losses: list[list[torch.Tensor]] = []
    for name, after, more in (("whole", None, {}), ("broken", 2, {}), ("broken", None, {"resume": True})):
        run, state = new_run(name, max_steps=4, **more)
        limit_samples(run.learner, most=2, error=ERRORS[1])
        stop = StopRequest()
        run.meter = EveryStep(stop, after)
        with nullcontext() if after is None else pytest.raises(Interrupted):
            train(run, state, stop)
        losses.append(run.meter.losses)
        assert run.learner.parts == 4 and run.health.interventions.counts == {HALVED_BATCH: 2}
    assert capsys.readouterr().err.count("not enough memory") == 4  # two halvings at each first start, none after
    whole, *broken = losses
    assert len(whole) == 4 and all(map(torch.equal, whole, [*broken[0], *broken[1]]))


def test_a_sample_that_does_not_fit_is_refused_by_name(new_run: NewRun):
    run, state = new_run("run", max_steps=3)
    limit_samples(run.learner, most=0, error=ERRORS[1])
    with pytest.raises(
        OutOfMemoryError, match=r"step 1: not enough memory for samples \S+ \(1 sample, \d+ ASVs\); use"
    ):
        train(run, state, StopRequest())


@pytest.mark.slow
def test_memory_that_ulimit_v_refuses_is_told_by_batch_and_halves_go_on(
    new_run: NewRun, capfd: pytest.CaptureFixture[str]
):
    """A step of 128 samples adds 290 MB to the address space of the process, one of 64 adds 150."""

    def work() -> None:
        torch.set_num_threads(1)
        run, state = new_run("run", max_steps=2, batch_size=128, branches=8192)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 215 * 10**6, resource.RLIM_INFINITY))
        train(run, state, StopRequest())
        assert run.health.interventions.counts == {HALVED_BATCH: 1} and run.learner.parts == 2 and state.step == 2

    assert in_process(work) == 0
    told = capfd.readouterr().err
    assert told.startswith("step 1: not enough memory for samples ") and "(128 samples, " in told
    assert "ASVs); from here on batches are computed in 2 parts" in told and told.count("\n") == 1


def test_an_evaluation_that_lacks_memory_loses_no_step(new_run: NewRun):
    """With more memory the run goes on, and begins with that evaluation."""

    def refuse(learner: Learner) -> dict[str, float]:
        raise ERRORS[1]

    run, state = new_run("run", evaluate=refuse, max_steps=3)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        train(run, state, StopRequest())
    again, resumed = new_run("run", max_steps=3, resume=True)
    assert resumed.step == 3 and resumed.unscored
    train(again, resumed, StopRequest())
    assert resumed.best_step == 3 and not resumed.unscored


def test_other_errors_are_not_taken_for_memory(new_run: NewRun):
    run, state = new_run("run", max_steps=3)
    limit_samples(run.learner, most=4, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(run, state, StopRequest())


class Detached:
    """An objective whose losses have no graph: of all terms, or only the sum."""

    def __init__(self, objective: Any, all_terms: bool):
        self.objective, self.all_terms = objective, all_terms

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objective, name)

    def losses(self, output: Any, batch: Any) -> Any:
        found = self.objective.losses(output, batch)
        terms = {name: term.detach() if self.all_terms else term for name, term in found.terms.items()}
        return type(found)(terms, found.total.detach())


@pytest.mark.parametrize(
    ("all_terms", "text"),
    [(True, "no weight that learns has made nucleotide, unifrac, .*detached"), (False, "their sum was detached")],
)
def test_a_loss_without_a_graph_is_told_in_words(new_run: NewRun, all_terms: bool, text: str):
    run, state = new_run("run", max_steps=3)
    run.learner.objective = Detached(run.learner.objective, all_terms)
    with pytest.raises(
        NonFiniteError, match=f"the loss has no gradient: .*{text}.*; samples 11402.*nothing was updated"
    ):
        train(run, state, StopRequest())


def test_the_preflight_tells_a_loss_without_a_graph_too(new_run: NewRun):
    from aam.training.preflight import TrialMaker

    run, _ = new_run("run", max_steps=3)
    run.learner.objective = Detached(run.learner.objective, True)
    maker = TrialMaker(PretrainProbes(run.config.loss), run.learner, [run.batches[number] for number in range(3)])
    failed = {check.name: check.detail for check in preflight(maker.make).failed}
    assert "the loss has no gradient" in failed["gradient reach"] and "the loss has no gradient" in failed["update"]
    assert not any("does not require grad" in detail for detail in failed.values())
