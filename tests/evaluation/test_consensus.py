"""The per-position consensus: by hand, what it leaves out, and against counting on the embedded example."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from aam.datasets import example
from aam.evaluation.baselines import NucleotideScores, score_consensus
from aam.io.sequences import tokenize
from aam.io.table import read_table
from aam.vocab import MASK, A, C, G, T


def scored(train: list[str], positions: list[int], bases: list[int]) -> NucleotideScores:
    tokens = tokenize(train, max(map(len, train)))
    return score_consensus(tokens, np.array(positions, np.int64), np.array(bases, np.int64))


def test_scores_by_hand() -> None:
    # Three ASVs; position 1 holds A A C: with one added to each of six classes A is (2 + 1) / (3 + 6) = 1/3.
    # Hidden are position 1 of two ASVs and position 2 of one. Guesses A and G, truths A, C and T: one of three; their
    # frequencies are 3/9, 2/9 and 2/9.
    found = scored(["AG", "AG", "CT"], [1, 1, 2], [A, C, T])
    assert found == pytest.approx((1 / 3, -(np.log(3 / 9) + 2 * np.log(2 / 9)) / 3))


def test_ambiguous_bases_are_not_counted() -> None:
    assert tokenize(["AN"], 2)[0, 2] == MASK
    assert scored(["AN", "AG"], [2], [G]).cross_entropy == pytest.approx(np.log(7 / 2))  # one G and six pseudocounts


def test_short_asvs_do_not_speak_for_the_ends_of_longer_ones() -> None:
    # one G and six pseudocounts at position 2, whatever ends before; and it is the guess
    assert scored(["A"] * 50 + ["AG"], [2], [G]) == pytest.approx((1.0, np.log(7 / 2)))


def test_a_base_never_seen_costs_a_finite_loss_and_nothing_hidden_costs_none() -> None:
    assert scored(["A"] * 100, [1], [T]).cross_entropy == pytest.approx(np.log(106))
    assert scored(["A"] * 100, [], []) == (0.0, 0.0)


def test_accuracy_on_the_example_is_the_share_of_the_commonest_base() -> None:
    sequences = read_table(example().table).sequences
    tokens = tokenize(sequences, 150)
    commonest = [Counter(column).most_common(1)[0][1] for column in zip(*sequences, strict=True)]
    rows, columns = np.nonzero(tokens[:, 1:])
    scores = score_consensus(tokens, columns + 1, tokens[rows, columns + 1].astype(np.int64))
    assert scores.accuracy == pytest.approx(sum(commonest) / tokens[:, 1:].size)
    assert 0.5 < scores.accuracy < 0.95 and scores.cross_entropy < np.log(4)
