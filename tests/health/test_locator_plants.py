"""The locator names the right module and operation for every fault planted in every model."""

from __future__ import annotations

import pytest
import torch
from planted import FAULTS, plant

from aam.health import locate

PARAMETER_FAULTS = {"NaN in a weight": float("nan"), "Inf in a weight": float("inf")}


def test_a_sound_model_raises_no_alarm(subject):
    report = locate(subject.model, subject.call, sample_ids=subject.ids)
    assert report.ok and report.producer is None and not report.samples
    assert report.headline().startswith("all finite in ")
    assert report.history[-1].module == "(model)" or report.history[-1].absmax > 0


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_named(subject, name):
    fault = FAULTS[name]
    wrong = []
    for path in subject.spots:
        fresh = type(subject)(*vars(subject).values())
        sound = fresh.model.get_submodule(path).forward
        plant(fresh.model, path, fault)
        report = locate(fresh.model, fresh.call, sample_ids=fresh.ids)
        fresh.model.get_submodule(path).forward = sound
        found = report.producer
        if found is None or (found.module, found.op) != (path, fault.op) or fault.phase not in (found.phase, "any"):
            wrong.append(f"{path}: {report.headline()}")
        elif "planted.py" not in found.line.file or not found.line.text:
            wrong.append(f"{path}: line {found.line}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", PARAMETER_FAULTS)
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
