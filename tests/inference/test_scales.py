"""Factors and lines that are kept with a checkpoint: by hand, against a tree that is known, and read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from trained_run import save_run

from aam.checkpoint import open_model
from aam.config import DataConfig, PretrainConfig
from aam.corpus.dataset import Draw
from aam.corpus.pretraining import open_corpus
from aam.errors import CheckpointError
from aam.evaluation.baselines import Line
from aam.evaluation.metrics import upper_triangle
from aam.folders import BEST
from aam.inference.asvs import encode_asvs
from aam.inference.embed import Encoding
from aam.inference.scales import (
    GROWN,
    SCALES,
    Scales,
    fit_faith_pd_factor,
    fit_scales,
    grow_tree,
    log_mean_ratio,
    read_scales,
    training_samples,
)
from aam.phylogeny.targets import TreeTargets


def test_the_ratio_by_hand():
    assert log_mean_ratio([2.0, 8.0], [1.0, 1.0]) == pytest.approx(4.0)  # the geometric mean of 2 and 8
    assert log_mean_ratio([3.0, 0.0], [1.5, 7.0]) == pytest.approx(2.0)  # an empty sample says nothing
    assert log_mean_ratio([0.0], [1.0]) is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("scales") / "run")


def test_training_samples_alone_give_the_factor(run: Path):
    """With it the mean logarithm of the lengths is that of the tree, on the very samples it was found on."""
    corpus = open_corpus(PretrainConfig(data=DataConfig(example=True)))
    model, _ = open_model(run)
    draw = Draw(corpus.depth, None, "abundance", 0)
    factor = fit_faith_pd_factor(training_samples(model, corpus, draw))
    held_out = set(corpus.split.validation)
    dataset = corpus.samples(corpus.sides.train, draw)
    chosen = [dataset[int(row)] for row in np.random.default_rng(0).permutation(len(dataset))[:64]]
    assert not held_out & {sample.sample_id for sample in chosen}
    asvs = encode_asvs(model, corpus.tokens, np.unique(np.concatenate([sample.asvs for sample in chosen])))
    found = Encoding(model, chosen, asvs, None).faith_pd(factor).numpy()
    ids, columns, counts = zip(*((s.sample_id, s.asvs, s.counts) for s in chosen), strict=True)
    true = corpus.targets(ids, columns, counts).faith_pd
    assert np.log(found).mean() == pytest.approx(np.log(true).mean(), abs=0.01)  # reads are drawn anew


def test_the_line_of_grown_trees_leaves_no_bias_on_the_samples_it_was_found_on(run: Path):
    """Least squares with an intercept: the mean of the residuals is zero, and they are uncorrelated with the raw."""
    corpus = open_corpus(PretrainConfig(data=DataConfig(example=True)))
    model, _ = open_model(run)
    draw = Draw(corpus.depth, None, "abundance", 0)
    line = fit_scales(model, corpus, draw, {}).lines[GROWN]
    known = training_samples(model, corpus, draw)
    columns, embeddings = known.encoding.asvs
    names = [str(column) for column in columns]
    tree = grow_tree(model.latent_tree, embeddings, corpus.tokens[columns], names)
    on_tree = TreeTargets(tree, tree.leaves_of(names), "unweighted", 0.5)
    samples = known.samples
    own = [np.searchsorted(columns, sample.asvs) for sample in samples]
    raw = upper_triangle(on_tree([s.sample_id for s in samples], own, [s.counts for s in samples]).unifrac)
    residuals = line.of(raw) - upper_triangle(known.true.unifrac)
    assert residuals.mean() == pytest.approx(0, abs=1e-9)
    assert residuals @ (raw - raw.mean()) == pytest.approx(0, abs=1e-7)


def test_a_model_without_a_latent_tree_has_no_factor(tmp_path: Path):
    corpus = open_corpus(PretrainConfig(data=DataConfig(example=True)))
    model, _ = open_model(save_run(tmp_path / "run", unifrac_head="euclidean"))
    figures = {"baseline_jaccard_slope": 0.7, "baseline_jaccard_intercept": 0.1, "baseline_upgma_skipped": "too many"}
    found = fit_scales(model, corpus, Draw(None, None, "abundance", 0), figures)
    assert found == Scales(None, {"jaccard": Line(0.7, 0.1)})


def test_what_was_written_is_read(run: Path, tmp_path: Path):
    assert read_scales(run / BEST) == Scales()
    (tmp_path / SCALES).write_text(json.dumps({"faith_pd": 2.5, "lines": {"upgma": [3.0, 0.25]}}))
    assert read_scales(tmp_path) == Scales(2.5, {"upgma": Line(3.0, 0.25)})
    for broken in ('{"faith_pd": "x", "lines": {}}', "{", "[]", '{"faith_pd": 1, "lines": {"upgma": [1]}}'):
        (tmp_path / SCALES).write_text(broken)
        with pytest.raises(CheckpointError, match="scales.json: not readable"):
            read_scales(tmp_path)
