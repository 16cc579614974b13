"""A step is made again from its bundle, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from spoilt_runs import ROW, NewRun, infinite_count, spoil

from aam.errors import NonFiniteError
from aam.health.bundle import load_bundle, save_bundle
from aam.stopping import StopRequest
from aam.training.bundles import BUNDLE, Bundle, compare_outcomes, open_bundle, replay
from aam.training.diagnosis import Diagnosis, diagnose
from aam.training.faults import FAULTS
from aam.training.loop import train


def trace(bundle: Bundle) -> Diagnosis:
    return diagnose(bundle.learner, bundle.attempt, bundle.names)


@pytest.fixture
def path(new_run: NewRun, tmp_path: Path) -> Path:
    """The bundle of a healthy step."""
    run, state = new_run("run", max_steps=4, bundle_step=3, accumulate=2)
    train(run, state, StopRequest())
    return tmp_path / "run" / "bundles" / "step-3" / BUNDLE


@pytest.mark.slow
def test_a_healthy_step_is_made_again_in_another_process(path: Path):
    done = subprocess.run([sys.executable, "-m", "aam", "replay", str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("same bits") == 3, done.stdout + done.stderr


def test_a_healthy_step_is_made_again(path: Path, tmp_path: Path):
    bundle = open_bundle(path, torch.device("cpu"))
    assert bundle.config.model.dropout == 0.2 and trace(bundle).report.ok
    assert all(row.same for row in compare_outcomes(bundle.outcome, replay(bundle)))
    content = load_bundle(path)
    content["model"]["scalars.pd.weight"] += 1e-7
    changed = open_bundle(save_bundle(tmp_path / "changed.safetensors", content), torch.device("cpu"))
    assert not all(row.same for row in compare_outcomes(bundle.outcome, replay(changed)))


def test_a_fault_is_made_again_from_its_bundle(new_run: NewRun, tmp_path: Path):
    run, state = new_run("run", max_steps=6)
    seen = spoil(run, infinite_count)
    with pytest.raises(NonFiniteError):
        train(run, state, StopRequest())
    bundle = open_bundle(tmp_path / "run" / FAULTS / "step-4" / BUNDLE, torch.device("cpu"))
    fault = trace(bundle)
    assert fault.verdict.cause == "input" and fault.samples == (seen[0].sample_ids[ROW],)
    again = replay(bundle)
    assert not again.updated and all(row.same for row in compare_outcomes(bundle.outcome, again))
