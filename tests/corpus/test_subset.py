"""A batch less some samples is the batch of the others."""

from __future__ import annotations

import pytest
import torch
from generated_samples import HIDING, community
from torch import Tensor

from aam.config import LossConfig
from aam.corpus.batches import TrainingBatches, drop_samples
from aam.corpus.dataset import Batch, collate_fn
from aam.errors import EmptySampleError

COMMUNITY = community(samples=12, asvs=40, richness=10)
SAMPLES = COMMUNITY.dataset(8, depth=60)
NOTHING = LossConfig(mask_ratio=0.0, masked_asvs=0.0, hidden_asvs=0.0, patristic_asvs=0)


def equal(one: Batch, other: Batch) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("gone", [{0}, {3}, {0, 1, 4}, {5}])
def test_it_is_what_the_others_alone_would_have_been(gone: set[int]):
    drawn = [SAMPLES[0, row] for row in range(6)]
    ids = {drawn[row].sample_id for row in gone}
    others = collate_fn([s for row, s in enumerate(drawn) if row not in gone], COMMUNITY.targets(), NOTHING)
    found = drop_samples(collate_fn(drawn, COMMUNITY.targets(), NOTHING), ids)
    slots = others.index.shape[1]  # the longest sample may be among those that are gone
    assert not found.valid[:, slots:].any()
    cut = {name: getattr(found, name)[:, :slots] for name in ("index", "valid", "counts", "hidden", "uncounted")}
    assert equal(Batch(**{**vars(found), **cut}), others)


def test_what_was_hidden_stays_hidden():
    batch = TrainingBatches(SAMPLES, 6, COMMUNITY.targets(), HIDING)[0]
    found = drop_samples(batch, {batch.sample_ids[1]})
    rows = [0, 2, 3, 4, 5]
    assert torch.equal(found.hidden, batch.hidden[rows]) and torch.equal(found.uncounted, batch.uncounted[rows])
    for row, old in enumerate(rows):  # the same ASVs in the same slots
        slots = batch.valid[old]
        assert torch.equal(found.asvs[found.index[row, slots]], batch.asvs[batch.index[old, slots]])
    assert set(found.asvs.tolist()) == set(batch.asvs[batch.index[rows][batch.valid[rows]]].tolist())
    asked = batch.tokens[batch.masked_rows[batch.masked_at[:, 0]], batch.masked_at[:, 1]]
    assert torch.equal(asked.long(), batch.masked_bases)  # so it was, and so it is
    asked = found.tokens[found.masked_rows[found.masked_at[:, 0]], found.masked_at[:, 1]]
    assert torch.equal(asked.long(), found.masked_bases)
    order = {int(column): place for place, column in enumerate(batch.asvs[batch.patristic_rows])}
    places = [order[int(column)] for column in found.asvs[found.patristic_rows]]
    assert torch.equal(found.patristic, batch.patristic[places][:, places])


def test_strangers_change_nothing_and_nobody_left_is_refused():
    batch = TrainingBatches(SAMPLES, 4, COMMUNITY.targets(), HIDING)[0]
    assert drop_samples(batch, {"nobody"}) is batch
    with pytest.raises(EmptySampleError):
        drop_samples(batch, batch.sample_ids)
