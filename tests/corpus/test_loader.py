"""Batches by number: pure functions of seed and number, the same from whatever process."""

from __future__ import annotations

import dataclasses
from itertools import islice

import pytest
import torch
from generated_samples import HIDING, community
from hypothesis import given
from hypothesis import strategies as st

from aam.corpus.batches import TrainingBatches, ValidationBatches
from aam.corpus.dataset import Batch
from aam.errors import ConfigError

COMMUNITY = community(samples=11, asvs=40, richness=15)


def training(size: int = 4, seed: int = 0) -> TrainingBatches:
    return TrainingBatches(COMMUNITY.dataset(8, depth=60, seed=seed), size, COMMUNITY.targets(), HIDING)


def validation(samples: int = 11, size: int = 4) -> ValidationBatches:
    found = community(samples=samples, asvs=40, richness=15)
    return ValidationBatches(found.dataset(8, depth=60), size, found.targets(), HIDING)


def assert_same(one: Batch, other: Batch) -> None:
    for field in dataclasses.fields(Batch):
        left, right = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right, field.name


def test_a_batch_is_a_function_of_seed_and_number():
    fresh, used = training(), training()
    for number in (5, 2, 0):
        used[number]
    for number in (0, 1, 7, 10**6):
        assert_same(used[number], fresh[number])


def test_numbers_epochs_and_seeds_give_different_batches():
    def key(batch: Batch) -> tuple[object, ...]:
        return (*batch.sample_ids, *batch.counts.flatten().tolist())

    batches = [training()[number] for number in range(6)] + [training(seed=1)[0]]
    assert len({key(batch) for batch in batches}) == len(batches)


def test_an_epoch_takes_every_sample_at_most_once():
    batches = training()
    assert batches.per_epoch == 2  # 11 samples in batches of 4; three wait for another epoch
    for epoch in range(5):
        ids = [name for place in range(2) for name in batches[2 * epoch + place].sample_ids]
        assert len(ids) == len(set(ids)) == 8
    over_epochs = {name for number in range(20) for name in batches[number].sample_ids}
    assert over_epochs == set(COMMUNITY.dataset().sample_ids)


def test_a_sample_is_drawn_anew_in_each_epoch():
    batches = training(size=11)
    drawn = []
    for epoch in range(3):
        batch = batches[epoch]
        row = batch.sample_ids.index("s3")
        drawn.append((batch.asvs[batch.index[row]].tolist(), batch.counts[row].tolist()))
    assert drawn[0] != drawn[1] != drawn[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_give_the_same_batches(workers: int):
    stream = training().stream(3, workers)
    for number, batch in zip(range(3, 7), stream, strict=False):
        assert_same(batch, training()[number])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_takes_no_number_from_the_random_state(workers: int):
    """Dropout after resuming has to be that of the run which was not interrupted."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(islice(training().stream(0, workers), 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_more_samples_a_batch_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="batch size 12 is larger than the 11 training samples; use --batch-size 11"):
        training(size=12)


def test_validation_is_every_sample_once_in_order_and_always_the_same():
    batches = validation()
    assert [name for batch in batches for name in batch.sample_ids] == COMMUNITY.dataset().sample_ids
    assert len(list(batches)) == len(batches)
    for number, batch in enumerate(batches):
        assert_same(batch, validation()[number])


@given(samples=st.integers(2, 200), size=st.integers(2, 64))
def test_no_validation_batch_has_a_lone_sample(samples: int, size: int):
    found = COMMUNITY.dataset()
    found.sample_ids = [str(number) for number in range(samples)]
    sizes = [len(part) for part in ValidationBatches(found, size, None, HIDING).parts]
    assert sum(sizes) == samples and min(sizes) >= 2 and max(sizes) <= max(size, 3)
    assert max(sizes) - min(sizes) <= 1
