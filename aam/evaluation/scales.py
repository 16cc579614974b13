"""What brings a model and its baselines to the units of a tree: found on training samples, kept with the checkpoint.

A later table has no training samples, so nothing of it may be used to find them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aam.corpus import Corpus
from aam.data.dataset import Draw
from aam.errors import CheckpointError
from aam.evaluation.baselines import BASELINES, Line, choose_fit_samples
from aam.evaluation.embed import Encoding, encode_asvs
from aam.models.pretrain_model import PretrainModel

SCALES = "scales.json"
"""File of a checkpoint folder."""
FIT_SAMPLES = 64
"""Most training samples that the factor is found on: their ratios differ by a few percent."""


@dataclass(frozen=True)
class Scales:
    """`faith_pd`: branch length of the tree for each unit of latent length, None where either is missing.

    `lines`: for each baseline that was computed, from its raw distances to UniFrac.
    """

    faith_pd: float | None = None
    lines: dict[str, Line] = field(default_factory=dict)


def read_scales(checkpoint: Path) -> Scales:
    """What stands with a checkpoint; checkpoints of runs that never came to their end have none."""
    file = checkpoint / SCALES
    if not file.exists():
        return Scales()
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        lines = {str(name): Line(*map(float, line)) for name, line in record["lines"].items()}
        return Scales(None if record["faith_pd"] is None else float(record["faith_pd"]), lines)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: not readable ({error}); remove it, or restore the checkpoint") from error


def fit_scales(model: PretrainModel, corpus: Corpus, draw: Draw, figures: Mapping[str, Any]) -> Scales:
    """The scales of a trained model; `figures` are those of the baselines, whose lines come from training samples."""
    found = [name for name in BASELINES if f"baseline_{name}_slope" in figures]
    lines = {name: Line(*(figures[f"baseline_{name}_{part}"] for part in Line._fields)) for name in found}
    return Scales(faith_pd_factor(model, corpus, draw), lines)


def faith_pd_factor(model: PretrainModel, corpus: Corpus, draw: Draw) -> float | None:
    """Tree length over latent length of whole training samples; None without a tree or without a latent tree."""
    train = corpus.sides.train
    chosen = np.sort(train[choose_fit_samples(len(train), draw.seed)[:FIT_SAMPLES]])
    dataset = corpus.drawn(chosen, Draw(draw.depth, None, draw.selection, draw.seed))
    samples = [dataset[row] for row in range(len(dataset))]
    ids, asvs, counts = zip(*((s.sample_id, s.asvs, s.counts) for s in samples), strict=True)
    true = corpus.targets(ids, asvs, counts).faith_pd
    if true is None or model.latent_tree is None:
        return None
    encoded = encode_asvs(model, corpus.tokens, np.unique(np.concatenate(asvs)))
    lengths = Encoding(model, samples, encoded, None).latent_lengths()
    assert lengths is not None
    return ratio(true, lengths.double().cpu().numpy())


def ratio(true: ArrayLike, found: ArrayLike) -> float | None:
    """The factor with the least squared error of logarithms; None where no length is positive."""
    true, found = np.asarray(true, np.float64), np.asarray(found, np.float64)
    some = (true > 0) & (found > 0)
    return float(np.exp(np.log(true[some] / found[some]).mean())) if some.any() else None
