"""UniFrac and Faith PD of the samples of a table: predicted from sequences alone, or computed on a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skbio import DistanceMatrix

from aam.checkpoint import find_members
from aam.config import DataConfig, PretrainConfig, RunConfig, UnifracConfig
from aam.config.apply import DistanceConfig, DistanceMethod, Inputs
from aam.corpus.samples import open_rarefied, resolve_inputs
from aam.errors import ConfigError
from aam.evaluation.distance import compute_truth, score_distances, score_faith_pd
from aam.inference.embed import Encoding, as_distances
from aam.inference.known_asvs import SAME_STUDY, hashes_of, read_known
from aam.inference.scales import GROWN, Scales, grown_unifrac, read_scales
from aam.io.ids import SAMPLE_ID
from aam.observer import Observer, Progress
from aam.phylogeny import upgma
from aam.phylogeny.engines import full_faith_pd, full_matrix
from aam.phylogeny.unifrac import Measure, build_community
from aam.workflows.model_names import with_model
from aam.workflows.notes import (
    say_dropped,
    say_lineup,
    say_of_tree,
    warn_of_doubtful_counts,
    warn_of_training_samples,
    warn_of_unequal_depths,
)
from aam.workflows.opening import Opened, open_inputs


@dataclass(frozen=True)
class Distances:
    """Predicted UniFrac and Faith PD of samples; with a tree also the true ones and the metrics.

    `unifrac` is None if Faith PD alone was asked for, `faith_pd` if the model has not learned it. `figures` has the
    metrics of the prediction and of two baselines without learning, or under `skipped` the reason why there are none;
    it is empty without a tree. `newick` is the tree that the distances were computed on, if there is one.
    """

    metric: str
    unifrac: DistanceMatrix | None
    faith_pd: pd.Series | None
    true_unifrac: DistanceMatrix | None
    true_faith_pd: pd.Series | None
    figures: dict[str, Any]
    newick: str | None = None


@dataclass(frozen=True)
class TreeDistances:
    """UniFrac of samples (or Faith PD if that is the metric) on a tree with `asvs` of the ASVs of the table."""

    unifrac: DistanceMatrix | None
    faith_pd: pd.Series | None
    asvs: int


def distance(inputs: Inputs, config: DistanceConfig, observer: Observer) -> Distances:
    """Predict the UniFrac of all pairs of samples, and their Faith PD; with a tree in `inputs.data` score both."""
    inputs = with_model(inputs, observer)
    opened = open_inputs(inputs, observer, with_tree=True, for_unifrac=True)
    (checkpoint,) = find_members(inputs.model)
    method, scales = choose_method(config.method, checkpoint, opened, observer), read_scales(checkpoint)
    model, samples = opened.config.model, opened.samples
    measure = Measure(model.unifrac_metric, model.unifrac_alpha)
    if opened.model.latent_tree is None:  # it reads all ASVs, whatever the limit
        opened.say_limit(inputs.apply, observer)
    encoding = opened.encode(inputs.apply, observer)
    with observer.progress("UniFrac") as progress:
        if method == "grown-tree":
            unifrac = grown_tree_unifrac(encoding, opened, measure, scales, progress)
        else:
            unifrac = as_distances(encoding.best_unifrac(progress))
    if method == "grown-tree" and GROWN not in scales.lines:
        observer.say(
            "distances are in units of the grown tree: this checkpoint does not have the line to the scale of the "
            "training trees (best/ of a finished `aam pretrain` does)"
        )
    faith_pd = predict_faith_pd(encoding, opened, scales, observer)
    ids, true, figures = samples.table.sample_ids, None, dict[str, Any]()
    if samples.tree is not None:
        with observer.progress("true UniFrac") as progress:
            true = compute_truth(samples, measure, progress)
        with observer.stage("comparing"):
            figures = score_distances(unifrac, true, samples, measure, inputs.run.seed, scales.lines)
            if faith_pd is not None:
                figures |= score_faith_pd(faith_pd, true.faith_pd)
        if "skipped" not in figures:
            warn_of_training_samples(inputs.model, ids, observer)
    return Distances(
        model.unifrac_metric,
        DistanceMatrix(unifrac, ids),
        None if faith_pd is None else index_by_sample(faith_pd, ids, "faith_pd"),
        None if true is None else DistanceMatrix(true.unifrac, ids),
        None if true is None else index_by_sample(true.faith_pd, ids, "true_faith_pd"),
        figures,
    )


def choose_method(asked: DistanceMethod, checkpoint: Path, opened: Opened, observer: Observer) -> DistanceMethod:
    """The method to use; for "auto" it depends on the studies of training, and a message gives choice and reason."""
    if asked != "auto" or opened.model.latent_tree is None:
        return asked
    known, tokens, likeness = read_known(checkpoint), opened.samples.tokens, None
    if known is None:
        found = "this checkpoint does not list the ASVs of training (best/ of a finished run does)"
    else:
        hashes = hashes_of(tokens)
        likeness = known.likeness(hashes, opened.samples.table.counts)
        found = "too few samples to tell whether their study was in training"
        if likeness is not None:
            found = f"{known.share_text(hashes)}; similarity to the nearest study of training {likeness:.2f}"
    by_latent_tree = "UniFrac is computed on the latent tree"
    if likeness is None or likeness >= SAME_STUDY:
        reason = "" if likeness is None else f", {SAME_STUDY} or more means the same study"
        observer.say(f"{found}{reason}: {by_latent_tree} (for another study give --method grown-tree)")
        return "latent-tree"
    if len(tokens) > upgma.MAX_ASVS:
        observer.warn(
            f"{found}, which means another study, but {len(tokens):,} ASVs are too many for a grown tree (at most "
            f"{upgma.MAX_ASVS:,}): "
            f"{by_latent_tree}"
        )
        return "latent-tree"
    observer.say(
        f"{found}, below {SAME_STUDY} means another study: UniFrac is computed on a grown tree (for the same study "
        "give --method latent-tree)"
    )
    return "grown-tree"


def grown_tree_unifrac(
    encoding: Encoding, opened: Opened, measure: Measure, scales: Scales, progress: Progress
) -> NDArray[np.float64]:
    """UniFrac [N, N] on a tree grown from learned distances, scaled to the training tree if that line is known."""
    found = grown_unifrac(encoding, opened.samples, measure, progress)
    return as_distances(torch.from_numpy(scales.lines[GROWN].of(found))) if GROWN in scales.lines else found


def predict_faith_pd(
    encoding: Encoding, opened: Opened, scales: Scales, observer: Observer
) -> NDArray[np.float64] | None:
    """Faith PD [N] by the latent tree, or else by the head; None if neither was trained.

    The head is trained only in a run with a tree that gives the term a weight.
    """
    config = opened.config
    with_head = isinstance(config, PretrainConfig) and config.loss.faith_pd_weight > 0
    if scales.faith_pd is None and not (with_head and config.data.unifrac_matrix is None):
        return None
    if scales.faith_pd is None and opened.model.latent_tree is not None:
        observer.say(
            "Faith PD is by the head on sample embeddings, which is less accurate: this checkpoint does not have the "
            "unit of the latent tree (best/ of a finished `aam pretrain` does)"
        )
    return encoding.faith_pd(scales.faith_pd).double().cpu().numpy()


def index_by_sample(values: NDArray[np.float64], ids: Sequence[str], name: str) -> pd.Series:
    """Numbers [N] of samples by id."""
    return pd.Series(values, index=pd.Index(list(ids), name=SAMPLE_ID), name=name)


def unifrac(data: DataConfig, config: UnifracConfig, run: RunConfig, observer: Observer) -> TreeDistances:
    """Compute the UniFrac of all pairs of samples on a tree, or the Faith PD of each; no model takes part.

    Raises an InputError for files that do not fit each other, and ConfigError without a tree.
    """
    with observer.stage("reading the data"):
        data, _ = resolve_inputs(data)
        if data.tree is None:
            raise ConfigError("no tree; give --tree FILE, a rooted phylogeny whose tips are the features of the table")
        table, tree, tips, text, lineup = open_rarefied(data, config.rarefy_depth, run.seed)
    assert tree is not None  # a missing one was refused
    say_dropped(table.dropped, observer)
    observer.say(text)
    say_lineup(lineup, observer)
    say_of_tree(tree, observer)
    warn_of_doubtful_counts(table, observer)
    if not config.metric.startswith("weighted"):
        warn_of_unequal_depths(table, config.rarefy_depth, config.metric, observer)
    samples, ids, asvs = build_community(table.counts, tips, tree), table.sample_ids, len(table.asv_ids)
    with observer.progress(config.metric) as progress:
        if config.metric == "faith_pd":
            diversity = full_faith_pd(samples, config.engine, progress)
            return TreeDistances(None, index_by_sample(diversity, ids, "faith_pd"), asvs)
        found = full_matrix(samples, Measure(config.metric, config.alpha), config.engine, progress)
    return TreeDistances(DistanceMatrix(found, ids), None, asvs)
