"""Several ranks are one process: the same losses, gradients and weights, whatever the number of ranks."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from generated_samples import community, tiny_model
from rank_processes import run_ranks
from torch import Tensor

from aam.config import LossConfig, OptimConfig, PretrainConfig, from_options
from aam.corpus.dataset import Batch
from aam.errors import ConfigError
from aam.models.pretrain_model import PretrainModel
from aam.training.distributed import distribute, draw_differently, refuse_unshareable_options
from aam.training.losses import TargetScale
from aam.training.objective import PretrainObjective, model_inputs
from aam.training.optim import build_optimizer
from aam.training.step import Learner, score, step
from aam.training.world import World, join_world
from aam.vocab import MASK

STEPS = 3
SIZES = (2, 4)
ASKED = torch.tensor([[9, 3], [0, 1], [7, 2], [5, 1], [0, 4]])
"""(ASV, position) in no order."""
HIDING = LossConfig(mask_ratio=0.3, masked_asvs=0.1, hidden_asvs=0.2, patristic_asvs=8)


TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Absolute, for losses, gradients and weights. Double precision shows that it is the same algebra; measured are 4e-16
for losses, 3e-17 for gradients and 6e-14 for weights; in single precision 2e-7, 2e-8 and 6e-8, the order of sums."""


def learner_of(dtype: torch.dtype = torch.float32) -> Learner:
    """A model without dropout, which differs between ranks."""
    torch.manual_seed(0)
    model = PretrainModel(tiny_model(12, patch=2)).to(dtype)
    optim = OptimConfig(batch_size=4)
    objective = PretrainObjective(LossConfig(), TargetScale())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimizer = build_optimizer(model, optim)
    for group in optimizer.param_groups if dtype == torch.float32 else ():
        group["eps"] = 1e-4  # biases of keys have no gradient but rounding, which the usual one makes into updates
    return Learner(model, optimizer, scaler, optim, objective, torch.device("cpu"))


def batches(dtype: torch.dtype = torch.float32) -> list[Batch]:
    """4 and 3 samples, 13 or so distinct ASVs, of which 2 are masked, so not every rank has one; then 3 ASVs in all."""
    samples = community(samples=8, asvs=15, richness=6)
    many = [samples.batch(rows, hiding=HIDING) for rows in ([0, 1, 2, 3], [4, 5, 6])]
    few = community(samples=3, asvs=3, richness=2).batch([0, 1, 2], hiding=HIDING)
    assert len(many[0].asvs) % 4 and len(many[0].asvs) % 2 and len(few.asvs) < max(SIZES)
    return [in_precision(batch, dtype) for batch in (*many, few)]


def with_tips(batch: Batch) -> Batch:
    """The batch with its first two ASVs as reference tips, 0.5 apart, of which the second is masked at one base."""
    tokens = batch.tokens[:2]
    masked = tokens[1:].clone()
    masked[0, 1] = MASK
    return dataclasses.replace(
        batch,
        reference_tips=torch.tensor([3, 8]),
        reference_tokens=tokens,
        reference_patristic=torch.tensor([[0.0, 0.5], [0.5, 0.0]], dtype=batch.patristic.dtype),
        reference_masked_rows=torch.tensor([1]),
        reference_masked_tokens=masked,
        reference_masked_at=torch.tensor([[0, 1]]),
        reference_masked_bases=tokens[1, 1:2].long(),
    )


def in_precision(batch: Batch, dtype: torch.dtype) -> Batch:
    """A batch whose counts and targets are of this type."""
    numbers = {n: v.to(dtype) for n, v in vars(batch).items() if torch.is_tensor(v) and v.is_floating_point()}
    return dataclasses.replace(batch, **numbers)


def trained(world: World, dtype: torch.dtype, tips: bool = False) -> dict[str, np.ndarray]:
    """What some steps of three micro-batches leave: terms of every step, gradients of the last, weights."""
    learner, several = learner_of(dtype), batches(dtype)
    several = [with_tips(batch) for batch in several] if tips else several
    distribute(learner, world)
    found = {}
    for number in range(STEPS):
        result = step(learner, several, number, 10)
        found[f"terms {number}"], found[f"norm {number}"] = result.terms.numpy(), result.grad_norm.numpy()
    for name, parameter in learner.model.named_parameters():
        found[f"gradient {name}"] = parameter.grad.numpy()
        found[f"weight {name}"] = parameter.detach().numpy()
    return found


def one_rank(folder: str) -> None:
    """What one of several ranks finds."""
    with join_world(Path()) as world:
        name = f"{world.size}-{world.rank}"
        for dtype in TOLERANCES:
            np.savez(f"{folder}/{dtype}-{name}.npz", **trained(world, dtype))
        np.savez(f"{folder}/tips-{name}.npz", **trained(world, torch.float64, tips=True))
        together = [
            world.broadcast_first([world.rank + 0.5, 7.0]),
            world.any_rank(world.rank == 1),
            world.any_rank(False),
        ]
        assert together == [[0.5, 7.0], True, False]
        learner, inputs = learner_of(), model_inputs(batches()[0])
        distribute(learner, world)
        model = learner.model
        twin = copy.deepcopy(model)  # a copy encodes with its own weights
        torch.nn.init.zeros_(twin.asv_encoder.pooling.norm.weight)
        torch.nn.init.zeros_(twin.asv_encoder.pooling.norm.bias)
        assert model(inputs).asvs.any() and not twin(inputs).asvs.any()
        logits = model.division.predict(model.asv_encoder.predict, inputs.tokens, ASKED)
        np.save(f"{folder}/asked-{name}.npy", logits.detach().numpy())
        if not world.first:
            with learner.ranks.apart(learner) as alone:  # the first rank does not take part
                alone.model(inputs)
        with draw_differently(world, torch.device("cpu")):
            noise = torch.rand(4)
        np.savez(f"{folder}/noise-{name}.npz", noise=noise.numpy(), after=torch.rand(4).numpy())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two and then four gloo ranks have left."""
    where = tmp_path_factory.mktemp("ranks")
    for size in SIZES:
        run_ranks(size, one_rank, str(where))
    return where


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_ranks_learn_what_one_process_learns(folder: Path, size: int, dtype: torch.dtype):
    alone = trained(World(), dtype)
    for rank in range(size):
        with np.load(folder / f"{dtype}-{size}-{rank}.npz") as found:
            assert set(found) == set(alone)
            for name, value in alone.items():
                message = f"{name} on rank {rank}"
                assert found[name].dtype == value.dtype == np.dtype(str(dtype).removeprefix("torch.")), message
                np.testing.assert_allclose(found[name], value, atol=TOLERANCES[dtype], rtol=0, err_msg=message)


@pytest.mark.parametrize("size", SIZES)
def test_ranks_learn_the_same_of_reference_tips(folder: Path, size: int):
    alone = trained(World(), torch.float64, tips=True)
    assert len(alone["terms 0"]) == len(trained(World(), torch.float64)["terms 0"]) + 2
    with np.load(folder / f"tips-{size}-{size - 1}.npz") as found:
        for name, value in alone.items():
            np.testing.assert_allclose(found[name], value, atol=TOLERANCES[torch.float64], rtol=0, err_msg=name)


@pytest.mark.parametrize("size", SIZES)
def test_ranks_do_not_drift_apart(folder: Path, size: int):
    with np.load(folder / f"{torch.float32}-{size}-0.npz") as first:
        for rank in range(1, size):
            with np.load(folder / f"{torch.float32}-{size}-{rank}.npz") as other:
                for name in first:
                    if name.startswith("weight"):
                        np.testing.assert_array_equal(other[name], first[name], err_msg=name)


@pytest.mark.parametrize("size", SIZES)
def test_bases_are_predicted_in_the_order_in_which_they_were_asked(folder: Path, size: int):
    wanted = learner_of().model.asv_encoder.predict(batches()[0].tokens, ASKED).detach().numpy()
    np.testing.assert_allclose(np.load(folder / f"asked-{size}-{size - 1}.npy"), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_noise_differs_between_ranks_and_leaves_their_random_states_alike(folder: Path, size: int):
    found = [np.load(folder / f"noise-{size}-{rank}.npz") for rank in range(size)]
    assert len({file["noise"].tobytes() for file in found}) == size
    assert len({file["after"].tobytes() for file in found}) == 1


def test_shares_cover_all_rows_and_differ_by_one_at_most():
    for rows in (0, 1, 3, 4, 17):
        cuts = World(0, 4).share_bounds(rows)
        sizes = np.diff(cuts)
        assert cuts[0] == 0 and cuts[-1] == rows and sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"anomaly_detect": True}, "--anomaly-detect: found 2 processes, expected one"),
        ({"shard": True, "watch_every": 5}, "--watch-every looks at whole tensors, which --shard divides"),
        ({"shard": True, "precision": "fp16"}, "--precision fp16 looks at whole tensors"),
    ],
)
def test_what_several_processes_cannot_follow_is_refused(options: dict[str, object], text: str):
    config = from_options(PretrainConfig, options)
    refuse_unshareable_options(config, World())
    with pytest.raises(ConfigError, match=text):
        refuse_unshareable_options(config, World(1, 2))


def test_alone_nothing_is_changed():
    learner = learner_of()
    before = [dict(vars(part)) for part in (learner, learner.model)]
    distribute(learner, World())
    assert [vars(part) for part in (learner, learner.model)] == before
    with join_world(Path()) as world:
        assert world == World() and world.first
    _, losses = score(learner, batches()[0])
    assert isinstance(losses.total, Tensor)
