"""The work of `aam distance`: by a model, or by placement on a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aam.checkpoint import config_of_encoder
from aam.config import DataConfig, RunConfig, UnifracConfig, from_some, option_flag
from aam.config.apply import DistanceConfig, Inputs
from aam.config.reference import InsertionConfig
from aam.errors import ConfigError
from aam.observer import Observer
from aam.workflows.distance import Distances, distance
from aam.workflows.model_names import find_model, reference_of
from aam.workflows.placed_distance import placed_distance

OF_PLACEMENT = ("metric", "alpha", "reference", "threads", "joint")
"""Options that have no meaning for a model."""


def any_distance(model: Path | None, asked: dict[str, Any], with_tree: bool, observer: Observer) -> Distances:
    """Find UniFrac and Faith PD by the method that the options `asked` name; by default without a model by placement.

    `with_tree`: the caller wants the tree that they are computed on. Raises ConfigError for options that contradict
    the method.
    """
    config = from_some(DistanceConfig, asked)
    if config.method == "placement" or (model is None and config.method == "auto"):
        if model is not None:  # the metric that it has learned, and its reference, unless others are asked for
            model = find_model(model, observer)
            learned = config_of_encoder(model).model
            asked = {"metric": learned.unifrac_metric, "alpha": learned.unifrac_alpha} | asked
            if (reference := reference_of(model)) is not None:
                asked = {"reference": reference} | asked
        data, chosen = from_some(DataConfig, asked), from_some(InsertionConfig, asked)
        return placed_distance(data, from_some(UnifracConfig, asked), chosen, from_some(RunConfig, asked), observer)
    others = [option_flag(name) for name in OF_PLACEMENT if name in asked] + ["--write-tree"] * with_tree
    if others:
        raise ConfigError(
            f"{others[0]} is an option of --method placement; a model predicts the UniFrac that it has learned, so "
            "leave it out, or give --method placement"
        )
    return distance(Inputs.of(model, asked), config, observer)
