"""Arrays that are maps of files go to other processes as places in these files, not as what stands there.

Workers that are forked share the maps as they are. Where they are spawned (macOS, Windows, Linux from Python 3.14), all
that they work on is pickled for each: of a corpus on disk that would be the corpus.
"""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
from numpy.typing import NDArray


def send_maps_as_places() -> None:
    """Let `multiprocessing` of this process send arrays so."""
    ForkingPickler.register(np.ndarray, reduced)


def map_behind(array: NDArray) -> np.memmap | None:
    """The read-only map of a file that an array shows a part of, None where it shows none."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return base if isinstance(base, np.memmap) and base.mode == "r" else None


def reduced(array: NDArray) -> Any:
    """What pickle makes the array of in another process: a function and its arguments."""
    whole = map_behind(array)
    if whole is None or min(array.strides, default=0) < 0:
        return array.__reduce_ex__(4)
    start = whole.offset + array.ctypes.data - whole.ctypes.data
    return mapped, (str(whole.filename), start, array.dtype, array.shape, array.strides)


def mapped(path: str, start: int, dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray:
    """An array of the bytes of a file from `start` on, mapped and read-only."""
    return np.ndarray(shape, dtype, np.memmap(path, np.uint8, "r"), start, strides)
