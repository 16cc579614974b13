"""Two ranks that are killed together, wherever they are, go on to the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.multiprocessing
from cut_processes import KINDS, arm, kill_self
from rank_processes import SMALL, run_ranks
from safetensors.torch import load_file

from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import open_corpus
from aam.folders import BEST, LAST
from aam.observer import Observer
from aam.stopping import StopRequest
from aam.training.distributed import distribute_run
from aam.training.loop import train
from aam.training.repair import repair_run
from aam.training.run import build_run
from aam.training.world import World, join_world

pytestmark = pytest.mark.slow

RANKS = 2
OPTIONS: dict[str, Any] = SMALL | {"max_steps": 6, "eval_every": 2, "batch_size": 24, "dropout": 0.2}
PLAIN = {"num_workers": 0, "accumulate": 1}
MORE = {"num_workers": 2, "accumulate": 4}
SHARD = PLAIN | {"shard": True}
SAVING = [kind for kind in KINDS if any(word in kind for word in ("writing", "becomes", "removed", "saving"))]
CASES = [(kind, (PLAIN, MORE)[number % 2]) for number, kind in enumerate(KINDS)] + [(kind, SHARD) for kind in SAVING]


def train_ranks(home: str, options: dict[str, Any], cut: str) -> None:
    """A run on this rank; at the cut of the first rank all are killed."""
    with join_world(Path(home)) as world, world.folder() as folder:
        (Path(home).parent / f"{world.rank}.pid").write_text(str(os.getpid()))
        config = from_options(PretrainConfig, OPTIONS | options | {"output_dir": folder})
        run = build_run(config, open_corpus(config), lambda learner: {"loss": 1.0})
        state = run.start_or_restore()
        distribute_run(run, config, world)
        world.wait()
        if cut and world.first:
            arm(run, cut, killer(world, Path(home).parent))
        train(run, state, StopRequest(patient=True))


def killer(world: World, folder: Path) -> Callable[[], None]:
    """Kills all ranks, this one last."""
    others = [int((folder / f"{rank}.pid").read_text()) for rank in range(1, world.size)]

    def kill() -> None:
        for process in others:
            os.kill(process, signal.SIGKILL)
        kill_self()

    return kill


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nothing cut off, by their options."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for number, options in enumerate((PLAIN, MORE, SHARD)):
        found[str(options)] = folder / str(number)
        found[str(options)].mkdir()
        run_ranks(RANKS, train_ranks, str(found[str(options)]), options | {"num_workers": 0}, "")
    return found


@pytest.mark.filterwarnings("ignore")  # this run has no manifest
@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_ranks_that_are_killed_end_with_the_bits_of_those_that_were_not(
    whole: dict[str, Path], tmp_path: Path, kind: str, options: dict[str, Any]
):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(torch.multiprocessing.ProcessExitedException):
        run_ranks(RANKS, train_ranks, str(run), options, kind)
    resume = kind != "first batch of the run"  # before its first checkpoint it begins again
    if resume:
        repair_run(run, Observer())
    assert (run / LAST).exists() == resume
    run_ranks(RANKS, train_ranks, str(run), options | {"resume": resume}, "")
    for name in (LAST, BEST):
        for file in ("model.safetensors", "training.safetensors"):
            wanted, found = (load_file(folder / name / file) for folder in (whole[str(options)], run))
            assert wanted.keys() == found.keys()
            assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items()), (name, file)
