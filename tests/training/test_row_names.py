"""Rows of tensors get the names of the samples and ASVs they belong to, worked out by hand on two small batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from aam.config import LossConfig, tiny
from aam.corpus.dataset import Sample, collate_fn
from aam.health.operations import OUTSIDE
from aam.health.tracing import Place
from aam.models.chunks import LIMITS, Limits
from aam.models.pretrain_model import PretrainModel
from aam.training.places import RowNames

IDS = ["ash", "birch", "cedar", "dogwood", "elm"]
POOL, DROP = "asv_encoder.pooling.norm", "asv_encoder.transformer.blocks.0.drop"


def sample(name: str, asvs: list[int]) -> Sample:
    tokens = np.full((len(asvs), 11), 1, np.uint8)
    tokens[:, 0] = 5
    return Sample(name, np.array(asvs), tokens, np.ones(len(asvs), np.int64))


@pytest.fixture(scope="module")
def model() -> PretrainModel:
    return PretrainModel(tiny())


@pytest.fixture
def first():
    """Distinct ASVs birch, cedar, elm: 3; samples s1 and s2 in 2 slots each."""
    return collate_fn([sample("s1", [1, 4]), sample("s2", [1, 2])])


@pytest.fixture
def second():
    return collate_fn([sample("s3", [0])])


def place(module: str, shape: tuple[int, ...], row: int, call: int = 0) -> Place:
    return Place(module, call, "forward", shape, row)


def test_rows_of_the_asv_encoder_are_asvs(model, first) -> None:
    names = RowNames([first], IDS, model)
    assert names(place(POOL, (3, 32), 0)) == "ASV birch of s1, s2"
    assert names(place(POOL, (3, 32), 2)) == "ASV elm of s1"
    assert names(place("asv_encoder.transformer", (3, 31, 32), 1)) == "ASV cedar of s2"


def test_positions_and_heads_of_an_asv_share_its_name(model, first) -> None:
    names = RowNames([first], IDS, model)
    positions = model.asv_encoder.positions
    assert names(place("asv_encoder.transformer.norm", (3 * positions, 32), positions)) == "ASV cedar of s2"
    assert names(place("asv_encoder.transformer.norm", (3 * 2, 31, 31), 5)) == "ASV elm of s1"  # two heads


def test_later_calls_belong_to_later_batches(model, first, second) -> None:
    names = RowNames([first, second], IDS, model)
    # calls: distinct ASVs of the first batch, its masked ones (none here), then the second batch
    assert names(place(POOL, (1, 32), 0, call=2)) == "ASV ash of s3"
    assert names(place(DROP, (1, 31, 32), 0, call=5)) == "ASV ash of s3"  # a block drops twice a pass
    assert names(place("sample_encoder.pooling", (3, 1, 32), 0, call=1)) is None  # no three rows in this batch
    assert RowNames([second, first], IDS, model)(place("sample_encoder.pooling", (2, 2, 32), 1, call=1)) == "sample s2"
    assert names(place(POOL, (1, 32), 0, call=9)) is None


def test_reference_tips_are_encoded_behind_the_asvs(model, first) -> None:
    tips = {
        "reference_tips": torch.tensor([7, 40]), "reference_tokens": first.tokens[:2],
        "reference_masked_rows": torch.tensor([1]), "reference_masked_tokens": first.tokens[1:2],
        "reference_masked_at": torch.tensor([[0, 1], [0, 2], [0, 3], [0, 4]]),
    }  # fmt: skip
    names = RowNames([dataclasses.replace(first, **tips)], IDS, model)
    assert names(place(POOL, (5, 32), 2)) == "ASV elm of s1"
    assert names(place(POOL, (5, 32), 4)) == "tip 40 of the reference"
    assert names(place(POOL, (1, 32), 0, call=1)) == "tip 40 of the reference"  # the only masked row
    assert names(place(OUTSIDE, (4, 6), 3)) is None  # four slots, or four masked bases of tips
    assert names.meanings["tip 40 of the reference"].samples == ()


def test_large_batches_are_named_chunk_by_chunk(model, first, second, monkeypatch) -> None:
    positions, numbers = model.asv_encoder.cost(11)
    monkeypatch.setitem(LIMITS, "cpu", Limits(2 * positions, 2 * numbers))
    names = RowNames([first, second], IDS, model)
    # chunks of two ASVs: (birch, cedar), (elm), none masked, (elm) again in backward, then the second batch
    assert names(place(POOL, (2, 32), 1, call=0)) == "ASV cedar of s2"
    assert names(place(POOL, (1, 32), 0, call=1)) == "ASV elm of s1"
    assert names(place(POOL, (1, 32), 0, call=3)) == "ASV elm of s1"
    assert names(place(POOL, (1, 32), 0, call=4)) == "ASV ash of s3"
    with torch.no_grad():  # nothing is encoded again
        assert RowNames([first, second], IDS, model)(place(POOL, (1, 32), 0, call=3)) == "ASV ash of s3"


def test_rows_of_the_sample_encoder_are_samples_or_slots(model, first) -> None:
    names = RowNames([first], IDS, model)
    assert names(place("sample_encoder.pooling", (2, 2, 32), 1)) == "sample s2"
    assert names(place("hidden_asvs.sample", (2, 32), 0)) == "sample s1"
    # [B * S, D] and [B * heads, ...] are both of four rows here, so they stay unnamed in the sample encoder
    assert names(place("sample_encoder.norm", (4, 32), 3)) is None
    assert names(place("scalars.abundance", (4, 1), 1)) == "ASV elm of sample s1"
    assert names(place("latent_tree.tip", (3, 1), 1)) == "ASV cedar of s2"


def test_padding_is_called_padding(model) -> None:
    batch = collate_fn([sample("s1", [1, 4, 0]), sample("s3", [0])])
    names = RowNames([batch], IDS, model)
    assert names(place("scalars.abundance", (6, 1), 4)) == "padding of sample s3"


def test_no_name_is_better_than_a_wrong_one(model, first, second) -> None:
    both = RowNames([first, second], IDS, model)
    assert both(place("(outside the model)", (2, 2), 0)) is None  # calls outside the model are not counted
    assert RowNames([first], IDS, model)(place("(outside the model)", (2, 2), 0)) == "sample s1"
    assert both(place(POOL, (7, 32), 0)) is None
    assert both(place(POOL, (), 0)) is None


@pytest.mark.parametrize("kept", [0, 1, 9])
def test_the_passes_of_the_real_encoder_have_these_rows(model, kept, one_thread, monkeypatch) -> None:
    """The passes that names are given to are those the encoder makes, going forward and backward."""
    positions, numbers = model.asv_encoder.cost(11)
    monkeypatch.setitem(LIMITS, "cpu", Limits(2 * positions, kept * 2 * numbers))
    hiding = LossConfig(mask_ratio=0.5, masked_asvs=0.6, hidden_asvs=0.0, patristic_asvs=0)
    batch = collate_fn([sample("s1", [0, 1, 4]), sample("s2", [1, 2, 3])], hiding=hiding)
    rows: list[int] = []
    hook = model.asv_encoder.pooling.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    embeddings = model.asv_encoder.embed(batch.tokens)
    logits = model.asv_encoder.predict(batch.masked_tokens, batch.masked_at)
    (embeddings.sum() + logits.sum()).backward()
    hook.remove()
    found = [named.count for named in RowNames([batch], IDS, model).passes]
    assert rows == found
    again = {0: [2, 1, 2, 2, 1], 1: [1, 2, 1], 9: []}[kept]  # two masked chunks of three ASVs, three of five
    assert found == [2, 2, 1, 2, 1, *again]


def test_samples_of_like_size_are_named_chunk_by_chunk(model, one_thread, monkeypatch) -> None:
    """Samples of 1, 3 and 1 slots in chunks of 3 slots: s1 and s3, then s2, which is encoded again going backward."""
    monkeypatch.setitem(LIMITS, "cpu", Limits(3, 2 * model.sample_encoder.transformer.numbers(1)))
    batch = collate_fn([sample("s1", [0]), sample("s2", [1, 4, 2]), sample("s3", [3])])
    names = RowNames([batch], IDS, model)
    pool, norm = "sample_encoder.pooling", "sample_encoder.norm"
    assert names(place(pool, (2, 32), 1, call=0)) is None  # two slots too
    assert names(place(pool, (1, 32), 0, call=1)) == "sample s2"
    assert names(place(norm, (3, 32), 2, call=1)) == "ASV cedar of sample s2"
    assert names(place(pool, (1, 32), 0, call=2)) == "sample s2"
    rows: list[int] = []
    hook = model.sample_encoder.pooling.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    slots = torch.randn(3, 3, 32, generator=torch.Generator().manual_seed(0))
    model.sample_encoder(slots, batch.abundance, batch.valid).embeddings.sum().backward()
    hook.remove()
    assert rows == [2, 1, 1]
