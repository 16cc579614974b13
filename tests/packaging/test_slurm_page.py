"""The job scripts of the SLURM page, run with stand-ins for what a cluster has, and read by the real commands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import click
import pytest
from torch.distributed.run import get_args_parser

from aam.cli import pretrain

PAGE = Path(__file__).parents[2] / "docs" / "slurm.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
ONE, MANY = [block for block in BLOCKS if "#SBATCH" in block]
STANDINS = {
    "srun": 'exec "$@"',
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; else echo "$*" >> asked; fi',
    "aam": 'echo "$*" > ran; exit "$CODE"',
    "torchrun": 'echo "$*" > ran; exit "$CODE"',
}


@pytest.fixture
def job(tmp_path: Path):
    """`job(script, code)` runs a script in which training ends with this code; -> its exit code."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in STANDINS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)

    def run(script: str, code: int, **more: str) -> int:
        known = {"PATH": f"{folder}:{os.environ['PATH']}", "CODE": str(code), "SLURM_JOB_ID": "5"}
        known |= {"SLURM_JOB_NODELIST": "node[7-8]"} | more
        return subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, env=known, check=False).returncode

    return run


def read_by_aam(arguments: list[str]) -> dict[str, object]:
    """What `aam pretrain` understands."""
    assert arguments[0] == "pretrain"
    with click.Context(pretrain.command) as context:
        pretrain.command.parse_args(context, arguments[1:])
        return context.params


@pytest.mark.parametrize("block", BLOCKS)
def test_bash_can_read_it(block: str):
    assert subprocess.run(["bash", "-n"], input=block, text=True, check=False).returncode == 0


def test_the_job_of_one_process(job, tmp_path: Path):
    assert job(ONE, 0) == 0
    ran = (tmp_path / "ran").read_text().split()
    found = read_by_aam(ran)
    assert (found["table"], found["num_workers"], found["precision"]) == (Path("table.biom"), 6, "bf16")
    assert "--resume" not in ran and not (tmp_path / "asked").exists()
    (tmp_path / "my-run").mkdir()
    (tmp_path / "my-run" / "manifest.json").touch()
    assert job(ONE, 4) == 4  # interrupted with a checkpoint: once more
    assert read_by_aam((tmp_path / "ran").read_text().split())["resume"] is True
    assert (tmp_path / "asked").read_text() == "requeue 5\n"
    assert job(ONE, 3) == 3 and (tmp_path / "asked").read_text() == "requeue 5\n"  # a fault wants to be looked at


def test_the_job_of_many_processes(job, tmp_path: Path):
    assert job(MANY, 0) == 0
    launch = get_args_parser().parse_args((tmp_path / "ran").read_text().split())
    assert (launch.nnodes, launch.nproc_per_node, launch.rdzv_endpoint) == ("2", "4", "node7:29500")
    assert launch.module and launch.training_script == "aam" and launch.max_restarts == 3
    assert read_by_aam(launch.training_script_args)["tree"] == Path("tree.nwk")
    assert job(MANY, 1) == 1 and not (tmp_path / "asked").exists()  # nothing to go on with
    (tmp_path / "my-run" / "last").mkdir(parents=True)
    (tmp_path / "my-run" / "manifest.json").touch()
    assert job(MANY, 1) == 1
    assert "--resume" in (tmp_path / "ran").read_text() and (tmp_path / "asked").read_text() == "requeue 5\n"
    assert job(MANY, 1, SLURM_RESTART_COUNT="20") == 1 and (tmp_path / "asked").read_text() == "requeue 5\n"


def test_the_command_for_one_machine_is_understood():
    (line,) = (block for block in BLOCKS if block.startswith("torchrun"))
    launch = get_args_parser().parse_args(line.split()[1:])
    assert launch.standalone and launch.nproc_per_node == "4"
    assert read_by_aam(launch.training_script_args)["output_dir"] == Path("my-run")
