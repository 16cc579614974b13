"""Faults in runs of several processes: all ranks look into them apart, take the same decision, and go on together."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_processes import SMALL, run_ranks
from spoilt_runs import BAD, GENEROUS, infinite_count, spoil

from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import open_corpus
from aam.errors import NonFiniteError
from aam.health.stats import gather_tensor
from aam.stopping import StopRequest
from aam.training.bundles import fingerprint
from aam.training.distributed import distribute_run
from aam.training.faults import FAULTS, TRAINING_STAGE
from aam.training.loop import train
from aam.training.run import build_run
from aam.training.world import World, join_world

pytestmark = pytest.mark.slow

RANKS = 2
CASES: dict[str, dict[str, Any]] = {
    "stop": {},
    "skip": {"on_fault": "skip", **GENEROUS},
    "rollback": {"on_fault": "rollback", "eval_every": 2, **GENEROUS},
    "every operation": {"debug_finite": True},
    "skip, in parts": {"on_fault": "skip", "shard": True, **GENEROUS},
    "rollback, in parts": {"on_fault": "rollback", "eval_every": 2, "shard": True, **GENEROUS},
}


def outcome(world: World, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What a run of six steps, one of them spoilt, comes to on this rank."""
    given = SMALL | {"max_steps": 6, "output_dir": folder} | options
    config = from_options(PretrainConfig, given)
    corpus = open_corpus(config)
    run = build_run(config, corpus, lambda learner: {"loss": 1.0})
    state = run.start_or_restore()
    spoil(run, infinite_count)
    distribute_run(run, config, world)
    said = ""
    try:
        train(run, state, StopRequest())
    except NonFiniteError as error:
        said = str(error).partition(", see ")[0]
    weights = {name: gather_tensor(tensor) for name, tensor in run.learner.model.state_dict().items()}
    return {
        "step": state.step,
        "batches": state.batches,
        "said": said,
        "lost": sorted(run.health.ledger.lost("sample", TRAINING_STAGE)),
        "done": run.health.interventions.counts,
        "weights": fingerprint(weights),
        "random": torch.get_rng_state().sum().item(),
        "sum": sum(tensor.double().sum().item() for tensor in weights.values()),
    }


def all_cases(home: str) -> None:
    """Every case on this rank."""
    found = {}
    with join_world(Path(home)) as joined:
        for name, options in CASES.items():
            world = dataclasses.replace(joined, home=Path(home) / name)
            with world.folder() as folder:
                found[name] = outcome(world, folder, options)
    (Path(home) / f"{joined.rank}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("faults")
    run_ranks(RANKS, all_cases, str(where))
    return where


@pytest.mark.parametrize("case", CASES)
def test_ranks_decide_alike_and_as_one_process_does(home: Path, tmp_path: Path, case: str):
    first, second = (json.loads((home / f"{rank}.json").read_text())[case] for rank in range(RANKS))
    assert first == second
    alone = outcome(World(), tmp_path, CASES[case])
    same = ("step", "batches", "said", "lost", "done")
    if case == "every operation":
        assert "step 4" in alone["said"]
    assert {name: first[name] for name in same} == {name: alone[name] for name in same}
    assert first["sum"] == pytest.approx(alone["sum"], rel=1e-5)
    assert (home / case / FAULTS / f"step-{BAD + 1}" / "report.txt").exists()  # of the first, and once
    assert not list(home.rglob("aam-rank*"))
