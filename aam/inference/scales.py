"""Conversion of outputs of a model and of baselines to the units of the tree, and UniFrac on grown trees.

The factors and lines are fitted on training samples at the end of a run and stored with the checkpoint, because they
cannot be fitted on a later table without tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from aam.atomic import write_record
from aam.checkpoint import check_further_file, further_file
from aam.corpus.dataset import Draw, Sample, target_arguments
from aam.corpus.pretraining import Corpus
from aam.corpus.samples import TableSamples
from aam.errors import CheckpointError, ConfigError
from aam.evaluation.baselines import BASELINES, Line, choose_fit_samples, fit_line
from aam.evaluation.metrics import known_pairs
from aam.inference.asvs import encode_asvs
from aam.inference.embed import Encoding
from aam.io.files import read_json_file
from aam.models.latent_tree import Branches, LatentTree
from aam.models.pretrain_model import PretrainModel
from aam.observer import Progress
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.targets import BatchTargets, TreeTargets
from aam.phylogeny.tree import Tree
from aam.phylogeny.unifrac import Measure, build_community
from aam.phylogeny.upgma import MAX_ASVS, hamming_distances, upgma_tree

DISTANCE_ROWS = 512
"""ASVs whose distances to all others are computed at once; bounds memory and does not change results."""
SCALES = "scales.json"
"""File of a checkpoint folder."""
GROWN = "grown_tree"
"""Name of the line for UniFrac on grown trees, which are ultrametric and make distances too large."""
SCALE_SAMPLES = 64
"""Most training samples that scales are fitted on: ratios differ by a few percent, and there are 2,016 pairs."""


def grown_unifrac(
    encoding: Encoding, samples: TableSamples, measure: Measure, progress: Progress
) -> NDArray[np.float64]:
    """UniFrac [N, N] of samples on a tree of their own ASVs; raises ConfigError if this is impossible."""
    latent = encoding.model.latent_tree
    if latent is None:
        raise ConfigError("the model has no latent tree to grow another from; train it with --unifrac-head both")
    if len(samples.tokens) > MAX_ASVS:
        raise ConfigError(
            f"{samples.table.source}: {len(samples.tokens):,} ASVs, expected at most {MAX_ASVS:,} to grow a tree of "
            "all pairs; use --method latent-tree, or fewer samples"
        )
    names = [str(column) for column in samples.columns]
    tree = grow_tree(latent, encoding.asvs.embeddings, samples.tokens, names)
    return full_matrix(build_community(samples.table.counts, names, tree), measure, "torch", progress)


def grow_tree(latent: LatentTree, embeddings: torch.Tensor, tokens: NDArray[np.uint8], names: list[str]) -> Tree:
    """Build a UPGMA tree of ASVs with embeddings [A, D] and tokens [A, L], in the units of the training tree.

    Distances are geometric means of learned distances and Hamming distances, scaled to the mean of the learned ones.
    """
    learned = learned_distances(latent, embeddings)
    found = np.sqrt(learned * hamming_distances(tokens))
    scale = learned.sum() / found.sum() if found.any() else 1.0
    return upgma_tree(found * scale, names)


@torch.inference_mode()
def learned_distances(latent: LatentTree, embeddings: torch.Tensor) -> NDArray[np.float64]:
    """Patristic distances between ASVs [A, D] by the latent tree, [A (A - 1) / 2] in scipy's condensed order."""
    branches = latent(embeddings)
    rows = []
    for start in range(0, len(embeddings), DISTANCE_ROWS):
        near = slice(start, start + DISTANCE_ROWS)
        some = Branches(branches.members[near], branches.tips[near], branches.lengths)
        rest = Branches(branches.members[start:], branches.tips[start:], branches.lengths)
        distances = latent.patristic(some, rest).double().cpu().numpy()
        rows += [row[place + 1 :] for place, row in enumerate(distances)]
    return np.concatenate(rows)


@dataclass(frozen=True)
class Scales:
    """Scales of one model.

    `faith_pd`: factor from latent length to branch length of the tree, None without a tree or a latent tree.
    `lines`: from raw distances to UniFrac, for each baseline that was computed and for grown trees (`GROWN`).
    """

    faith_pd: float | None = None
    lines: dict[str, Line] = field(default_factory=dict)


def write_scales(checkpoint: Path, scales: Scales) -> None:
    """Write the scales into the folder of a checkpoint."""
    with further_file(checkpoint, SCALES):
        write_record(checkpoint / SCALES, asdict(scales))


def read_scales(checkpoint: Path) -> Scales:
    """Read the scales of a checkpoint; empty if its run is not finished. Raises CheckpointError for a damaged file."""
    file = checkpoint / SCALES
    check_further_file(checkpoint, SCALES)
    if not file.exists():
        return Scales()

    def parse(record: Any) -> Scales:
        lines = {str(name): Line(*map(float, line)) for name, line in record["lines"].items()}
        return Scales(None if record["faith_pd"] is None else float(record["faith_pd"]), lines)

    return read_json_file(file, parse, CheckpointError, "remove it, or restore the checkpoint")


def fit_scales(model: PretrainModel, corpus: Corpus, draw: Draw, figures: Mapping[str, Any]) -> Scales:
    """Fit the scales of a trained model; `figures` has the lines of the baselines, fitted on training samples."""
    found = [name for name in BASELINES if f"baseline_{name}_slope" in figures]
    lines = {name: Line(*(figures[f"baseline_{name}_{part}"] for part in Line._fields)) for name in found}
    if model.latent_tree is None:
        return Scales(None, lines)
    known = training_samples(model, corpus, draw)
    grown = fit_grown_line(model.latent_tree, known, corpus.tokens)
    return Scales(fit_faith_pd_factor(known), lines if grown is None else lines | {GROWN: grown})


class ScaleSamples(NamedTuple):
    """Training samples with all their ASVs, encoded by a model, and their targets on the training tree."""

    samples: list[Sample]
    encoding: Encoding
    true: BatchTargets


def training_samples(model: PretrainModel, corpus: Corpus, draw: Draw) -> ScaleSamples:
    """At most `SCALE_SAMPLES` training samples, with all their ASVs."""
    train = corpus.sides.train
    chosen = np.sort(train[choose_fit_samples(len(train), draw.seed)[:SCALE_SAMPLES]])
    dataset = corpus.samples(chosen, draw.without_limit)
    samples = [dataset[row] for row in range(len(dataset))]
    true = corpus.targets(*target_arguments(samples))
    encoded = encode_asvs(model, corpus.tokens, np.unique(np.concatenate([sample.asvs for sample in samples])))
    return ScaleSamples(samples, Encoding(model, samples, encoded, None), true)


def fit_faith_pd_factor(known: ScaleSamples) -> float | None:
    """Fit the factor from latent length to tree length of samples; None if they have no tree."""
    lengths = known.encoding.latent_lengths()
    if known.true.faith_pd is None or lengths is None:
        return None
    return log_mean_ratio(known.true.faith_pd, lengths.double().cpu().numpy())


def fit_grown_line(latent: LatentTree, known: ScaleSamples, tokens: NDArray[np.uint8]) -> Line | None:
    """Fit the line from UniFrac on a grown tree to true UniFrac; None if samples have more than `MAX_ASVS` ASVs."""
    ids, asvs, counts = target_arguments(known.samples)
    columns, embeddings = known.encoding.asvs
    if len(columns) > MAX_ASVS:
        return None
    names = [str(column) for column in columns]
    tree = grow_tree(latent, embeddings, tokens[columns], names)
    own = [np.searchsorted(columns, some) for some in asvs]
    raw = TreeTargets(tree, tree.leaves_of(names), latent.metric, latent.alpha)(ids, own, counts).unifrac
    true = known.true.unifrac
    return Line(*fit_line(known_pairs(raw, true), known_pairs(true, true)))


def log_mean_ratio(true: ArrayLike, found: ArrayLike) -> float | None:
    """The factor with the least squared error of logarithms; None if no length is positive."""
    true, found = np.asarray(true, np.float64), np.asarray(found, np.float64)
    some = (true > 0) & (found > 0)
    return float(np.exp(np.log(true[some] / found[some]).mean())) if some.any() else None
