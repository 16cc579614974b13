"""The locator names the right module and operation for every fault planted in every model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from planted import FAULTS, Fault, plant
from subjects import SUBJECTS, Subject

from aam.health import locate

PARAMETER_FAULTS = {"NaN in a weight": float("nan"), "Inf in a weight": float("inf")}


def test_a_sound_model_raises_no_alarm(subject):
    report = locate(subject.model, subject.call, sample_ids=subject.ids)
    assert report.ok and report.producer is None and not report.samples
    assert report.headline().startswith("all finite in ")
    assert report.history[-1].module == "(model)" or report.history[-1].absmax > 0


def judge(subject: Subject, path: str, fault: Fault) -> str:
    """What is wrong with the report about a fault at a module; empty if it is named."""
    sound = subject.model.get_submodule(path).forward
    plant(subject.model, path, fault)
    report = locate(subject.model, subject.call, sample_ids=subject.ids)
    subject.model.get_submodule(path).forward = sound
    found = report.producer
    if found is None or (found.module, found.op) != (path, fault.op) or fault.phase not in (found.phase, "any"):
        return f"{path}: {report.headline()}"
    return "" if "planted.py" in found.line.file and found.line.text else f"{path}: line {found.line}"


def usual_places() -> Iterator[tuple[str, str, int]]:
    """Model, fault and number of the module: each fault in the model of the package and in one other, in turn."""
    others = [kind for kind in SUBJECTS if kind != "own"]
    for number, name in enumerate(FAULTS):
        for kind in ("own", others[number % len(others)]):
            yield kind, name, number


@pytest.mark.parametrize(("kind", "name", "number"), list(usual_places()))
def test_planted_fault_is_named(kind: str, name: str, number: int):
    subject = SUBJECTS[kind]()
    assert judge(subject, subject.spots[number % len(subject.spots)], FAULTS[name]) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_named_in_every_model_and_module(subject, name):
    assert [found for path in subject.spots if (found := judge(subject, path, FAULTS[name]))] == []


@pytest.mark.parametrize("name", ["NaN in a weight", pytest.param("Inf in a weight", marks=pytest.mark.slow)])
def test_bad_parameter_is_named_before_any_operation(subject, name):
    names = [name for name, p in subject.model.named_parameters() if p.dim() > 1]
    for parameter in names[:: max(1, len(names) // 3)]:
        tensor = subject.model.get_parameter(parameter).data
        kept = tensor.clone()
        tensor.view(-1)[-1] = PARAMETER_FAULTS[name]
        report = locate(subject.model, subject.call)
        tensor.copy_(kept)
        assert report.bad_parameters == (parameter,)
        if report.producer is not None:  # an embedding row that no token asks for is never used
            assert report.producer.name == parameter


def test_gradients_and_parameters_are_left_alone(subject):
    subject.call().backward()
    kept = [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in subject.model.parameters()]
    locate(subject.model, subject.call)
    for p, (value, gradient) in zip(subject.model.parameters(), kept, strict=True):
        assert torch.equal(p, value)
        assert (p.grad is None) == (gradient is None) and (gradient is None or torch.equal(p.grad, gradient))
