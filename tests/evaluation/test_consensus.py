"""The per-position consensus: by hand, what it leaves out, and against counting on the embedded example."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from aam.data.table import read_table
from aam.data.tokenizer import tokenize
from aam.datasets import example
from aam.evaluation.consensus import PSEUDOCOUNT, consensus, score
from aam.vocab import MASK, OUTPUT_SIZE, START, A, C, G, T


def test_frequencies_by_hand() -> None:
    # three ASVs; position 1 holds A A C: with one added to each of six classes A is (2 + 1) / (3 + 6) = 1/3
    frequencies = consensus(tokenize(["AG", "AG", "CT"], 2))
    assert frequencies.shape == (3, OUTPUT_SIZE) and PSEUDOCOUNT == 1.0
    assert frequencies[0, START] == pytest.approx(4 / 9)
    assert frequencies[1, [A, C, G, T]] == pytest.approx([3 / 9, 2 / 9, 1 / 9, 1 / 9])
    assert frequencies.sum(axis=1) == pytest.approx(np.ones(3))


def test_scores_by_hand() -> None:
    # hidden: position 1 of both ASVs and position 2 of the second. Guesses A and G, truths A, C and T: one of three.
    # their frequencies are 3/9, 2/9 and 2/9
    frequencies = consensus(tokenize(["AG", "AG", "CT"], 2))
    mask = np.array([[False, True, False], [False, True, True]])
    scores = score(frequencies, tokenize(["AG", "CT"], 2), mask)
    assert scores == pytest.approx((1 / 3, -(np.log(3 / 9) + 2 * np.log(2 / 9)) / 3, 3))


def test_ambiguous_bases_are_neither_counted_nor_scored() -> None:
    tokens = tokenize(["AN", "AG"], 2)
    assert tokens[0, 2] == MASK
    np.testing.assert_allclose(consensus(tokens)[2, G], 2 / 7)  # one G among one known token and six pseudocounts
    assert score(consensus(tokens), tokens, np.ones((2, 3), bool)).positions == 5


def test_a_base_never_seen_costs_a_finite_loss_and_nothing_hidden_costs_none() -> None:
    tokens = tokenize(["A"] * 100, 1)
    mask = np.array([[False, True]])
    assert score(consensus(tokens), tokenize(["T"], 1), mask).cross_entropy == pytest.approx(np.log(106))
    assert score(consensus(tokens), tokenize(["T"], 1), ~mask & False) == (0.0, 0.0, 0)


def test_shapes_must_agree() -> None:
    tokens = tokenize(["ACG"], 3)
    with pytest.raises(ValueError, match=r"tokens \(1, 4\), mask \(1, 3\)"):
        score(consensus(tokens), tokens, np.ones((1, 3), bool))
    with pytest.raises(ValueError, match="at least one ASV"):
        consensus(tokens[:0])


def test_accuracy_on_the_example_is_the_share_of_the_commonest_base() -> None:
    sequences = read_table(example().table).sequences
    tokens = tokenize(sequences, 150)
    bases = np.zeros(tokens.shape, bool)
    bases[:, 1:] = True
    commonest = [Counter(column).most_common(1)[0][1] for column in zip(*sequences, strict=True)]
    scores = score(consensus(tokens), tokens, bases)
    assert scores.accuracy == pytest.approx(sum(commonest) / tokens[:, 1:].size)
    assert 0.5 < scores.accuracy < 0.95 and scores.cross_entropy < np.log(4)
