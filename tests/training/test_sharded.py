"""Parameters divided among ranks are those of one process: the same steps, and checkpoints that anyone can read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rank_processes import SMALL, run_ranks
from torch.distributed.tensor import DTensor

from aam.checkpoint import load_checkpoint, open_model
from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import Corpus, open_corpus
from aam.models.chunks import LIMITS, Limits
from aam.stopping import StopRequest
from aam.training.distributed import distribute_run
from aam.training.loop import TrainingRun, train
from aam.training.run import build_run
from aam.training.state import TrainState
from aam.training.world import World, join_world

pytestmark = pytest.mark.slow

SIZES = (2, 4)
STEPS, MORE = 3, 5


def corpus_of(config: PretrainConfig) -> Corpus:
    return open_corpus(config)


def run_of(world: World, folder: Path, steps: int, **options: object) -> tuple[TrainingRun, TrainState]:
    """A run whose held-out loss is the sum of its weights, which is a test that evaluation sees them whole."""
    given = SMALL | {"max_steps": steps, "output_dir": folder, "eval_every": 2} | options
    config = from_options(PretrainConfig, given)

    def weights(learner) -> dict[str, float]:
        return {"loss": float(sum(p.detach().double().abs().sum() for p in learner.model.parameters()))}

    run = build_run(config, corpus_of(config), weights)
    state = run.start_or_restore()
    for group in run.learner.optimizer.param_groups:
        group["eps"] = 1e-4  # biases of keys have no gradient but rounding, which the usual one makes into updates
    distribute_run(run, config, world)
    return run, state


def on_ranks(home: str, share: str) -> None:
    """Train, save and go on, in many chunks, run twice; each rank notes how much of the model it holds."""
    LIMITS["cpu"] = Limits(60, 0)
    with join_world(Path(home)) as world, world.folder() as folder:
        run, state = run_of(world, folder, STEPS, shard=True)
        train(run, state, StopRequest())
        held = list(run.learner.model.parameters())
        assert all(isinstance(p, DTensor) for p in held)
        moments = [t for of in run.learner.optimizer.state.values() for name, t in of.items() if name != "step"]
        part = sum(t.to_local().numel() for t in (*held, *moments)) / sum(t.numel() for t in (*held, *moments))
        np.save(f"{share}/{world.rank}.npy", [part, state.best_loss])


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """What runs of two and of four ranks have left."""
    found = {}
    for size in SIZES:
        found[size] = tmp_path_factory.mktemp("sharded") / "run"
        run_ranks(size, on_ranks, str(found[size]), str(found[size].parent))
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train(*run_of(World(), folder, STEPS), StopRequest())
    return folder


@pytest.mark.parametrize("size", SIZES)
def test_ranks_with_parts_learn_what_one_process_learns(homes: dict[int, Path], alone: Path, size: int):
    one, many = (load_checkpoint(folder / "last") for folder in (alone, homes[size]))
    assert many.state["train"]["step"] == STEPS
    for wanted, found in ((one.model, many.model), (one.training, many.training)):
        assert set(wanted) == set(found)
        for name, tensor in wanted.items():
            assert found[name].shape == (tensor.shape or (1,)), name
            if name != "random_state":  # which steps on ranks draw from
                there = found[name].reshape(tensor.shape)
                torch.testing.assert_close(there, tensor, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("size", SIZES)
def test_each_rank_holds_its_part_and_scores_the_whole(homes: dict[int, Path], alone: Path, size: int):
    parts, losses = zip(*(np.load(homes[size].parent / f"{rank}.npy") for rank in range(size)), strict=True)
    assert sum(parts) == pytest.approx(1.0) and max(parts) < 1.3 / size
    assert losses == pytest.approx([load_checkpoint(alone / "last").state["train"]["best_loss"]] * size, rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_a_model_opens_from_its_path_and_no_parts_are_left(homes: dict[int, Path], size: int):
    model, _ = open_model(homes[size])
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    names = {path.name for path in (homes[size] / "last").iterdir()}
    assert names == {"model.safetensors", "training.safetensors", "config.json", "state.json"}


def test_a_run_goes_on_on_another_number_of_ranks(homes: dict[int, Path], alone: Path, tmp_path: Path):
    for old, new in ((alone, tmp_path / "one"), (homes[2], tmp_path / "four")):
        shutil.copytree(old, new)
    train(*run_of(World(), tmp_path / "one", MORE, resume=True), StopRequest())
    run_ranks(4, go_on, str(tmp_path / "four"))
    wanted, found = load_checkpoint(tmp_path / "one" / "last"), load_checkpoint(tmp_path / "four" / "last")
    assert found.state["train"]["step"] == MORE
    for name, tensor in wanted.model.items():
        there = found.model[name].reshape(tensor.shape)
        torch.testing.assert_close(there, tensor, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def go_on(home: str) -> None:
    with join_world(Path(home)) as world, world.folder() as folder:
        train(*run_of(world, folder, MORE, shard=True, resume=True), StopRequest())
