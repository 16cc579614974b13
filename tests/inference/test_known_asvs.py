"""Sketches of the ASVs that were learned from: exact while small, estimates by hand and by chance, kept and joined."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from aam.errors import CheckpointError
from aam.inference import known_asvs
from aam.inference.known_asvs import (
    KNOWN,
    ROW,
    hashes_of,
    read_known,
    share_words,
    sketch_asvs,
    smallest_hashes,
    write_known,
)
from aam.io import sequences
from aam.io.sequences import tokenize

SEQUENCES = ["ACGT", "ACG", "TTTTTT", "GGGG", "CCCCC"]
COUNTS = csr_array(np.array([[3, 1, 0, 0, 0], [0, 2, 2, 0, 0], [0, 0, 0, 7, 1]]))


def test_a_hash_is_that_of_the_bases_that_the_model_reads() -> None:
    """START and three bases of ACG, little-endian; neither padding nor what stands behind the last base read counts."""
    by_hand = int.from_bytes(hashlib.blake2b(bytes([5, 1, 2, 3]), digest_size=8).digest(), "little")
    wide, narrow = tokenize(SEQUENCES, 6), tokenize(["ACG"], 6)
    assert hashes_of(wide)[1] == hashes_of(narrow)[0] == by_hand
    assert hashes_of(tokenize(["ACGTTT"], 3))[0] == by_hand
    assert len(set(hashes_of(wide).tolist())) == 5


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hashes_of(tokenize(SEQUENCES, 6))
    monkeypatch.setattr(sequences, "ROWS_AT_ONCE", 2)
    np.testing.assert_array_equal(hashes_of(tokenize(SEQUENCES, 6)), whole)


def test_what_training_samples_carry_is_known_exactly() -> None:
    tokens = tokenize(SEQUENCES, 6)
    known = sketch_asvs(tokens, COUNTS, np.array([0, 1]))
    assert known.share(hashes_of(tokens[[0, 1, 2]])) == 1.0
    assert known.share(hashes_of(tokens[[3, 4]])) == 0.0  # the third sample was held out
    assert known.share(hashes_of(tokens)) == pytest.approx(3 / 5)
    assert known.share(hashes_of(tokens[:0])) is None


def test_a_sketch_of_many_estimates_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 ASVs known of which 500 are kept, asked with 1,500 known of 2,000: 250 are looked up, 3/4 +- 0.03."""
    monkeypatch.setattr(known_asvs, "MAX_HASHES", 500)
    tokens = np.random.default_rng(0).integers(1, 5, (4500, 21), dtype=np.uint8)
    counts = csr_array(np.r_[np.ones(4000, np.int64), np.zeros(500, np.int64)][None])
    known = sketch_asvs(tokens, counts, np.array([0]))
    assert len(known.rows) == 500
    assert known.share(hashes_of(tokens[2500:])) == pytest.approx(0.75, abs=0.1)
    assert known.share(hashes_of(tokens[:4000])) == 1.0 and known.share(hashes_of(tokens[4000:])) == 0.0
    smallest = hashes_of(tokens[:4000]).argsort()
    assert known.share(hashes_of(tokens[smallest[500:501]])) is None  # beyond the last hash kept nothing is known


def likeness(train: list[list[int]], new: list[list[int]], studies: list[int] | None = None) -> float | None:
    """Of some samples to those of training, each a row of counts of the five ASVs."""
    tokens = tokenize(SEQUENCES, 6)
    numbers = None if studies is None else np.array(studies)
    known = sketch_asvs(tokens, csr_array(np.array(train)), np.arange(len(train)), numbers)
    return known.likeness(hashes_of(tokens), csr_array(np.array(new)))


def test_likeness_by_hand() -> None:
    """Prevalences (1, 1/2) in training and (1, 0, 1) in two samples that share the first and the third ASV."""
    train, new = [[5, 1, 0, 0, 0], [5, 0, 0, 0, 0]], [[1, 0, 2, 0, 0], [3, 0, 1, 0, 0]]
    assert likeness(train, new) == pytest.approx(1 / np.sqrt((1 + 1 / 4) * (1 + 1)))
    assert likeness(train, [[0, 0, 1, 1, 0], [0, 0, 1, 0, 0]]) == 0.0  # nothing in common
    assert likeness(train, [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]) is None  # no ASV is shared: prevalence has no square
    assert likeness(train, [[1, 1, 1, 1, 1]]) is None
    assert likeness(train, train) == 1.0


def test_the_most_like_study_counts() -> None:
    first, second = [[1, 1, 0, 0, 0]] * 2, [[0, 0, 1, 1, 1]] * 6
    assert likeness([*first, *second], first, [0] * 2 + [7] * 6) == pytest.approx(1.0)
    mixed = likeness([*first, *second], first)
    assert mixed == pytest.approx(2 * 2 / 8 / np.sqrt((2 * (2 / 8) ** 2 + 3 * (6 / 8) ** 2) * 2))


def test_likeness_to_one_study_alone() -> None:
    """The study of the labels, 0, and that of the encoder, 1; a table like the latter."""
    tokens, counts = tokenize(SEQUENCES, 6), csr_array(np.array([[1, 1, 0, 0, 0]] * 2 + [[0, 0, 1, 1, 1]] * 2))
    known = sketch_asvs(tokens, counts, np.arange(4), np.array([0, 0, 1, 1]))
    new = csr_array(np.array([[0, 0, 1, 1, 1]] * 2))
    assert known.likeness(hashes_of(tokens), new) == pytest.approx(1.0)
    assert known.likeness(hashes_of(tokens), new, study=0) == 0.0
    assert known.likeness(hashes_of(tokens), new, study=1) == pytest.approx(1.0)
    assert (known.share(hashes_of(tokens)), known.share(hashes_of(tokens), 0), known.share(hashes_of(tokens), 1)) == (
        1.0, 2 / 5, 3 / 5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0%"),
        (0.004, "less than 1%"),
        (0.006, "1%"),
        (0.5, "50%"),
        (0.994, "99%"),
        (0.999, "more than 99%"),
        (1.0, "100%"),
    ],
)
def test_none_and_all_are_said_only_if_it_is_so(share: float, words: str) -> None:
    assert share_words(share) == words


def test_the_number_of_samples_plays_no_part() -> None:
    """Samples of two communities, 400 learned: of few new ones the mean over draws is what it is of many."""
    rng = np.random.default_rng(0)
    own, other = rng.beta(0.3, 1.0, 60), rng.beta(0.3, 1.0, 60)
    tokens = rng.integers(1, 5, (60, 21), dtype=np.uint8)

    def drawn(chances: np.ndarray, samples: int) -> csr_array:
        return csr_array((rng.random((samples, 60)) < chances).astype(np.int64))

    known = sketch_asvs(tokens, drawn(own, 400), np.arange(400))
    cosine = own @ other / np.sqrt((own @ own) * (other @ other))
    for samples in (5, 50):
        found = [known.likeness(hashes_of(tokens), drawn(other, samples)) for _ in range(200)]
        assert np.mean(found) == pytest.approx(cosine, abs=0.02)
        same = [known.likeness(hashes_of(tokens), drawn(own, samples)) for _ in range(50)]
        assert np.mean(same) > 0.95


ROWS = st.sets(st.tuples(st.integers(0, 40), st.integers(0, 2)))


@given(ROWS, ROWS, st.integers(1, 50))
def test_joined_is_the_sketch_of_all(left: set[tuple[int, int]], right: set[tuple[int, int]], most: int) -> None:
    def rows(numbers: set[tuple[int, int]], more: int = 0) -> np.ndarray:
        return np.array([(number, study + more, 0.5) for number, study in numbers], dtype=ROW)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_asvs, "MAX_HASHES", most)
        first, second = smallest_hashes(rows(left)), smallest_hashes(rows(right))
        free = int(first.rows["study"].max(initial=0)) + 1
        wanted = smallest_hashes(np.concatenate([rows(left), rows(right, free)]))
        joined = first.merge(second)
        assert joined.rows.tolist() == wanted.rows.tolist()
        asked = np.arange(50, dtype=np.uint64)
        assert joined.covers(asked).tolist() == wanted.covers(asked).tolist()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_known(tmp_path) is None
    known = sketch_asvs(tokenize(SEQUENCES, 6), COUNTS, np.array([0]))
    write_known(tmp_path, known)
    found = read_known(tmp_path)
    assert found is not None and found.rows.tolist() == known.rows.tolist()
    assert [path.name for path in tmp_path.iterdir()] == [KNOWN]


def test_what_cannot_be_a_sketch_is_refused(tmp_path: Path) -> None:
    falling = np.array([(2, 0, 1.0), (1, 0, 1.0)], dtype=ROW)
    for wrong in (falling, np.array([1, 2]), np.sort(falling)[None], np.array(["a", None])):
        np.save(tmp_path / KNOWN, wrong, allow_pickle=True)
        with pytest.raises(CheckpointError, match="known_asvs.npy: .*remove it, or restore the checkpoint"):
            read_known(tmp_path)
    (tmp_path / KNOWN).write_bytes(b"\x93NUMPY")
    with pytest.raises(CheckpointError, match="known_asvs.npy: not readable"):
        read_known(tmp_path)
