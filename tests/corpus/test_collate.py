"""Batches: distinct ASVs once, slots that point to them, nothing hidden that must be seen, targets of the drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from generated_samples import HIDING, Community, community, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from aam import vocab
from aam.config import LossConfig
from aam.corpus.dataset import Batch, Sample, collate_fn, hide_slots, mask_bases
from aam.errors import EmptySampleError
from aam.models.pretrain_model import PretrainModel
from aam.training.objective import model_inputs

A, C, G, T, START, PAD, MASK = vocab.A, vocab.C, vocab.G, vocab.T, vocab.START, vocab.PAD, vocab.MASK
ROWS = {2: [START, A, A], 5: [START, C, PAD], 9: [START, G, MASK]}
"""Tokens of the three ASVs, columns 2, 5 and 9 of some table."""


def sample(name: str, counts: dict[int, float]) -> Sample:
    tokens = np.array([ROWS[asv] for asv in counts], dtype=np.uint8).reshape(len(counts), 3)
    return Sample(name, np.array(list(counts), dtype=np.int64), tokens, np.array(list(counts.values())))


def test_a_batch_by_hand():
    batch = collate_fn([sample("s", {2: 3, 9: 1}), sample("t", {5: 4}), sample("u", {2: 1, 5: 1, 9: 2})])
    assert batch.sample_ids == ["s", "t", "u"]
    assert batch.asvs.tolist() == [2, 5, 9] and batch.tokens.tolist() == [ROWS[2], ROWS[5], ROWS[9]]
    assert batch.valid.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert batch.index.tolist() == [[0, 2, 0], [1, 0, 0], [0, 1, 2]]
    assert batch.counts.tolist() == [[3, 1, 0], [4, 0, 0], [1, 1, 2]]
    assert batch.abundance.tolist() == [[0.75, 0.25, 0], [1, 0, 0], [0.25, 0.25, 0.5]]
    assert not batch.hidden.any() and not batch.uncounted.any() and not len(batch.masked_rows)
    assert batch.unifrac is batch.faith_pd is batch.patristic is batch.patristic_rows is None


@pytest.mark.parametrize(
    ("counts", "text"),
    [({}, "(num_asvs=0, counts_sum=0)"), ({2: 0, 5: 0}, "(num_asvs=2, counts_sum=0)")],
)
def test_a_sample_without_counts_is_refused_by_name(counts: dict[int, int], text: str):
    with pytest.raises(ValueError, match="has no ASVs") as caught:
        collate_fn([sample("s", {2: 3}), sample("t", counts)])
    assert isinstance(caught.value, EmptySampleError)
    assert str(caught.value) == f"Sample t has no ASVs with count > 0 {text}"


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_counts_that_are_no_counts_are_refused(wrong: float):
    with pytest.raises(ValueError, match="Sample t has counts that are negative, NaN or infinite"):
        collate_fn([sample("s", {2: 3}), sample("t", {2: 3, 5: wrong})])


def test_asvs_that_would_be_padding_are_refused():
    with pytest.raises(ValueError, match="Sample t carries ASVs with count 0 or without a sequence"):
        collate_fn([sample("t", {2: 3, 5: 0})])
    empty = sample("t", {2: 3})._replace(tokens=np.zeros((1, 3), np.uint8))
    with pytest.raises(ValueError, match="Sample t carries ASVs with count 0 or without a sequence"):
        collate_fn([empty])


def test_targets_are_those_of_what_was_drawn():
    """UniFrac of the cut and rarefied samples, not of the whole ones."""
    found = community(samples=5, asvs=40, richness=20)
    samples = [found.dataset(6, depth=50)[3, row] for row in range(5)]
    batch = collate_fn(samples, found.targets(), HIDING, np.random.default_rng(0))
    true = found.targets()([s.sample_id for s in samples], [s.asvs for s in samples], [s.counts for s in samples])
    torch.testing.assert_close(batch.unifrac, torch.from_numpy(true.unifrac).float())
    torch.testing.assert_close(batch.faith_pd, torch.from_numpy(true.faith_pd).float())
    between = found.targets().patristic(batch.asvs[batch.patristic_rows].numpy())
    torch.testing.assert_close(batch.patristic, torch.from_numpy(between).float())


def test_batches_move_as_a_whole():
    batch = community(samples=3, asvs=20, richness=6).batch(range(3))
    moved = batch.to("meta")
    for field in dataclasses.fields(Batch):
        value = getattr(moved, field.name)
        if not field.name.startswith("reference_"):  # None without a reference
            assert field.name == "sample_ids" or value.device.type == "meta", field.name
    assert moved.sample_ids == batch.sample_ids


def test_junk_in_padding_has_no_part_in_abundances():
    batch = community(samples=3, asvs=20, richness=6).batch(range(3))
    batch = dataclasses.replace(batch, valid=batch.valid & (torch.arange(6) < 4))
    clean = dataclasses.replace(batch, counts=batch.counts * batch.valid)
    dirty = dataclasses.replace(batch, counts=batch.counts.masked_fill(~batch.valid, float("nan")))
    assert torch.equal(dirty.abundance, clean.abundance)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    fraction=st.floats(0.0, 0.4),
    seed=st.integers(0, 2**32),
)
def test_hiding_never_empties_a_sample(sizes: list[int], fraction: float, seed: int):
    valid = np.arange(max(sizes)) < np.array(sizes)[:, None]
    hidden, uncounted = hide_slots(valid, LossConfig(hidden_asvs=fraction), np.random.default_rng(seed))
    assert not (hidden & uncounted).any() and not ((hidden | uncounted) & ~valid).any()
    assert (valid & ~hidden & ~uncounted).any(axis=1).all()
    quota = [int(size * fraction) for size in sizes]
    assert hidden.sum(axis=1).tolist() == uncounted.sum(axis=1).tolist() == quota


@given(ratio=st.floats(0.01, 0.9), rows=st.floats(0.0, 1.0), seed=st.integers(0, 2**32))
def test_only_bases_are_masked_and_asked_back(ratio: float, rows: float, seed: int):
    rng = np.random.default_rng(seed)
    tokens = rng.choice([A, C, G, T, MASK, PAD], (7, 9)).astype(np.uint8)
    tokens[:, 0] = START
    masked = mask_bases(tokens, LossConfig(mask_ratio=ratio, masked_asvs=rows), rng)
    before = tokens[masked["masked_rows"]]
    assert len(set(masked["masked_rows"].tolist())) == len(before) == int(np.ceil(rows * 7))
    row, position = masked["masked_at"].T
    assert np.isin(masked["masked_bases"], [A, C, G, T]).all()
    assert np.array_equal(masked["masked_bases"], before[row, position])
    # what is asked is hidden, and nothing else has changed
    wanted = before.copy()
    wanted[row, position] = MASK
    assert np.array_equal(masked["masked_tokens"], wanted)


def test_as_many_bases_are_masked_as_was_asked_for():
    tokens = np.full((200, 101), A, dtype=np.uint8)
    tokens[:, 0] = START
    masked = mask_bases(tokens, LossConfig(mask_ratio=0.15, masked_asvs=1.0), np.random.default_rng(0))
    assert len(masked["masked_at"]) / 20_000 == pytest.approx(0.15, abs=0.01)


def generated(rng: np.random.Generator) -> tuple[Community, int | None, int | None]:
    """A community with few reads and many shapes: richness down to 1, limits and depths that cut or do not."""
    asvs = int(rng.integers(2, 30))
    found = community(int(rng.integers(2, 9)), asvs, int(rng.integers(1, asvs + 1)), 6, int(rng.integers(2**31)))
    limit = [None, 1, 2, int(rng.integers(1, 40))][rng.integers(4)]
    return found, limit, [None, 1, int(rng.integers(1, 200))][rng.integers(3)]


@pytest.mark.parametrize(
    "communities", [40, pytest.param(500, marks=pytest.mark.slow)], ids=["800 batches", "10_000 batches"]
)
def test_batches_have_a_key_in_every_row(communities: int):
    """No sample without a slot the model may look at, no ASV without a token, no count below 0, targets in 0 ... 1."""
    rng = np.random.default_rng(0)
    for _ in range(communities):
        found, limit, depth = generated(rng)
        samples, targets = found.dataset(limit, depth), found.targets()
        hiding = LossConfig(
            mask_ratio=rng.uniform(0.01, 0.9),
            masked_asvs=rng.uniform(),
            hidden_asvs=rng.uniform(0, 0.4),
            patristic_asvs=8,
        )
        for epoch in range(20):
            rows = rng.choice(len(samples), int(rng.integers(1, len(samples) + 1)), replace=False)
            batch = collate_fn([samples[epoch, int(row)] for row in rows], targets, hiding, rng)
            arrays = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name != "sample_ids"}
            seen = {name: value.numpy() for name, value in arrays.items() if not name.startswith("reference_")}
            valid = seen["valid"]
            assert (valid & ~seen["hidden"] & ~seen["uncounted"]).any(axis=1).all()
            assert (seen["tokens"] != PAD).any(axis=1).all() and (seen["masked_tokens"] != PAD).any(axis=1).all()
            assert (seen["counts"][valid] > 0).all() and not seen["counts"][~valid].any()
            assert seen["index"].max() < len(seen["asvs"]) and valid.shape[1] <= (limit or 10**9)
            assert ((seen["unifrac"] >= 0) & (seen["unifrac"] <= 1)).all() and (seen["faith_pd"] > 0).all()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_generated_batches_go_through_the_model(seed: int):
    rng = np.random.default_rng(seed)
    found, limit, depth = generated(rng)
    samples = found.dataset(limit, depth)
    batch = collate_fn([samples[0, row] for row in range(len(samples))], found.targets(), HIDING, rng)
    torch.manual_seed(0)
    model = PretrainModel(tiny_model(6))
    output = model(model_inputs(batch))
    given = {name: tensor for name, tensor in vars(output).items() if not name.startswith("reference_")}
    for name, tensor in given.items():
        assert tensor is not None and tensor.isfinite().all(), name
    sum(tensor.float().sum() for tensor in given.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@given(seed=st.integers(0, 2**32), extra=st.integers(1, 5))
@settings(max_examples=20)
def test_order_padding_and_further_tips_change_nothing(seed: int, extra: int):
    """The model of a sample is the same in whatever order its ASVs stand and whoever shares its batch."""
    rng = np.random.default_rng(seed)
    found = community(samples=2 + extra, asvs=25, richness=9, length=6, seed=seed % 1000)
    samples = [found.dataset()[row] for row in range(2 + extra)]
    shuffled = []
    for one in samples:
        order = rng.permutation(len(one.asvs))
        shuffled.append(Sample(one.sample_id, one.asvs[order], one.tokens[order], one.counts[order]))
    torch.manual_seed(0)
    model = PretrainModel(tiny_model(6)).eval()
    with torch.no_grad():
        pair = model(model_inputs(collate_fn(samples[:2])))
        mixed = model(model_inputs(collate_fn(shuffled)))
    torch.testing.assert_close(mixed.unifrac[:2, :2], pair.unifrac, atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed.samples[:2], pair.samples, atol=2e-6, rtol=0)
