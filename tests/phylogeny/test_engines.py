"""Whole matrices: every engine that can be imported gives the same numbers, and none needs the whole table unpacked."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from aam.errors import ConfigError, TreeError
from aam.io.table import read_table
from aam.phylogeny import engines as blocks
from aam.phylogeny import unifrac
from aam.phylogeny.engines import full_faith_pd, full_matrix
from aam.phylogeny.tree import Tree, match_tips, parse_tree, read_tree
from aam.phylogeny.unifrac import Community, Measure, build_community

METRICS = ["unweighted", "weighted", "weighted_normalized", "generalized"]


def ignore(done: int, total: int) -> None:
    """Progress that nobody watches."""


def random_tree(tips: int, rng: np.random.Generator) -> Tree:
    """Joins of two or three random parts, with some lengths 0 and a stem."""
    parts = [f"'tip {tip}':{rng.random():.4f}" for tip in range(tips)]
    while len(parts) > 2:
        size = int(rng.integers(2, 4))
        chosen = sorted(rng.choice(len(parts), min(size, len(parts)), replace=False), reverse=True)
        joined = ",".join(parts.pop(place) for place in chosen)
        parts.append(f"({joined}):{rng.choice([0.0, rng.random()]):.4f}")
    return parse_tree(f"({','.join(parts)}):0.375;".encode(), "t.nwk")


@pytest.fixture(scope="module")
def samples() -> Community:
    """603 samples (five blocks, two strips, not a whole number of bytes) of 40 among 60 tips; two are alike."""
    rng = np.random.default_rng(0)
    tree = random_tree(60, rng)
    names = [tree.tip_names[leaf] for leaf in rng.permutation(60)[:40]]
    counts = rng.poisson(rng.gamma(0.2, 5.0, size=(603, 40))).astype(np.int64)
    counts[:, 0] += counts.sum(axis=1) == 0
    counts[7] = counts[600]
    return build_community(sparse.csr_array(counts), names, tree)


@pytest.fixture
def unifrac_package() -> None:
    """Skips the test where the unifrac package is not installed (scripts/install-unifrac installs it)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its use of pkg_resources is deprecated
        pytest.importorskip("unifrac")


def by_pairs(samples: Community, measure: Measure) -> np.ndarray:
    """All distances by the batch kernel in one batch, as the other tests know it to be right."""
    rows = [slice(*samples.counts.indptr[row : row + 2]) for row in range(samples.counts.shape[0])]
    leaves = [samples.counts.indices[row] for row in rows]
    branches = unifrac.branch_shares(samples.tree, leaves, [samples.counts.data[row] for row in rows])
    return unifrac.unifrac_distances(branches, measure)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_give_what_one_batch_gives(samples: Community, metric: str, monkeypatch: pytest.MonkeyPatch):
    measure, reported = Measure(metric, 0.5), []
    monkeypatch.setattr(blocks, "MEMORY", 16 * 603 * 20)  # 20 branches a product
    found = blocks.torch_matrix(samples, measure, lambda done, total: reported.append((done, total)))
    assert np.abs(found - by_pairs(samples, measure)).max() < 1e-12
    assert np.array_equal(found, found.T)
    assert not np.diagonal(found).any()
    assert found[7, 600] == 0.0
    assert len(reported) > 1
    assert reported == sorted(reported)
    assert reported[-1][0] == reported[-1][1]


@pytest.mark.parametrize("metric", METRICS[:3])
def test_scikit_bio_agrees(samples: Community, metric: str):
    few = Community(samples.counts[:40], samples.tree)
    measure = Measure(metric, 0.5)
    assert np.abs(full_matrix(few, measure, "skbio", ignore) - full_matrix(few, measure, "torch", ignore)).max() < 1e-6


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.usefixtures("unifrac_package")
def test_the_unifrac_package_agrees(samples: Community, metric: str):
    for alpha in (0.5, 1.0) if metric == "generalized" else (0.5,):
        measure = Measure(metric, alpha)
        theirs = full_matrix(samples, measure, "unifrac", ignore)
        assert np.abs(theirs - full_matrix(samples, measure, "torch", ignore)).max() < 1e-6


@pytest.mark.parametrize("name", ["ecam-infants", "udca-gut"])
@pytest.mark.usefixtures("unifrac_package")
def test_the_unifrac_package_agrees_on_real_studies(study: Callable[[str], Path], name: str):
    folder = study(name)
    tree, table = read_tree(folder / "tree.nwk"), read_table(folder / "table.biom")
    match = match_tips(table.asv_ids, table.sequences, tree, 0.0)
    few = build_community(table.counts[:100], match.tips, tree)
    for metric in METRICS:
        measure = Measure(metric, 0.5)
        theirs = full_matrix(few, measure, "unifrac", ignore)
        assert np.abs(theirs - full_matrix(few, measure, "torch", ignore)).max() < 1e-6
    ours = full_faith_pd(few, "torch", ignore)
    assert full_faith_pd(few, "unifrac", ignore) == pytest.approx(ours, rel=1e-5)  # its tree goes through a file


@pytest.mark.usefixtures("unifrac_package")
def test_faith_pd_agrees_everywhere(samples: Community):
    ours = full_faith_pd(samples, "torch", ignore)
    assert full_faith_pd(samples, "skbio", ignore) == pytest.approx(ours, abs=1e-9)
    assert full_faith_pd(samples, "unifrac", ignore) == pytest.approx(ours, rel=1e-5)


def test_scikit_bio_has_no_generalized_unifrac(samples: Community):
    with pytest.raises(ConfigError, match="no generalized UniFrac .* use --engine torch or unifrac"):
        full_matrix(samples, Measure("generalized", 0.5), "skbio", ignore)


@pytest.mark.parametrize("engine", ["torch", "skbio"])
def test_reads_of_asvs_that_share_a_tip_add_up(samples: Community, engine: str):
    """As two spellings of one sequence do: columns 0 and 1 are those of the third tip, whose reads they have."""
    tips = list(samples.tree.tip_names)
    whole = samples.counts[:30].toarray()
    cut = np.c_[whole[:, 2] // 3, whole[:, 2] - whole[:, 2] // 3, np.delete(whole, 2, axis=1)]
    names = [tips[2], tips[2], *tips[:2], *tips[3:]]
    one, two = Community(samples.counts[:30], samples.tree), build_community(sparse.csr_array(cut), names, samples.tree)
    measure = Measure("weighted", 0.5)
    wanted, found = (full_matrix(each, measure, engine, ignore) for each in (one, two))
    np.testing.assert_allclose(found, wanted, atol=1e-12, rtol=0)
    assert wanted.max() > 0.1


def test_asvs_that_are_no_tips_are_refused_before_any_engine(samples: Community):
    with pytest.raises(TreeError, match="no tips: 1 of 2, e.g. 'absent'"):
        build_community(samples.counts[:, :2], [samples.tree.tip_names[0], "absent"], samples.tree)


@pytest.mark.skipif(importlib.util.find_spec("unifrac") is not None, reason="the unifrac package is installed")
def test_an_engine_that_is_not_installed_says_how_to_get_it(samples: Community):
    with pytest.raises(ConfigError, match="scripts/install-unifrac"):
        full_matrix(samples, Measure("unweighted", 0.5), "unifrac", ignore)
