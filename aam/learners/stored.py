"""A fitted ensemble as tensors, which a checkpoint stores, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from aam.errors import CheckpointError
from aam.learners.ensemble import Ensemble
from aam.learners.features import FeatureSet
from aam.learners.forest import Forest
from aam.learners.ridge import Ridge

NODES, SEQUENCES, CLASSES = "features.nodes", "features.sequences", "classes"
PRIOR, PRIOR_SHARE, FOREST_FROM = "prior.", "prior_share", "forest_from"
RIDGE, POOLED, OF_STUDY = "ridge.", "forest.", "study-forest-"


def to_tensors(ensemble: Ensemble) -> dict[str, Tensor]:
    """All arrays of an ensemble, and of its prior, by name."""
    text = "\n".join(ensemble.features.sequences).encode("ascii")
    found = {
        NODES: torch.from_numpy(ensemble.features.nodes),
        SEQUENCES: torch.from_numpy(np.frombuffer(text, np.uint8).copy()),
        CLASSES: torch.tensor(ensemble.classes),
        FOREST_FROM: torch.tensor(ensemble.forest_from),
        PRIOR_SHARE: torch.tensor(ensemble.prior_share, dtype=torch.float64),
    }
    members: dict[str, Ridge | Forest] = {RIDGE: ensemble.ridge, POOLED: ensemble.pooled}
    members |= {f"{OF_STUDY}{number}.": forest for number, forest in enumerate(ensemble.studies)}
    for prefix, member in members.items():
        found |= {prefix + one.name: as_tensor(getattr(member, one.name)) for one in fields(member)}
    if ensemble.prior is not None:
        found |= {f"{PRIOR}{name}": tensor for name, tensor in to_tensors(ensemble.prior).items()}
    return found


def as_tensor(value: Any) -> Tensor:
    """An array, or a number in double precision, as a tensor."""
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else torch.as_tensor(value)


def from_tensors(tensors: Mapping[str, Tensor], source: str) -> Ensemble:
    """The ensemble of these tensors; raises CheckpointError, naming the `source`, if one is missing."""
    prior = {name.removeprefix(PRIOR): tensor for name, tensor in tensors.items() if name.startswith(PRIOR)}
    try:
        text = tensors[SEQUENCES].numpy().tobytes().decode("ascii")
        numbers = sorted(
            {int(name.split(".")[0].removeprefix(OF_STUDY)) for name in tensors if name.startswith(OF_STUDY)}
        )
        return Ensemble(
            FeatureSet(tensors[NODES].numpy(), tuple(text.split("\n")) if text else ()),
            _member(Ridge, RIDGE, tensors),
            _member(Forest, POOLED, tensors),
            tuple(_member(Forest, f"{OF_STUDY}{number}.", tensors) for number in numbers),
            bool(tensors[CLASSES]),
            int(tensors[FOREST_FROM]),
            from_tensors(prior, source) if prior else None,
            float(tensors[PRIOR_SHARE]),
        )
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: not a complete model of clades ({error}); train again") from error


M = TypeVar("M", Ridge, Forest)


def _member(kind: type[M], prefix: str, tensors: Mapping[str, Tensor]) -> M:
    return kind(**{one.name: _value(tensors[prefix + one.name]) for one in fields(kind)})


def _value(tensor: Tensor) -> Any:
    return tensor.numpy() if tensor.ndim else tensor.item()
