"""Two ranks that are killed together, wherever they are, go on to the same bits."""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from cut_processes import KINDS, arm
from processes import Copy
from rank_processes import SMALL, one_rank
from safetensors.torch import load_file

from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import Corpus
from aam.folders import BEST, LAST
from aam.observer import Observer
from aam.stopping import StopRequest
from aam.training.distributed import distribute_run
from aam.training.loop import train
from aam.training.repair import repair_run
from aam.training.run import build_run
from aam.training.world import join_world

pytestmark = pytest.mark.slow

RANKS = 2
OPTIONS: dict[str, Any] = SMALL | {"max_steps": 6, "eval_every": 2, "batch_size": 24, "dropout": 0.2}
"""With noise, which is drawn apart on each rank, but the same in every run on two."""
PLAIN = {"num_workers": 0, "accumulate": 1}
MORE = {"num_workers": 2, "accumulate": 4}
SHARD = PLAIN | {"shard": True}
SAVING = [kind for kind in KINDS if any(word in kind for word in ("writing", "becomes", "removed", "saving"))]
CASES = [(kind, (PLAIN, MORE)[number % 2]) for number, kind in enumerate(KINDS)] + [(kind, SHARD) for kind in SAVING]


def train_rank(home: Path, corpus: Corpus, options: dict[str, Any], cut: str) -> None:
    """A run on this rank; at the cut of the first rank it is killed."""
    with join_world(home) as world, world.folder() as folder:
        config = from_options(PretrainConfig, OPTIONS | options | {"output_dir": folder})
        run = build_run(config, corpus, lambda learner: {"loss": 1.0})
        state = run.start_or_restore()
        distribute_run(run, config, world)
        if cut and world.first:
            arm(run, cut)
        train(run, state, StopRequest(patient=True))


def train_ranks(*arguments: Any) -> set[int]:
    """Exit codes of `train_rank` on every rank; where the first is killed, so are the others at once."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ranks = [Copy(partial(one_rank, rank, RANKS, store.port, train_rank, arguments)) for rank in range(RANKS)]
    while ranks[0].poll() is None and all(rank.poll() in (None, 0) for rank in ranks):
        time.sleep(0.01)
    if ranks[0].poll() == 0:
        ranks[1].poll(0)
    for rank in ranks:
        rank.kill()
    return {rank.poll() or 0 for rank in ranks}


@pytest.fixture(scope="module")
def whole(example: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nothing cut off, by their options."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for number, options in enumerate((PLAIN, MORE, SHARD)):
        found[str(options)] = folder / str(number)
        found[str(options)].mkdir()
        assert train_ranks(found[str(options)], example, options | {"num_workers": 0}, "") == {0}
    return found


@pytest.mark.filterwarnings("ignore")  # this run has no manifest
@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_ranks_that_are_killed_end_with_the_bits_of_those_that_were_not(
    whole: dict[str, Path], example: Corpus, tmp_path: Path, kind: str, options: dict[str, Any]
):
    run = tmp_path / "run"
    run.mkdir()
    assert train_ranks(run, example, options, kind) == {-signal.SIGKILL}
    resume = kind != "first batch of the run"  # before its first checkpoint it begins again
    if resume:
        repair_run(run, Observer())
    assert (run / LAST).exists() == resume
    assert train_ranks(run, example, options | {"resume": resume}, "") == {0}
    for name in (LAST, BEST):
        for file in ("model.safetensors", "training.safetensors"):
            wanted, found = (load_file(folder / name / file) for folder in (whole[str(options)], run))
            assert wanted.keys() == found.keys()
            assert all(torch.equal(found[key], tensor) for key, tensor in wanted.items()), (name, file)
