"""What makes training fast changes nothing: distinct ASVs, packing, chunks, two stages, threads, and samples by size.

All are compared with every occurrence of an ASV encoded for itself, in one padded tensor, and all samples in another.

Outputs agree within 1e-5 and gradients within 1e-4 of their tensor's largest entry, in fp32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from generated_samples import HIDING, community, tiny_model
from torch import Tensor

from aam.config import LossConfig
from aam.corpus.dataset import Batch, collate_fn
from aam.models.asv_encoder import ASVEncoder, build_asv_encoder
from aam.models.chunked_encoder import Encoded
from aam.models.chunks import LIMITS, Limits
from aam.models.pretrain_model import PretrainModel
from aam.models.sample_encoder import EncodedSamples, SampleEncoder
from aam.training.losses import TargetScale
from aam.training.objective import PretrainObjective

LENGTH = 20
MODEL = tiny_model(LENGTH, patch=3)
OBJECTIVE = PretrainObjective(LossConfig(), TargetScale())


def every_occurrence(encoder: ASVEncoder, batch: Batch) -> Tensor:
    """Embeddings [U, D] as means over the occurrences of an ASV, each encoded for itself from padded [B, S, L]."""
    tokens = batch.tokens[batch.index] * batch.valid[..., None]
    occurrences, of = encoder(tokens)[batch.valid], batch.index[batch.valid]
    total = torch.zeros(len(batch.asvs), occurrences.shape[1]).index_add(0, of, occurrences)
    return total / torch.bincount(of)[:, None]


class Passed(NamedTuple):
    """Outputs and gradients of one pass over a fresh model, by name."""

    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor]


def passed(batch: Batch, plain: bool) -> Passed:
    torch.manual_seed(0)
    model = PretrainModel(MODEL)
    if plain:
        model.asv_encoder.embed = lambda tokens: every_occurrence(model.asv_encoder, batch)
        model.sample_encoder.forward = model.sample_encoder.encode
    output = model(OBJECTIVE.inputs(batch))
    OBJECTIVE.losses(output, batch).total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    outputs = {name: value for name, value in vars(output).items() if not name.startswith("reference_")}
    return Passed(outputs, gradients)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Samples that share much."""
    found = community(samples=6, asvs=25, richness=11, length=LENGTH).batch(range(6))
    assert found.valid.sum() > 2 * len(found.asvs)
    return found


@pytest.fixture(scope="module")
def plain(batch: Batch) -> Passed:
    return passed(batch, plain=True)


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize(("chunked", "kept"), [(False, 99), (False, 0), (True, 99), (True, 1), (True, 0)])
def test_the_fast_path_is_the_plain_one(
    batch: Batch, plain: Passed, chunked: bool, kept: int, threads: int, monkeypatch: pytest.MonkeyPatch
):
    """`kept` chunks of either kind keep their activations, the others are encoded again."""
    encoder = build_asv_encoder(MODEL)
    rows = 4 if chunked else len(batch.asvs)
    monkeypatch.setitem(LIMITS, "cpu", Limits(rows * encoder.positions, kept * rows * encoder.cost(LENGTH + 1).numbers))
    encoded: list[int] = []
    own_encode = ASVEncoder.encode

    def counted(self: ASVEncoder, tokens: Tensor, full: bool = False) -> Encoded:
        encoded.append(len(tokens))
        return own_encode(self, tokens, full)

    monkeypatch.setattr(ASVEncoder, "encode", counted)
    found = passed(batch, plain=False)
    again = sum(encoded) - len(batch.asvs) - len(batch.masked_rows)
    assert max(encoded) == (4 if chunked else len(batch.asvs))  # the path that was asked for
    assert (again == 0) == (kept == 99)
    if kept == 0:
        assert again == len(batch.asvs) + len(batch.masked_rows)
    check_same(batch, found, plain)


@pytest.mark.parametrize(
    ("kept", "threads"),
    [
        (99, 1),
        (2, 2),
        pytest.param(99, 2, marks=pytest.mark.slow),
        pytest.param(2, 1, marks=pytest.mark.slow),
        (0, 2),
        pytest.param(0, 1, marks=pytest.mark.slow),
    ],
    indirect=["threads"],
)
def test_samples_of_like_size_together_are_all_samples_at_once(
    kept: int, threads: int, monkeypatch: pytest.MonkeyPatch
):
    batch = uneven()
    wanted = passed(batch, plain=True)
    encoder = SampleEncoder(MODEL)
    encoded: list[tuple[int, ...]] = []
    own_encode = SampleEncoder.encode

    def counted(self: SampleEncoder, asvs: Tensor, *rest: Tensor) -> EncodedSamples:
        encoded.append(tuple(asvs.shape[:2]))
        return own_encode(self, asvs, *rest)

    monkeypatch.setattr(SampleEncoder, "encode", counted)
    monkeypatch.setitem(LIMITS, "cpu", Limits(24, kept * encoder.transformer.numbers(12)))
    found = passed(batch, plain=False)
    alike = [(4, 2), (3, 7), (1, 12)]  # 2, 2, 2, 2; 5, 6, 7 and 12 slots, 24 at most in one go
    assert sorted(encoded[:3]) == sorted(alike) and set(encoded) == set(alike)
    assert len(encoded) == {99: 3, 2: 5, 0: 6}[kept]
    check_same(batch, found, wanted)


def uneven() -> Batch:
    """Samples of 2, 12, 5, 2, 6, 2, 7 and 2 ASVs, none of them hidden as a whole."""
    many = community(samples=8, asvs=25, richness=12, length=LENGTH)
    sizes = (2, 12, 5, 2, 6, 2, 7, 2)
    samples = [many.dataset(size)[row] for row, size in enumerate(sizes)]
    hiding = dataclasses.replace(HIDING, hidden_asvs=0.1)
    batch = collate_fn(samples, many.targets(), hiding, np.random.default_rng(0))
    return dataclasses.replace(batch, hidden=torch.zeros_like(batch.hidden))


def check_same(batch: Batch, found: Passed, wanted: Passed) -> None:
    for name, value in wanted.outputs.items():
        real = ~torch.eye(len(value), dtype=torch.bool) if name == "patristic" else ...
        real = batch.valid if value.shape == batch.valid.shape else real
        torch.testing.assert_close(found.outputs[name][real], value[real], atol=1e-5, rtol=1e-5, msg=name)
    assert found.gradients.keys() == wanted.gradients.keys()
    largest = max(float(value.abs().max()) for value in wanted.gradients.values())
    for name, value in wanted.gradients.items():
        scale = max(float(value.abs().max()), 1e-3 * largest)  # biases of keys have no gradient but rounding
        assert float((found.gradients[name] - value).abs().max()) <= 1e-4 * scale, name
