"""Replay bundles: all inputs of one training step in one safetensors file, without pickle.

The content is any nesting of dicts, lists and tuples over tensors, text, numbers, booleans and None: weights, optimiser
state, random states, batch, configuration. Tensors go to the tensor part of the file, the rest as JSON into its
metadata.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aam.atomic import follow_umask, replace_file
from aam.errors import CheckpointError

BUNDLE_FORMAT = "1"
TENSOR, TUPLE, PAIRS = "$tensor", "$tuple", "$pairs"  # how JSON marks what it has no notation for


def save_bundle(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a bundle so that a reader sees the old file or the complete new one; return its path.

    Raises `TypeError`, naming its place, for a value of another type than those above.
    """
    tensors: dict[str, Tensor] = {}
    record = _pack(dict(content), "", tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        save_file(tensors, partial, metadata={"format": BUNDLE_FORMAT, "content": json.dumps(record)})
        follow_umask(partial)
    return path


def load_bundle(path: Path) -> dict[str, Any]:
    """The content of a bundle as it was saved, its tensors on the CPU. Nothing in the file is executed.

    Raises `CheckpointError` for a file that is missing, damaged or no bundle.
    """
    if not Path(path).is_file():
        raise CheckpointError(
            f"{path}: not a readable replay bundle (no file); give a bundle.safetensors that a run wrote at a fault"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        if metadata.get("format") != BUNDLE_FORMAT:
            raise ValueError(f"format {metadata.get('format')!r}, expected {BUNDLE_FORMAT!r}")
        return _unpack(json.loads(metadata["content"]), tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not a readable replay bundle ({error}); give a .safetensors file written at a fault"
        ) from error


def _pack(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    """Convert a value to JSON; tensors are moved to `tensors`, under the name of their place `where`."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        # A copy of its own: tied and sliced tensors share memory, which the format refuses.
        name = f"{len(tensors)}{where}"  # places alone may be alike: of the keys 1 and "1", of "a/b" and "b" in "a"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {TENSOR: name}
    if isinstance(value, Mapping):
        plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
        if plain:
            return {key: _pack(item, f"{where}/{key}", tensors) for key, item in value.items()}
        return {
            PAIRS: [[_pack(key, where, tensors), _pack(item, f"{where}/{key}", tensors)] for key, item in value.items()]
        }
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{where}/{index}", tensors) for index, item in enumerate(value)]
        return {TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"replay bundle: {where or 'the content'} is a {type(value).__name__}, which cannot be stored")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return tensors[value[TENSOR]]
    if TUPLE in value:
        return tuple(_unpack(item, tensors) for item in value[TUPLE])
    if PAIRS in value:
        return {_unpack(key, tensors): _unpack(item, tensors) for key, item in value[PAIRS]}
    return {key: _unpack(item, tensors) for key, item in value.items()}


def random_state() -> dict[str, Any]:
    """State of every global generator a step may draw from: torch on CPU and on all CUDA devices, numpy, Python."""
    return torch_state() | {"numpy": np.random.get_state(), "python": random.getstate()}


def torch_state() -> dict[str, Any]:
    """The part of `random_state` that belongs to torch: it changes in every training step and is cheap to keep."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_torch_state(state: Mapping[str, Any]) -> None:
    """The part of `restore_random_state` that belongs to torch."""
    torch.set_rng_state(state["torch"].cpu())
    for device, cuda in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda.cpu(), device)


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set the generators to a state that `random_state` returned; states of absent CUDA devices are left out."""
    restore_torch_state(state)
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.asarray(keys), position, has_gauss, cached))
    random.setstate(state["python"])
