"""UniFrac by other packages: `unifrac` (fast, compiled, not on every machine) and scikit-bio (slow, the reference).

Both get the same tree under names of our own (`t0`, `t1`, ...), so no quote or blank in an id can trip a parser, and
with the stem as a branch below the root, because they differ in what they make of a root's own length.
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

from aam.errors import ConfigError
from aam.phylogeny.community import Community, Progress
from aam.phylogeny.unifrac import Measure

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


def unifrac_matrix(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n], by the `unifrac` package; raises `ConfigError` where it is not installed.

    The package ignores ASVs that the tree lacks and crashes without any in common; a `Community` has them all.
    """
    package, table, tree = _unifrac_input(samples)
    options = {"alpha": measure.alpha} if measure.metric == "generalized" else {}
    with _quiet():
        matrix = getattr(package, UNIFRAC[measure.metric])(table, tree, **options)
    progress(1, 1)
    return np.array(matrix.filter(table.ids()).data, dtype=np.float64)


def unifrac_faith_pd(samples: Community, progress: Progress) -> np.ndarray:
    """Faith PD, float64 [n], by the `unifrac` package, to about 1e-6: it passes the tree on as text of few digits."""
    package, table, tree = _unifrac_input(samples)
    with _quiet():
        values = package.faith_pd(table, tree)
    progress(1, 1)
    return values.loc[list(table.ids())].to_numpy(dtype=np.float64)


def skbio_matrix(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n], by scikit-bio, which knows no generalized one (`ConfigError`)."""
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
    """What leaves are called in the tree that the packages see."""
    return [f"t{leaf}" for leaf in range(len(samples.tree.tip_names))]


def _newick(samples: Community) -> str:
    tree = samples.tree.to_newick(_names(samples))
    return f"({tree.removesuffix(';')}):0.0;"


def _skbio_tree(samples: Community) -> Any:
    from skbio import TreeNode

    return TreeNode.read([_newick(samples)], format="newick")


def _unifrac_input(samples: Community) -> tuple[ModuleType, Any, Any]:
    """The package, a `biom.Table` (samples `s0`, `s1`, ...) and the tree as its own balanced parentheses."""
    package = _import("unifrac")
    from biom import Table

    ids = [f"s{row}" for row in range(samples.counts.shape[0])]
    counts = sparse.csr_matrix(samples.counts.T, dtype=np.float64)  # biom does not know sparse arrays yet
    table = Table(counts, _names(samples), ids)
    return package, table, _import("bp").parse_newick(_newick(samples))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps from the user what the package's use of other packages gives rise to: deprecations, advice on alpha 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _import(name: str) -> ModuleType:
    try:
        with _quiet():
            return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"--engine unifrac: the unifrac package cannot be imported ({error}); install it with "
            "`conda install -c bioconda unifrac` or, as it is the extra 'aam[unifrac]' that only builds beside a C "
            "library, with scripts/install-unifrac, or use --engine torch"
        ) from error
