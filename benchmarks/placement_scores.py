"""What `placement.py` says of placements: UniFrac against the truth, errors of places, genera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from placement_data import Study

from aam.observer import no_progress
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.tree import Tree
from aam.phylogeny.unifrac import Measure, build_community
from aam.placement.insertion import find_hosts, insertion_tree
from aam.placement.placements import PLACED, Placements
from aam.placement.reference import Reference

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MEASURES = {"unweighted": Measure("unweighted", 1.0), "weighted": Measure("weighted_normalized", 1.0)}
OTHERS = 1000
"""Tips to which the distances of a placed ASV are compared."""


class Score(NamedTuple):
    """Agreement of pairs of samples with no line fitted: R2, correlation, mean absolute error."""

    r2: float
    r: float
    mae: float


def unifracs(tree: Tree, study: Study) -> dict[str, Floats]:
    """Both UniFracs of a study, whose ids are tips of the tree, for all pairs of samples [pairs].

    The branch above all of its ASVs does not count: it depends on a root far away, and on single ASVs without a place.
    """
    community = build_community(study.counts, study.ids, tree)
    length = community.tree.length.copy()
    length[-1] = 0.0
    community = replace(community, tree=replace(community.tree, length=length))
    pairs = np.triu_indices(study.counts.shape[0], 1)
    return {name: full_matrix(community, measure, "torch", no_progress)[pairs] for name, measure in MEASURES.items()}


def placed_unifracs(reference: Reference, placements: Placements, study: Study) -> dict[str, Floats]:
    """Both UniFracs on the insertion tree, of the ASVs of a study, all of which are placed."""
    return unifracs(insertion_tree(placements, reference, with_reference=False), study)


def score(found: Floats, true: Floats) -> Score:
    """R2, r and MAE of pairs of samples."""
    wrong = found - true
    r2 = 1 - (wrong**2).sum() / ((true - true.mean()) ** 2).sum()
    return Score(float(r2), float(np.corrcoef(found, true)[0, 1]), float(abs(wrong).mean()))


def scores_of(reference: Reference, placements: Placements, study: Study, true: dict[str, Floats]) -> dict[str, float]:
    """All scores of a method against the true UniFracs of a study, all of whose ASVs are placed."""
    found = placed_unifracs(reference, placements, study)
    return {
        f"{metric} {what}": number
        for metric, values in found.items()
        for what, number in score(values, true[metric])._asdict().items()
    }


def placed_by_all(found: Sequence[Placements]) -> Ints:
    """Rows of the ASVs that every method gave a place."""
    return np.flatnonzero(np.all([placements.fate == PLACED for placements in found], axis=0))


class PlaceError(NamedTuple):
    """Mean absolute errors, in units of the tree, of distances to other tips, and of the depth of attachment."""

    distance: float
    attachment: float
    stem: float


def place_error(full: Reference, less: Reference, placements: Placements, rows: Ints) -> PlaceError:
    """Errors of some placed ASVs, whose ids are tips of the full reference and not of the other.

    Distances are those to `OTHERS` tips of the reference less them, drawn by a fixed seed.
    """
    hosts, at = find_hosts(placements, less), np.searchsorted(placements.placed, rows)
    tip, end, joins = hosts.tip[at], hosts.end[at], hosts.joins[at]
    drawn = np.sort(np.random.default_rng(0).permutation(len(less.tree.tip_names))[:OTHERS])
    own = full.tree.leaves_of([placements.ids[row] for row in rows.tolist()])
    rest = full.tree.leaves_of(less.tree.tip_names)
    common = np.minimum(less.ancestors.common(tip[:, None], drawn), joins[:, None])
    found = end[:, None] + less.ancestors.tip_depth[drawn] - 2 * common
    attached = attachment_depth(full, own, rest)
    lower = full.ancestors.tip_depth[rest[0]] - less.ancestors.tip_depth[0]  # by how much the root went down
    stem = full.ancestors.tip_depth[own] - attached
    return PlaceError(
        float(abs(found - full.ancestors.distance(own[:, None], rest[drawn])).mean()),
        float(abs(joins + lower - attached).mean()),
        float(abs(end - joins - stem).mean()),
    )


def attachment_depth(full: Reference, tips: Ints, rest: Ints) -> Floats:
    """Depth at which tips [n] leave the tree of the tips `rest` [m]: that of the deepest common ancestor with one.

    In the order of the leaves it is one of the two neighbours.
    """
    rest = np.sort(rest)
    right = np.searchsorted(rest, tips)
    left, right = rest[np.maximum(right - 1, 0)], rest[np.minimum(right, len(rest) - 1)]
    return np.maximum(full.ancestors.common(tips, left), full.ancestors.common(tips, right))
