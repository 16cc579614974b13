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
RIDGE, POOLED, OF_STUDY = "ridge.", "forest.", "study-forest-{}."


def to_tensors(ensemble: Ensemble) -> dict[str, Tensor]:
    """All arrays of an ensemble by name."""
    text = "\n".join(ensemble.features.sequences).encode("ascii")
    found = {
        NODES: torch.from_numpy(ensemble.features.nodes),
        SEQUENCES: torch.from_numpy(np.frombuffer(text, np.uint8).copy()),
        CLASSES: torch.tensor(ensemble.classes),
    }
    members: dict[str, Ridge | Forest] = {RIDGE: ensemble.ridge, POOLED: ensemble.pooled}
    members |= {OF_STUDY.format(number): forest for number, forest in enumerate(ensemble.studies)}
    for prefix, member in members.items():
        found |= {prefix + one.name: torch.as_tensor(getattr(member, one.name)) for one in fields(member)}
    return found


def from_tensors(tensors: Mapping[str, Tensor], source: str) -> Ensemble:
    """The ensemble of these tensors; raises CheckpointError, naming the `source`, if one is missing."""
    try:
        text = tensors[SEQUENCES].numpy().tobytes().decode("ascii")
        studies = sorted({name.split(".")[0] for name in tensors if name.startswith("study-forest-")}, key=_number)
        return Ensemble(
            FeatureSet(tensors[NODES].numpy(), tuple(text.split("\n")) if text else ()),
            _member(Ridge, RIDGE, tensors),
            _member(Forest, POOLED, tensors),
            tuple(_member(Forest, f"{name}.", tensors) for name in studies),
            bool(tensors[CLASSES]),
        )
    except (KeyError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{source}: not a complete model of clades ({error}); train again") from error


M = TypeVar("M", Ridge, Forest)


def _number(name: str) -> int:
    return int(name.rsplit("-", 1)[1])


def _member(kind: type[M], prefix: str, tensors: Mapping[str, Tensor]) -> M:
    return kind(**{one.name: _value(tensors[prefix + one.name]) for one in fields(kind)})


def _value(tensor: Tensor) -> Any:
    return tensor.numpy() if tensor.ndim else tensor.item()
