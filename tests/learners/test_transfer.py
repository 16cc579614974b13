"""What the studies of training are like: figures by hand on four reads, distances against simulated truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from aam.errors import CheckpointError
from aam.gene.reads import Reads
from aam.learners.transfer import (
    STUDIES,
    Profile,
    ReadFigures,
    TrainingStudies,
    TrainingStudy,
    describe_reads,
    known_elsewhere,
    nearest_study,
    read_studies,
    write_studies,
)
from aam.placement.placements import PLACED, TOO_FAR, Placements


def four_reads() -> Placements:
    """Reads on columns 101 to 200, the third on 301 to 400; they differ from the nearest tip in 0, 2 and 10 of 100
    columns, and the fourth has no place."""
    begin = np.array([101, 101, 301, 101])
    zeros, ones = np.zeros(4, np.int64), np.ones((4, 1))
    reads = Reads(np.zeros((4, 1), np.uint8), 1, np.ones(4, np.int8), begin, begin + 99, zeros.astype(float))
    differing = np.array([[0], [2], [10], [0]])
    fate = np.array([PLACED, PLACED, PLACED, TOO_FAR], np.int8)
    covered = np.array([100, 100, 100, 0])
    return Placements(list("abcd"), reads, fate, ones.astype(int), differing, covered, zeros, zeros.astype(float),
                      zeros.astype(float), ones, ones, ones, zeros.astype(float))  # fmt: skip


def test_figures_are_means_over_samples_of_shares_of_their_reads():
    # sample 1: half of the reads differ in 0, half in 2 of 100; sample 2: 3 of 4 reads differ in 10, one has no place
    found = describe_reads(csr_array(np.array([[50, 50, 0, 0], [0, 0, 3, 1]])), four_reads())
    assert found.samples == 2 and found.depth == (100 + 4) / 2
    assert found.difference == pytest.approx((0.01 + 0.10) / 2)  # of the reads that have a place
    assert found.near == pytest.approx((1.0 + 0.0) / 2)
    assert found.unplaced == pytest.approx((0 + 0.25) / 2)
    assert (found.first_column, found.last_column) == (101, 200)  # the median of 101, 101, 301


def test_columns_are_those_of_the_reads_that_the_samples_have():
    found = describe_reads(csr_array(np.array([[0, 0, 7, 0]])), four_reads())
    assert (found.first_column, found.last_column) == (301, 400)


def test_reads_of_asvs_that_another_study_has():
    counts = csr_array(np.array([[8, 2, 0], [5, 5, 0], [0, 1, 3]]))
    found = known_elsewhere(counts, {"a": np.array([0, 1]), "b": np.array([2])})
    assert found == pytest.approx({"a": (0.2 + 0.5) / 2, "b": 0.25})  # the second ASV alone is of both


def test_the_distance_is_the_difference_of_means_without_sampling_error():
    rng = np.random.default_rng(0)
    p, q = np.full(4000, 0.3), np.full(4000, 0.3)
    q[::2] += 0.2  # half of the features differ by 0.2: root mean square 0.2 / sqrt(2)

    def study(chance: np.ndarray, samples: int) -> Profile:
        return Profile.of((rng.random((samples, 4000)) < chance).astype(np.float32))

    for samples in (6, 20, 200):
        assert study(p, samples).distance(study(q, 100)) == pytest.approx(0.2 / np.sqrt(2), abs=0.015)
        assert study(p, samples).distance(study(p, 100)) < 0.03
    one = study(p, 20)
    assert one.distance(one) == 0.0


def studies_of(*profiles: tuple[float, float]) -> TrainingStudies:
    """Studies `s0`, `s1`, … whose mean features these are, known exactly."""
    known = {f"s{number}": Profile(mean, 0.0) for number, mean in enumerate(profiles)}
    reads = ReadFigures(20, 1000.0, 611, 760, 0.01, 0.9, 0.0)
    found = []
    for name, profile in known.items():
        others = {other: own for other, own in known.items() if other != name}
        found.append(
            TrainingStudy(name, 10, {"a": 5, "b": 5}, {}, reads, 0.5, profile, *nearest_study(profile, others))
        )
    return TrainingStudies(found, 0.9, 0.4)


def test_the_farthest_study_is_the_one_that_is_farthest_from_its_nearest():
    found = studies_of((0.0, 0.0), (0.1, 0.1), (0.4, 0.4))
    assert [one.nearest for one in found.studies] == ["s1", "s0", "s1"]
    assert [one.distance for one in found.studies] == pytest.approx([0.1, 0.1, 0.3])
    assert found.farthest == pytest.approx(0.3)
    assert found.study_outweighs and not replace(found, label_signal=0.95).study_outweighs
    assert not replace(found, label_signal=None).study_outweighs  # not tested is not known


def test_studies_are_stored_whole_and_a_damaged_file_is_refused(tmp_path: Path):
    found = studies_of((0.0, 0.25), (0.5, 0.75))
    assert read_studies(tmp_path) is None
    write_studies(tmp_path, found)
    assert read_studies(tmp_path) == TrainingStudies(list(found.studies), 0.9, 0.4)
    (tmp_path / STUDIES).write_text('{"studies": [{"study": "a"}]}')
    with pytest.raises(CheckpointError, match="not readable"):
        read_studies(tmp_path)
