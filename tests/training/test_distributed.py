"""Several ranks are one process: the same losses, gradients and weights, whatever the number of ranks."""

from __future__ import annotations

import copy
import dataclasses
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from generated_samples import community, tiny_model
from torch import Tensor

from aam.config import LossConfig, OptimConfig
from aam.data.dataset import Batch, Hiding
from aam.models.pretrain_model import PretrainModel
from aam.training.distributed import World, distribute, join_world
from aam.training.losses import TargetScale
from aam.training.objective import PretrainObjective
from aam.training.optim import build_optimizer
from aam.training.step import Learner, score, step

STEPS = 3
SIZES = (4, 2)
ASKED = torch.tensor([[9, 3], [0, 1], [7, 2], [5, 1], [0, 4]])
"""(ASV, position) in no order."""
HIDING = Hiding(mask_ratio=0.3, masked_asvs=0.1, hidden_asvs=0.2, patristic_asvs=8)


def learner_of() -> Learner:
    """A model with dropout where it is by default: in the sample encoder."""
    torch.manual_seed(0)
    model = PretrainModel(dataclasses.replace(tiny_model(12, patch=2), dropout=0.1))
    optim = OptimConfig(batch_size=4)
    objective = PretrainObjective(LossConfig(), TargetScale())
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimizer = build_optimizer(model, optim)
    for group in optimizer.param_groups:
        group["eps"] = 1e-4  # biases of keys have no gradient but rounding, which the usual one makes into updates
    return Learner(model, optimizer, scaler, optim, objective, torch.device("cpu"))


def batches() -> list[Batch]:
    """Batches of 4 samples: 13 or so distinct ASVs, of which 2 are masked, so not every rank has one."""
    samples = community(samples=8, asvs=15, richness=6)
    return [samples.batch(rows, hiding=HIDING) for rows in ([0, 1, 2, 3], [4, 5, 6, 7])]


def trained(world: World) -> dict[str, np.ndarray]:
    """What some steps of two micro-batches leave: terms of every step, gradients of the last, weights."""
    learner = learner_of()
    distribute(learner, learner.model.asv_encoder, world)
    torch.manual_seed(1)
    found = {}
    for number in range(STEPS):
        result = step(learner, batches(), number, 10)
        found[f"terms {number}"], found[f"norm {number}"] = result.terms.numpy(), result.grad_norm.numpy()
    for name, parameter in learner.model.named_parameters():
        found[f"gradient {name}"] = parameter.grad.numpy()
        found[f"weight {name}"] = parameter.detach().numpy()
    found["random state"] = torch.get_rng_state().numpy()
    return found


@contextmanager
def environment(rank: int, size: int, port: str) -> Iterator[None]:
    """What torchrun sets."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()}
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]


def one_rank(rank: int, ports: list[int], folder: str) -> None:
    """A rank of the larger world, then, if there is room for it, of the smaller."""
    torch.set_num_threads(1)
    for size, port in zip(SIZES, ports, strict=True):
        if rank >= size:
            continue
        with environment(rank, size, str(port)), join_world() as world:
            np.savez(f"{folder}/{size}-{rank}.npz", **trained(world))
            together = [world.of_first([rank + 0.5, 7.0]), world.anywhere(rank == 1), world.anywhere(False)]
            assert together == [[0.5, 7.0], True, False]
            learner = learner_of()
            distribute(learner, learner.model.asv_encoder, world)
            twin = copy.deepcopy(learner.model)  # a copy encodes with its own weights
            torch.nn.init.zeros_(twin.asv_encoder.pooling.norm.weight)
            torch.nn.init.zeros_(twin.asv_encoder.pooling.norm.bias)
            assert not twin.asv_encoder.embed(batches()[0].tokens).any()
            logits = learner.model.asv_encoder.predict(batches()[0].tokens, ASKED)
            np.save(f"{folder}/asked-{size}-{rank}.npy", logits.detach().numpy())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four and then two gloo ranks have left."""
    where = tmp_path_factory.mktemp("ranks")
    try:
        torch.multiprocessing.spawn(one_rank, (free_ports(len(SIZES)), str(where)), nprocs=max(SIZES))
    except torch.multiprocessing.ProcessRaisedException as error:
        if "connect" not in str(error).lower() and "address" not in str(error).lower():
            raise
        # another program took the port between choice and use: once more, with others
        torch.multiprocessing.spawn(one_rank, (free_ports(len(SIZES)), str(where)), nprocs=max(SIZES))
    return where


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below those that the system hands out: else a connection of the first world, which opens
    many, can take the port of the second before it begins."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as one:
            if port not in ports and one.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
    return ports


@pytest.mark.parametrize("size", SIZES)
def test_ranks_learn_what_one_process_learns(folder: Path, size: int):
    alone = trained(World())
    for rank in range(size):
        with np.load(folder / f"{size}-{rank}.npz") as found:
            assert set(found) == set(alone)
            for name, value in alone.items():
                np.testing.assert_allclose(found[name], value, atol=1e-6, rtol=1e-5, err_msg=f"{name} on rank {rank}")


@pytest.mark.parametrize("size", SIZES)
def test_ranks_do_not_drift_apart(folder: Path, size: int):
    with np.load(folder / f"{size}-0.npz") as first:
        for rank in range(1, size):
            with np.load(folder / f"{size}-{rank}.npz") as other:
                for name in first:
                    if name.startswith("weight"):
                        np.testing.assert_array_equal(other[name], first[name], err_msg=name)


@pytest.mark.parametrize("size", SIZES)
def test_bases_are_predicted_in_the_order_in_which_they_were_asked(folder: Path, size: int):
    wanted = learner_of().model.asv_encoder.predict(batches()[0].tokens, ASKED).detach().numpy()
    np.testing.assert_allclose(np.load(folder / f"asked-{size}-{size - 1}.npy"), wanted, atol=1e-6, rtol=0)


def test_shares_cover_all_rows_and_differ_by_one_at_most():
    for rows in (0, 1, 3, 4, 17):
        cuts = World(0, 4).cuts(rows)
        sizes = np.diff(cuts)
        assert cuts[0] == 0 and cuts[-1] == rows and sizes.max() - sizes.min() <= 1


def test_alone_nothing_is_changed():
    learner = learner_of()
    before: dict[str, object] = dict(vars(learner.model.asv_encoder))
    distribute(learner, learner.model.asv_encoder, World())
    assert vars(learner.model.asv_encoder) == before
    with join_world() as world:
        assert world == World() and world.first
    _, losses = score(learner, batches()[0])
    assert isinstance(losses.total, Tensor)
