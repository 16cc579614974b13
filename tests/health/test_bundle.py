"""Replay bundles: what goes in comes out, nothing is executed, and a step replays bitwise in a fresh process."""

from __future__ import annotations

import json
import math
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aam.errors import CheckpointError
from aam.health.bundle import load_bundle, random_state, restore_random_state, save_bundle


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bundle.safetensors"


def test_content_comes_back_as_it_was(path):
    shared = torch.arange(6.0).reshape(2, 3)
    content = {
        "model": {"a": shared, "b": shared.T, "half": torch.ones(2).bfloat16(), "flag": torch.tensor(True)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}, 1: {}}, "param_groups": [{"betas": (0.9, 0.999)}]},
        "batch": {"ids": ["s1", "ß\n"], "counts": np.arange(3), "empty": torch.zeros(0, 4), "none": None},
        "numbers": [1, 2**80, 0.1, math.inf, True, np.float32(0.5)],
        "odd keys": {"$tensor": 1, 2: "two"},
    }
    back = load_bundle(save_bundle(path, content))
    assert torch.equal(back["model"]["b"], shared.T) and back["model"]["half"].dtype is torch.bfloat16
    assert back["model"]["flag"].item() is True
    assert back["optimizer"]["param_groups"] == [{"betas": (0.9, 0.999)}]
    assert back["optimizer"]["state"][0]["step"].item() == 3.0 and back["optimizer"]["state"][1] == {}
    assert back["batch"]["ids"] == ["s1", "ß\n"] and back["batch"]["counts"].tolist() == [0, 1, 2]
    assert back["batch"]["empty"].shape == (0, 4) and back["batch"]["none"] is None
    assert back["numbers"] == [1, 2**80, 0.1, math.inf, True, 0.5]
    assert back["odd keys"] == {"$tensor": 1, 2: "two"}


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


@settings(max_examples=30, deadline=None)  # each writes and syncs a file
@given(NESTED)
def test_any_nesting_survives(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("bundle") / "b.safetensors"
    assert load_bundle(save_bundle(path, {"value": value})) == {"value": value}


def test_places_that_read_alike_are_kept_apart(path):
    content = {"x": {1: torch.tensor(1), "1": torch.tensor(2)}, "a/b": torch.tensor(3), "a": {"b": torch.tensor(4)}}
    assert load_bundle(save_bundle(path, content)) == content


def test_what_cannot_be_stored_is_named(path):
    with pytest.raises(TypeError, match="/batch/where is a PosixPath"):
        save_bundle(path, {"batch": {"where": path}})
    assert not path.exists()


@pytest.mark.parametrize("damage", ["missing", "empty", "pickle", "cut", "other"])
def test_damaged_files_are_refused(path, damage):
    save_bundle(path, {"x": torch.ones(100)})
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        from safetensors.torch import save_file

        save_file({"x": torch.ones(1)}, path)
    else:
        path.write_bytes({"empty": b"", "pickle": pickle.dumps({"x": 1}), "cut": data[:-50]}[damage])
    with pytest.raises(CheckpointError, match=r"bundle.safetensors: not a readable replay bundle"):
        load_bundle(path)
    with pytest.raises(CheckpointError, match=r"not a readable replay bundle \(no file\); give a bundle.safetensors"):
        load_bundle(path.parent)


def test_a_failed_write_leaves_the_old_bundle(path):
    save_bundle(path, {"x": 1})
    with pytest.raises(TypeError):
        save_bundle(path, {"x": object()})
    assert load_bundle(path) == {"x": 1}
    assert list(path.parent.iterdir()) == [path]


def test_random_state_of_all_generators(path):
    save_bundle(path, random_state())
    drawn = torch.rand(3), np.random.rand(3), random.random()
    restore_random_state(load_bundle(path))
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(drawn[0], again[0]) and np.array_equal(drawn[1], again[1]) and drawn[2] == again[2]


STEP = """
import json, sys
import torch
from torch import nn
from aam.health.bundle import load_bundle, restore_random_state

torch.set_num_threads(1)

def build():
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.3), nn.GELU(), nn.Linear(16, 3))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)

def step(model, optimizer, batch):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(batch["x"]), batch["y"])
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return [loss.item().hex(), norm.item().hex(), [w.hex() for w in weights.tolist()]]

if __name__ == "__main__":
    bundle = load_bundle(sys.argv[1])
    model, optimizer = build()
    model.load_state_dict(bundle["model"])
    optimizer.load_state_dict(bundle["optimizer"])
    restore_random_state(bundle["random"])
    print(json.dumps(step(model, optimizer, bundle["batch"])))
"""


@pytest.mark.slow
def test_step_replays_bitwise_in_a_fresh_process(path, tmp_path):
    script = tmp_path / "replay.py"
    script.write_text(STEP)
    names: dict = {"__name__": "here"}
    exec(STEP, names)
    torch.manual_seed(0)
    model, optimizer = names["build"]()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(3):
        names["step"](model, optimizer, {"x": torch.randn(4, 8), "y": torch.randint(0, 3, (4,))})
    batch = {"x": torch.randn(4, 8), "y": torch.randint(0, 3, (4,))}
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": random_state(),
        "batch": batch,
    }
    save_bundle(path, content)
    here = names["step"](model, optimizer, batch)
    torch.set_num_threads(threads)
    done = subprocess.run([sys.executable, script, path], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == here
    assert isinstance(model[1], nn.Dropout) and model.training  # dropout was on
