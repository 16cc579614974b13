"""Samples of several studies: batches of one study each, targets by the tree of each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from aam.config import LossConfig
from aam.corpus.batches import TrainingBatches, ValidationBatches
from aam.corpus.dataset import ASVDataset, Draw
from aam.errors import ConfigError

STUDIES = np.array([0] * 9 + [1] * 5)
HIDING = LossConfig(mask_ratio=0.15, masked_asvs=0.0, hidden_asvs=0.0, patristic_asvs=0)


def dataset(studies: np.ndarray | None = STUDIES) -> ASVDataset:
    """Fourteen samples that carry all of three ASVs."""
    tokens = np.array([[5, 1, 2], [5, 3, 4], [5, 1, 1]], np.uint8)
    ids = [f"s{row}" for row in range(len(STUDIES))]
    return ASVDataset(
        csr_array(np.ones((len(ids), 3), np.int64)), tokens, ids, Draw(None, None, "abundance", 3), studies
    )


def test_a_training_batch_is_of_one_study_and_an_epoch_has_each_sample_once() -> None:
    batches = TrainingBatches(dataset(), 2, None, HIDING)
    assert batches.per_epoch == 9 // 2 + 5 // 2
    for epoch in (0, 1):
        order = batches.order(epoch)
        assert len(np.unique(order)) == order.size == 2 * batches.per_epoch
        assert all(len(set(STUDIES[rows])) == 1 for rows in order)


def test_studies_take_turns_and_turns_differ_between_epochs() -> None:
    batches = TrainingBatches(dataset(), 1, None, HIDING)
    turns = [STUDIES[batches.order(epoch)[:, 0]].tolist() for epoch in range(4)]
    assert all(sorted(turn) == STUDIES.tolist() and turn != STUDIES.tolist() for turn in turns)
    assert turns[0] != turns[1]


def test_a_batch_takes_the_samples_that_the_order_names() -> None:
    batches = TrainingBatches(dataset(), 2, None, HIDING)
    number = batches.per_epoch + 3  # the fourth batch of the second epoch
    assert batches[number].sample_ids == [f"s{row}" for row in batches.order(1)[3]]


def test_one_study_by_number_is_the_same_as_none() -> None:
    alone, named = (TrainingBatches(dataset(studies), 4, None, HIDING) for studies in (None, np.zeros(14, np.int64)))
    assert [alone[n].sample_ids for n in range(6)] == [named[n].sample_ids for n in range(6)]


def test_validation_batches_keep_studies_apart_and_samples_whole() -> None:
    parts = ValidationBatches(dataset(), 4, None, HIDING).parts
    assert np.concatenate(parts).tolist() == list(range(14))
    assert [len(part) for part in parts] == [3, 3, 3, 3, 2]
    assert all(len(set(STUDIES[part])) == 1 for part in parts)


def test_a_batch_larger_than_the_smallest_study_is_refused() -> None:
    with pytest.raises(ConfigError, match="larger than the 5 training samples of the smallest study; use"):
        TrainingBatches(dataset(), 6, None, HIDING)
