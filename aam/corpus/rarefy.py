"""Rarefaction: reads drawn without replacement, the same for the same seed, epoch, sample id, depth and counts.

ASVs have to stand in the order of `aam.corpus.equal_asvs.order_asvs`; then neither the order of a table nor its other
samples change what is drawn of a sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.errors import ConfigError, TableError
from aam.io.table import Table
from aam.spelling import whole_of

AUTO_DEPTH = 5000
"""Reads beyond which "auto" does not go."""
AUTO_LOSS = 10
"""Of so many samples "auto" may lose one."""
SHALLOW = "samples with fewer reads than the rarefaction depth"
"""Reason under which `keep_deep_samples` leaves samples out."""


def sample_rng(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """Generator of one sample in one epoch, a pure function of two whole numbers >= 0 and the sample's id.

    Philox is counter-based: the seed is its key, epoch and a hash of the id are the upper half of its 256-bit counter,
    so no two streams of a seed overlap before 2**128 draws. Salmon et al. 2011, Parallel random numbers: as easy as 1,
    2, 3.
    """
    sample = int.from_bytes(hashlib.blake2b(sample_id.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, epoch, sample]))


def rarefy(counts: NDArray[np.int64], depth: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Counts [n] of `depth` reads drawn without replacement from `counts` [n].

    Raises `ValueError` if there are fewer than `depth` reads; callers drop such samples before.
    """
    return rng.multivariate_hypergeometric(counts, depth, method="marginals")


def rarefy_table(counts: sparse.csr_array, sample_ids: Sequence[str], depth: int, seed: int) -> sparse.csr_array:
    """Counts [samples, ASVs] with `depth` reads drawn of each sample, as training draws them in its first epoch."""
    drawn = counts.copy()
    for number, sample_id in enumerate(sample_ids):
        row = slice(*counts.indptr[number : number + 2])
        drawn.data[row] = rarefy(counts.data[row], depth, sample_rng(seed, 0, sample_id))
    drawn.eliminate_zeros()
    return drawn


def choose_depth(depths: NDArray[np.int64], setting: str) -> int | None:
    """Choose the reads to draw per sample, for samples with `depths` [samples] reads; None: keep all reads.

    `setting` is "auto" (the largest depth, at most `AUTO_DEPTH`, that nine of ten samples reach), "none", or a number.
    Raises `ConfigError` for any other setting and `TableError` for a depth that no sample reaches.
    """
    if setting == "none":
        return None
    if setting == "auto":
        return min(AUTO_DEPTH, int(np.sort(depths)[len(depths) // AUTO_LOSS]))
    depth = whole_of(setting) or 0
    if depth < 1:
        raise ConfigError(f"--rarefy-depth is {setting!r}, expected a whole number >= 1, 'auto' or 'none'")
    if depth > depths.max():
        raise TableError(
            f"drawing {depth:,} reads of each drops all {len(depths):,} samples, the deepest has {depths.max():,}; "
            "give a smaller --rarefy-depth"
        )
    return depth


def depth_text(depths: NDArray[np.int64], setting: str, depth: int | None) -> str:
    """How many reads samples with `depths` [samples] reads have, and how many are drawn of each, in words."""
    low, high, middle = int(depths.min()), int(depths.max()), int(np.median(depths))
    text = f"depth: {low:,} to {high:,} reads per sample, median {middle:,}; "
    if depth is None:
        return text + "all reads are used"
    return f"{text}{depth:,} are drawn from each{' (--rarefy-depth auto)' if setting == 'auto' else ''}"


class DeepSamples(NamedTuple):
    """The samples that are deep enough, the reads to draw of each, None: all, and both in words."""

    table: Table
    depth: int | None
    text: str


def keep_deep_samples(table: Table, setting: str) -> DeepSamples:
    """Select the samples that are deep enough, and the reads to draw of each; `setting` as in `choose_depth`."""
    depths = table.depths()
    depth = choose_depth(depths, setting)
    return DeepSamples(table.keep(depths >= (depth or 0), SHALLOW), depth, depth_text(depths, setting, depth))
