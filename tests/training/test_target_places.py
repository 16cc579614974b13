"""Rows of a fine-tuned model get the names of the ASVs and samples they belong to, in reports of real faults too."""

from __future__ import annotations

import pytest
import torch
from built_learner import Built, built
from torch import Tensor

from aam.health.bundle import random_state
from aam.health.tracing import Place
from aam.training.bundles import AsvNames, Attempt
from aam.training.diagnosis import Diagnosis, diagnose, full_text
from aam.training.places import TargetRowNames

ROW = 2


@pytest.fixture(scope="module")
def run() -> Built:
    return built(batch_size=6, head_members=4)


def names_of(run: Built) -> AsvNames:
    return AsvNames(run.study.table.asv_ids, run.study.table.sequences)


def diagnosed(run: Built, path: str) -> tuple[Diagnosis, str]:
    """The fault of a step in which row `ROW` of what this module puts out, or its first output, is not finite."""

    def spoil(module: object, given: object, output: Tensor) -> Tensor:
        bad = torch.zeros(len(output)).index_fill(0, torch.tensor([ROW]), 1.0)
        return output / (1.0 - bad).view(-1, *(1,) * (output.dim() - 1))

    handle = run.learner.model.get_submodule(path).register_forward_hook(spoil)
    try:
        fault = diagnose(run.learner, Attempt(0, 10, (run.batches[0],), random_state()), names_of(run))
    finally:
        handle.remove()
    return fault, full_text(fault, names_of(run), {})


def test_an_asv_at_fault_is_named_with_its_carriers(run: Built):
    fault, text = diagnosed(run, "encoder.asv_encoder.pooling")
    (column,), batch = fault.asvs, run.batches[0]
    carriers = ((batch.asvs[batch.index] == column) & batch.valid).any(dim=1)
    first = next(name for name, here in zip(batch.sample_ids, carriers, strict=True) if here)
    assert f"ASV {run.study.table.asv_ids[column]} of {first}" in text and run.study.table.sequences[column] in text


def test_a_sample_at_fault_is_named_and_no_other(run: Built):
    fault, _ = diagnosed(run, "encoder.sample_encoder.pooling")
    (name,) = fault.report.samples
    assert name in {f"sample {sample}" for sample in run.batches[0].sample_ids} and fault.asvs == ()


def test_the_head_holds_all_samples_once_for_each_member(run: Built):
    names = TargetRowNames([run.batches[0]], names_of(run).ids, run.learner.model)
    ids = run.batches[0].sample_ids
    assert names(Place("(outside the model)", 0, "forward", (24, 1), 6 + ROW)) == f"sample {ids[ROW]}"
    assert names(Place("head.covariates", 0, "forward", (6, 0), ROW)) == f"sample {ids[ROW]}"
    assert names(Place("head", 0, "forward", (4, 6, 1, 1), 1)) is None
    names.members = 6
    assert names(Place("head", 0, "forward", (6, 6, 1, 1), 1)) is None  # members or samples: nobody can tell
