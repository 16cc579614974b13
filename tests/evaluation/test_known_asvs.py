"""Sketches of the ASVs that were learned from: exact while small, estimates by hand and by chance, kept and joined."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from aam.data.tokenizer import tokenize
from aam.errors import CheckpointError
from aam.evaluation import known_asvs
from aam.evaluation.known_asvs import KNOWN, KnownASVs, hashes_of, read_known, sketch, write_known

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
    monkeypatch.setattr(known_asvs, "ROWS", 2)
    np.testing.assert_array_equal(hashes_of(tokenize(SEQUENCES, 6)), whole)


def test_what_training_samples_carry_is_known_exactly() -> None:
    tokens = tokenize(SEQUENCES, 6)
    known = sketch(tokens, COUNTS, np.array([0, 1]))
    assert known.share(tokens[[0, 1, 2]]) == 1.0
    assert known.share(tokens[[3, 4]]) == 0.0  # the third sample was held out
    assert known.share(tokens) == pytest.approx(3 / 5)
    assert known.share(tokens[:0]) is None


def test_a_sketch_of_many_estimates_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """4,000 ASVs known of which 500 are kept, asked with 1,500 known of 2,000: 250 are looked up, 3/4 +- 0.03."""
    monkeypatch.setattr(known_asvs, "MOST", 500)
    tokens = np.random.default_rng(0).integers(1, 5, (4500, 21), dtype=np.uint8)
    counts = csr_array(np.r_[np.ones(4000, np.int64), np.zeros(500, np.int64)][None])
    known = sketch(tokens, counts, np.array([0]))
    assert len(known.hashes) == 500
    assert known.share(tokens[2500:]) == pytest.approx(0.75, abs=0.1)
    assert known.share(tokens[:4000]) == 1.0 and known.share(tokens[4000:]) == 0.0
    smallest = hashes_of(tokens[:4000]).argsort()
    assert known.share(tokens[smallest[500:501]]) is None  # beyond the last hash kept nothing is known


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)), st.integers(1, 50))
def test_joined_is_the_sketch_of_all(left: set[int], right: set[int], most: int) -> None:
    def of(numbers: set[int]) -> KnownASVs:
        return KnownASVs(np.array(sorted(numbers), dtype=np.uint64)[:most])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_asvs, "MOST", most)
        joined = of(left).joined(of(right))
        assert joined.hashes.tolist() == of(left | right).hashes.tolist()
        assert joined.reach == of(left | right).reach


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_known(tmp_path) is None
    known = sketch(tokenize(SEQUENCES, 6), COUNTS, np.array([0]))
    write_known(tmp_path, known)
    found = read_known(tmp_path)
    assert found is not None and found.hashes.tolist() == known.hashes.tolist()
    assert [path.name for path in tmp_path.iterdir()] == [KNOWN]


def test_what_cannot_be_a_sketch_is_refused(tmp_path: Path) -> None:
    for wrong in (np.array([2, 1], np.uint64), np.array([1, 2]), np.array([[1, 2]], np.uint64), np.array(["a", None])):
        np.save(tmp_path / KNOWN, wrong, allow_pickle=True)
        with pytest.raises(CheckpointError, match="known_asvs.npy: .*remove it, or restore the checkpoint"):
            read_known(tmp_path)
    (tmp_path / KNOWN).write_bytes(b"\x93NUMPY")
    with pytest.raises(CheckpointError, match="known_asvs.npy: not readable"):
        read_known(tmp_path)
