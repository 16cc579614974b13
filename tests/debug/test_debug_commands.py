"""The debug scripts as they are called: their options and exit codes, one of them in a process of its own."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aam.checkpoint import Checkpoint, save_checkpoint
from aam.cli.debugging import script_workbench
from aam.datasets import example
from aam.errors import ConfigError, InputError
from aam.folders import BEST
from aam.workflows.workbench import Workbench

SCRIPTS = Path(__file__).parents[2] / "debug"
SMALL = ["--preset", "tiny", "--batch-size", "4", "--device", "cpu"]
SOUND = {
    "investigate_nucleotide_nan": ["--precision", "fp16"],
    "investigate_all_padding": ["--token-limit", "16", "--batches", "2"],
    "investigate_batching_logic": ["--token-limit", "16", "--num-workers", "1"],
    "debug_nan_token_limit": ["--token-limit", "8", "--token-limit", "16", "--accumulate", "2", "--steps", "1"],
}
APART = "investigate_batching_logic"
"""Starts processes, which is done from a process of its own rather than from that of the tests."""


def called(script: str, *options: str) -> int:
    """Exit code of a script that runs as the main program, within this process: importing torch takes seconds."""
    argv, sys.argv = sys.argv, [script, *options]
    try:
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    finally:
        sys.argv = argv
    return stopped.value.code


def saved_run(folder: Path, opened: Workbench, scale: float) -> Path:
    """A run directory whose model has the first matrix of its transformer scaled."""
    weights = {name: tensor.clone() for name, tensor in opened.learner.model.state_dict().items()}
    weights["asv_encoder.transformer.blocks.0.attention.project.weight"] *= scale
    save_checkpoint(folder / BEST, Checkpoint(opened.config, weights, {}, {}))
    return folder


@pytest.mark.parametrize("name", sorted(set(SOUND) - {APART}))
def test_a_script_passes_on_the_example(name: str, capsys) -> None:
    assert called(name, *SMALL, *SOUND[name]) == 0
    out = capsys.readouterr().out
    assert "checks passed" in out
    assert "FAULT" not in out


@pytest.mark.slow
def test_a_script_that_starts_processes_passes_on_the_example() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{APART}.py"), *SMALL, *SOUND[APART]],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 processes against this one" in done.stdout


def test_a_run_that_overflows_fails(tmp_path: Path, opened: Workbench, capsys) -> None:
    assert called("investigate_nucleotide_nan", "--model", str(saved_run(tmp_path, opened, 1e37))) == 1
    out = capsys.readouterr().out
    assert "first non-finite place: " in out
    assert "asv_encoder.transformer.blocks.0.attention" in out


@pytest.mark.parametrize("name", SOUND)
def test_refused_input_is_one_line_and_code_2(name: str, capsys) -> None:
    assert called(name, "--table", "absent.biom", "--tree", str(example().tree)) == 2
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.startswith("Error")]
    assert len(told) == 1
    assert "absent.biom" in told[0]
    assert not out


def test_a_trained_run_is_looked_into_with_its_own_options(tmp_path: Path, opened: Workbench) -> None:
    run = saved_run(tmp_path, opened, 1.5)
    bench = script_workbench(run, token_limit=5, table=None)
    assert bench.config.optim.batch_size == opened.config.optim.batch_size
    assert bench.config.data.example
    assert int(bench.batches[0].valid.sum(1).max()) == 5
    name = "asv_encoder.transformer.blocks.0.attention.project.weight"
    wanted = opened.learner.model.state_dict()[name] * 1.5
    assert torch.equal(bench.learner.model.state_dict()[name], wanted)


def test_a_table_beside_a_trained_run_brings_its_own_tree(tmp_path: Path, opened: Workbench) -> None:
    run = saved_run(tmp_path, opened, 1.0)
    with pytest.raises(ConfigError, match="neither of --tree and --unifrac-matrix"):
        script_workbench(run, table=tmp_path / "other.biom")


def test_options_out_of_bounds_are_refused_beside_a_trained_run(tmp_path: Path, opened: Workbench) -> None:
    run = saved_run(tmp_path, opened, 1.0)
    with pytest.raises(InputError, match="--token-limit is 0"):
        script_workbench(run, token_limit=0)
