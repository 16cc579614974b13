"""Maps of files, and parts of them, reach another process without their content."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aam.corpus.batches import find_map, send_maps_by_reference
from aam.corpus.store import Store


@pytest.fixture
def array(tmp_path: Path) -> NDArray:
    """0 to 99,999 as 1,000 rows of 100, mapped as a corpus is."""
    np.save(tmp_path / "numbers.npy", np.arange(100_000).reshape(1000, 100))
    send_maps_by_reference()
    return Store(tmp_path, {})["numbers"]


def sent(array: NDArray) -> tuple[int, NDArray]:
    """Bytes on the way, and what arrives."""
    content = ForkingPickler.dumps(array)
    return len(content), ForkingPickler.loads(content)


@pytest.mark.parametrize(
    "part",
    [
        lambda whole: whole,
        lambda whole: whole[10:20],
        lambda whole: whole[:, :7],
        lambda whole: whole[3:900:5, 10:90:2],
        lambda whole: whole[7],
        lambda whole: whole.reshape(-1)[5:50_000],
        lambda whole: whole[:0],
        lambda whole: whole[10:20][2:4],
        lambda whole: whole.T,
    ],
)
def test_parts_of_a_map_are_sent_as_places(array: NDArray, part: Callable[[NDArray], NDArray]):
    shown = part(array)
    size, found = sent(shown)
    assert size < 500 and find_map(found) is not None and not found.flags.writeable
    np.testing.assert_array_equal(found, shown)
    assert found.dtype == shown.dtype
    np.testing.assert_array_equal(sent(found)[1], shown)


def test_what_is_in_memory_or_may_differ_from_the_file_is_sent_whole(array: NDArray, tmp_path: Path):
    changed = np.asarray(np.load(tmp_path / "numbers.npy", mmap_mode="c"))
    changed[0] = -1
    for shown in (array[[1, 2, 3]], array + 1, changed, array[::-1]):
        size, found = sent(shown)
        assert size >= shown.nbytes and find_map(found) is None
        np.testing.assert_array_equal(found, shown)


def test_a_spawned_process_reads_the_same(array: NDArray):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(np.sum, (array[10:20, ::3],)) == array[10:20, ::3].sum()
