"""The whole model: what batches may not change, what precision may not cost, and which heads there are."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from generated_samples import community, tiny_model
from torch import Tensor

from aam.models.pretrain_model import PretrainInputs, PretrainModel
from aam.training.objective import model_inputs

COMMUNITY = community(samples=6, asvs=40, richness=12)


def model(**changes: object) -> PretrainModel:
    torch.manual_seed(0)
    return PretrainModel(tiny_model(**changes))


def inputs(hidden: bool = True) -> PretrainInputs:
    """Samples of 12, 12, 8, 7, 6 and 5 slots."""
    batch = COMMUNITY.batch(range(6)) if hidden else COMMUNITY.batch(range(6), hiding=None)
    sizes = torch.tensor([12, 12, 8, 7, 6, 5])[:, None]
    return model_inputs(dataclasses.replace(batch, valid=batch.valid & (torch.arange(12) < sizes)))


def test_every_output_has_its_shape():
    given = inputs()
    output = vars(model()(given)).items()
    found = {name: tuple(tensor.shape) for name, tensor in output if tensor is not None}  # there are no reference tips
    masked, asvs, asked = len(given.masked_at), len(given.tokens), len(given.patristic_rows)
    assert found == {
        "nucleotides": (masked, 6), "unifrac": (6, 6), "euclidean": (6, 6), "patristic": (asked, asked),
        "membership": (6, asvs), "hidden_abundance": (6, 12), "slot_abundance": (6, 12), "faith_pd": (6,),
        "asvs": (asvs, 32), "samples": (6, 32),
    }  # fmt: skip


@pytest.mark.parametrize("head", ["latent-tree", "euclidean"])
def test_heads_that_are_off_predict_nothing(head: str):
    found = model(unifrac_head=head)(inputs())
    assert (found.unifrac is None, found.patristic is None) == ((head == "euclidean"),) * 2
    assert (found.euclidean is None) == (head == "latent-tree")


@pytest.mark.parametrize("metric", ["unweighted", "weighted_normalized"])
def test_junk_in_padding_changes_no_output_and_no_gradient(metric: str):
    found, given = model(unifrac_metric=metric), inputs()
    outputs = []
    for slot, amount in ((0, 0.0), (len(given.tokens) - 1, math.nan)):
        padded = dataclasses.replace(
            given,
            index=given.index.masked_fill(~given.valid, slot),
            abundance=given.abundance.masked_fill(~given.valid, amount),
            seen=given.seen ^ (~given.valid & (slot > 0)),
        )
        found.zero_grad()
        output = found(padded)
        of_samples = [output.unifrac, output.euclidean, output.samples, output.membership, output.faith_pd]
        of_slots = [output.hidden_abundance[given.valid], output.slot_abundance[given.valid]]
        sum(tensor.square().sum() for tensor in [*of_samples, *of_slots]).backward()
        gradients = [parameter.grad.clone() for parameter in found.parameters() if parameter.grad is not None]
        outputs.append([*of_samples, *of_slots, *gradients])
    for clean, junk in zip(*outputs, strict=True):
        torch.testing.assert_close(junk, clean, atol=1e-6, rtol=1e-5)
    for clean, junk in zip(outputs[0][:7], outputs[1][:7], strict=True):
        assert torch.equal(junk, clean)


def test_hidden_slots_are_not_seen():
    """What a hidden slot holds changes the sample embedding by exactly nothing."""
    found, given = model().eval(), inputs()
    hidden = given.valid & ~given.seen
    assert hidden.any()
    other = dataclasses.replace(
        given,
        index=torch.where(hidden, (given.index + 1) % len(given.tokens), given.index),
        abundance=torch.where(hidden, 0.9, given.abundance),
    )
    with torch.no_grad():
        assert torch.equal(found(other).samples, found(given).samples)
        assert not torch.equal(found(other).unifrac, found(given).unifrac)  # the tree sees whole samples


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_unifrac_and_tree_distances_are_computed_in_float32(dtype: torch.dtype):
    """From the embeddings of half precision on: differences of sums would lose 0.01 otherwise."""
    found, given = model().eval(), inputs()
    with torch.no_grad():
        with torch.autocast("cpu", dtype=dtype):
            output = found(given)
        unifrac, patristic = found._tree(output.asvs, given)
        points = found.euclidean.coordinates(output.samples)
        for half, exact in ((output.unifrac, unifrac), (output.patristic, patristic)):
            assert half.dtype == torch.float32 and torch.equal(half, exact)
        assert torch.equal(output.euclidean, found.euclidean(points, points))


def test_samples_from_embedded_asvs_are_those_of_the_whole_pass():
    found, given = model().eval(), inputs(hidden=False)
    with torch.no_grad():
        output = found(given)
        again = found.encode_samples(output.asvs, given.index, given.valid, given.abundance)
    torch.testing.assert_close(again.embeddings, output.samples, atol=1e-6, rtol=0)


def test_calibration_spreads_asvs_and_samples():
    found, given = model(), inputs()
    found.initialise_from(given)
    with torch.no_grad():
        output = found(given)
    spread: list[Tensor] = [output.asvs.std(0).mean(), output.samples.std(0).mean()]
    assert all(0.5 < float(value) < 1.5 for value in spread)
