"""UniFrac matrices and Faith PD of all samples, by one of three engines with equal results.

`torch` is the kernel of `aam.phylogeny.unifrac` in blocks; `unifrac` is the package of that name, if it is installed;
`skbio` is scikit-bio, the slow reference.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse

from aam.config import UnifracEngine
from aam.errors import ConfigError
from aam.observer import Progress
from aam.phylogeny import unifrac
from aam.phylogeny.unifrac import BranchShares, Community, Measure, SparseSample

UNIFRAC = {
    "unweighted": "unweighted_fp64",
    "weighted": "weighted_unnormalized_fp64",
    "weighted_normalized": "weighted_normalized_fp64",
    "generalized": "generalized_fp64",
}
"""Functions of the `unifrac` package, the ones in double precision."""
SKBIO: dict[str, tuple[str, dict[str, bool]]] = {
    "unweighted": ("unweighted_unifrac", {}),
    "weighted": ("weighted_unifrac", {"normalized": False}),
    "weighted_normalized": ("weighted_unifrac", {"normalized": True}),
}
"""Metrics of scikit-bio with their options."""
BLOCK = 128
"""Samples whose branches are float64 together; a multiple of 8, because presence is packed into bits."""
STRIP_SAMPLES = 512
"""Rows of the matrix computed together."""
MEMORY = 2**29
"""Bytes that the branches of one matrix product may take, with a copy times their lengths."""


def unifrac_matrix(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n], by the `unifrac` package; raises `ConfigError` if it is not installed.

    The package ignores ASVs that are not in the tree, and crashes if none is; in a `Community` all are.
    """
    package, table, tree = _unifrac_input(samples)
    options = {"alpha": measure.alpha} if measure.metric == "generalized" else {}
    with _suppress_warnings():
        matrix = getattr(package, UNIFRAC[measure.metric])(table, tree, **options)
    progress(1, 1)
    return np.array(matrix.filter(table.ids()).data, dtype=np.float64)


def unifrac_faith_pd(samples: Community, progress: Progress) -> np.ndarray:
    """Faith PD, float64 [n], by the `unifrac` package; exact to 1e-6, because it writes few digits of the tree."""
    package, table, tree = _unifrac_input(samples)
    with _suppress_warnings():
        values = package.faith_pd(table, tree)
    progress(1, 1)
    return values.loc[list(table.ids())].to_numpy(dtype=np.float64)


def skbio_matrix(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n], by scikit-bio; raises `ConfigError` for generalized UniFrac."""
    from skbio.diversity import beta_diversity

    if measure.metric not in SKBIO:
        known = ", ".join(SKBIO)
        raise ConfigError(f"scikit-bio has no {measure.metric} UniFrac (it has {known}); use --engine torch or unifrac")
    metric, options = SKBIO[measure.metric]
    matrix = beta_diversity(
        metric, samples.counts.toarray(), taxa=_names(samples), tree=_skbio_tree(samples), **options
    )
    progress(1, 1)
    return np.array(matrix.data, dtype=np.float64)


def skbio_faith_pd(samples: Community, progress: Progress) -> np.ndarray:
    """Faith PD, float64 [n], by scikit-bio."""
    from skbio.diversity import alpha_diversity

    values = alpha_diversity("faith_pd", samples.counts.toarray(), taxa=_names(samples), tree=_skbio_tree(samples))
    progress(1, 1)
    return values.to_numpy(dtype=np.float64)


def _names(samples: Community) -> list[str]:
    """Names of the leaves in the tree for other packages."""
    return [f"t{leaf}" for leaf in range(len(samples.tree.tip_names))]


def _newick(samples: Community) -> str:
    tree = samples.tree.to_newick(_names(samples))
    return f"({tree.removesuffix(';')}):0.0;"


def _skbio_tree(samples: Community) -> Any:
    from skbio import TreeNode

    return TreeNode.read([_newick(samples)], format="newick")


def _unifrac_input(samples: Community) -> tuple[ModuleType, Any, Any]:
    """The `unifrac` module, a `biom.Table` (samples `s0`, `s1`, ...) and the tree in the format of the package."""
    package = _import("unifrac")
    from biom import Table

    ids = [f"s{row}" for row in range(samples.counts.shape[0])]
    counts = sparse.csr_matrix(samples.counts.T, dtype=np.float64)  # biom does not know sparse arrays yet
    table = Table(counts, _names(samples), ids)
    return package, table, _import("bp").parse_newick(_newick(samples))


@contextmanager
def _suppress_warnings() -> Iterator[None]:
    """Suppress warnings of the package: deprecations in what it uses, advice on alpha 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _import(name: str) -> ModuleType:
    try:
        with _suppress_warnings():
            return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"--engine unifrac: the unifrac package cannot be imported ({error}); install it with "
            "`conda install -c bioconda unifrac` or, as it is the extra 'aam[unifrac]' that only builds beside a C "
            "library, with scripts/install-unifrac, or use --engine torch"
        ) from error


def torch_matrix(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n], exactly symmetric with an exactly zero diagonal."""
    if measure.metric == "unweighted":
        return _unweighted(samples, progress)
    return _weighted(samples, measure, progress)


def torch_faith_pd(samples: Community, progress: Progress) -> np.ndarray:
    """Faith PD of all samples, float64 [n]."""
    values = np.empty(samples.counts.shape[0])
    for start, branches in _blocks(samples):
        stop = start + branches.share.shape[1]
        values[start:stop] = unifrac.faith_pd(branches)
        progress(stop, len(values))
    return values


def _blocks(samples: Community) -> Iterator[tuple[int, BranchShares]]:
    """`BLOCK` samples at a time, with the number of the first; all blocks have the same branches in the same order."""
    counts, total = samples.counts, samples.counts.shape[0]
    ranges = unifrac.branches_above(samples.tree, np.arange(counts.shape[1]))
    for start in range(0, total, BLOCK):
        rows = [slice(*counts.indptr[row : row + 2]) for row in range(start, min(start + BLOCK, total))]
        leaves = [counts.indices[row] for row in rows]
        yield (
            start,
            BranchShares(unifrac.shares_below(ranges, leaves, [counts.data[row] for row in rows]), ranges.length),
        )


def _unweighted(samples: Community, progress: Progress) -> np.ndarray:
    import torch

    total = samples.counts.shape[0]
    packed, length = [], np.zeros(0)
    for _, branches in _blocks(samples):
        packed.append(np.packbits(branches.share > 0, axis=1))
        length = branches.length
    bits = np.concatenate(packed, axis=1)
    shared = torch.zeros((total, total), dtype=torch.float64)
    step = max(1, MEMORY // (16 * total))
    for start in range(0, len(bits), step):
        present = torch.from_numpy(np.unpackbits(bits[start : start + step], axis=1, count=total)).to(torch.float64)
        weighed = present * torch.from_numpy(length[start : start + step, None])
        for row in range(0, total, STRIP_SAMPLES):  # the upper triangle alone: half the work
            shared[row : row + STRIP_SAMPLES, row:].addmm_(weighed[:, row : row + STRIP_SAMPLES].T, present[:, row:])
        progress(min(start + step, len(bits)), len(bits))
    return _finish_unweighted(shared.numpy())


def _finish_unweighted(shared: np.ndarray) -> np.ndarray:
    """Convert shared lengths to distances in place; only the upper triangle is valid before."""
    own = np.diagonal(shared).copy()
    for row in range(0, len(shared), STRIP_SAMPLES):
        strip = slice(row, row + STRIP_SAMPLES)
        corner = np.triu(shared[strip, strip])
        shared[strip, strip] = corner + np.triu(corner, 1).T
        shared[strip, row:] = unifrac.unweighted_from_shared(shared[strip, row:], own[strip], own[row:])
    _mirror(shared)
    return shared


def _weighted(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    total = samples.counts.shape[0]
    result = np.zeros((total, total))
    rows: list[SparseSample] = []
    for start, branches in _blocks(samples):
        count = branches.share.shape[1]
        columns = unifrac.columns_of(branches, measure)
        for row, other in enumerate(rows):
            result[row, start : start + count] = columns.to(other)
        for sample in range(count):
            rows.append(unifrac.sparse_sample(branches, sample))
            result[start + sample, start + sample + 1 : start + count] = columns.to(rows[-1], sample + 1)
        progress(len(rows) ** 2, total**2)
    _mirror(result)
    return result


def _mirror(matrix: np.ndarray) -> None:
    """Copy the upper triangle onto the lower one, in place."""
    for row in range(0, len(matrix), STRIP_SAMPLES):
        strip = slice(row, row + STRIP_SAMPLES)
        corner = np.triu(matrix[strip, strip], 1)
        matrix[strip, strip] = corner + corner.T
        matrix[row + STRIP_SAMPLES :, strip] = matrix[strip, row + STRIP_SAMPLES :].T


MATRIX = {"torch": torch_matrix, "unifrac": unifrac_matrix, "skbio": skbio_matrix}
FAITH_PD = {"torch": torch_faith_pd, "unifrac": unifrac_faith_pd, "skbio": skbio_faith_pd}


def full_matrix(samples: Community, measure: Measure, engine: UnifracEngine, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n]; raises `ConfigError` for an engine that is absent or lacks the metric."""
    return MATRIX[engine](samples, measure, progress)


def full_faith_pd(samples: Community, engine: UnifracEngine, progress: Progress) -> np.ndarray:
    """Faith PD of all samples, float64 [n]; raises `ConfigError` for an engine that is absent."""
    return FAITH_PD[engine](samples, progress)
