"""Whole matrices of UniFrac: one answer whichever engine computes it.

`torch` is the kernel of `aam.phylogeny.unifrac` in blocks; `unifrac` the package of that name, where it is installed;
`skbio` scikit-bio, slow, the reference.
"""

from __future__ import annotations

import numpy as np

from aam.config import UnifracEngine
from aam.phylogeny import blocks, packages
from aam.phylogeny.community import Community, Progress
from aam.phylogeny.unifrac import Measure

MATRIX = {"torch": blocks.matrix, "unifrac": packages.unifrac_matrix, "skbio": packages.skbio_matrix}
FAITH_PD = {"torch": blocks.faith_pd, "unifrac": packages.unifrac_faith_pd, "skbio": packages.skbio_faith_pd}


def full_matrix(samples: Community, measure: Measure, engine: UnifracEngine, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n]; raises `ConfigError` for an engine that is absent or lacks the metric."""
    return MATRIX[engine](samples, measure, progress)


def full_faith_pd(samples: Community, engine: UnifracEngine, progress: Progress) -> np.ndarray:
    """Faith PD of all samples, float64 [n]; raises `ConfigError` for an engine that is absent."""
    return FAITH_PD[engine](samples, progress)
