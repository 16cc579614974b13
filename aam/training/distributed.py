"""One run on several processes: each does a share of the work, and together they learn what one process learns.

Batches are pure functions of (seed, number) and cheap, so every rank assembles the same one. Each encodes its share of
the distinct ASVs, of the masked ones and of the samples; gathers give all ranks all embeddings, so the losses over
pairs are those of the whole batch on every rank. A batch of B samples on W ranks is the batch of one process (without
dropout, up to rounding), so the number of ranks may change whenever a run goes on.

Gradients are averaged in one reduction after the backward pass, not by DistributedDataParallel. Its hooks stay on the
parameters and take every backward pass for a step that all ranks make: those of accumulated batches are none, and a
replayed fault would wait for ranks that do not replay it. What it wins, reduction during the backward pass, is nothing
beside an encoder's work: a default model has 5 MB of gradients. Where a model is large, FSDP2 reduces and divides them
(`sharded`).

The first rank decides what depends on clock or signals, and only what it writes stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from aam.config import PretrainConfig
from aam.errors import ConfigError
from aam.models.pretrain_model import PretrainModel
from aam.training.faults import RunHealth
from aam.training.loop import Run
from aam.training.run import PretrainLearner, snapshot
from aam.training.sharing import share, unshared
from aam.training.signals import StopRequest
from aam.training.state import TrainState
from aam.training.step import Learner
from aam.training.world import World


def average_gradients(model: nn.Module) -> None:
    """Set all gradients to their mean over ranks."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def broadcast_state(learner: Learner) -> None:
    """The first rank's weights and random state, on every rank."""
    for tensor in learner.model.state_dict().values():
        dist.broadcast(tensor, src=0)
    random = torch.get_rng_state()
    dist.broadcast(random, src=0)
    torch.set_rng_state(random)
    if learner.device.type == "cuda":
        random = torch.cuda.get_rng_state(learner.device)
        dist.broadcast(random, src=0)
        torch.cuda.set_rng_state(random, learner.device)


@contextmanager
def apart(learner: PretrainLearner) -> Iterator[PretrainLearner]:
    """A learner that does not wait for other ranks; what it finds in a fault decides how often it computes."""
    with unshared(learner.model):
        yield learner


def distribute(learner: PretrainLearner, world: World) -> None:
    """Let all ranks compute the learner's model together and step alike, from the first one's weights."""
    if world.size == 1:
        return
    broadcast_state(learner)
    share(learner.model, world)
    learner.reduce_gradients = partial(average_gradients, learner.model)
    learner.anywhere, learner.apart = world.anywhere, apart


def distribute_run(run: Run, config: PretrainConfig, world: World) -> None:
    """As `distribute`; time and scores of the run become those of the first rank, and only that one saves."""
    distribute(run.learner, world)
    if world.size == 1:
        return
    own_clock = run.clock
    run.clock = lambda: world.of_first([own_clock()])[0]
    if config.ranks.shard:
        divide_run(run, config, world)
    elif not world.first:
        run.save = partial(leave_to_first, run.health, world)
    run.evaluate = partial(scores_of_first, run.evaluate, world)


def leave_to_first(health: RunHealth, world: World, state: TrainState, name: str) -> Path:
    """`Run.save` of all ranks but the first."""
    health.state_dict()
    return world.home / name


def scores_of_first(score: Callable[[Learner], dict[str, float]], world: World, learner: Learner) -> dict[str, float]:
    """`Run.evaluate` of all ranks, which compute it together."""
    values = score(learner)
    return dict(zip(values, world.of_first(list(values.values())), strict=True))


def divide_run(run: Run, config: PretrainConfig, world: World) -> None:
    """Divide a run's parameters among ranks; it saves in parts, and its scores are those of a model put together."""
    from aam.training.sharing import Sharding

    learner, score = run.learner, run.evaluate
    sharding = Sharding(learner, lambda: PretrainModel(config.model), world)
    learner.reduce_gradients, learner.apart = no_reduction, sharding.apart

    def save(state: TrainState, name: str) -> Path:
        sharding.save(world.home / name, snapshot(config, learner, state, run.health))
        return world.home / name

    def scores(learner: PretrainLearner) -> dict[str, float]:
        with sharding.apart(learner) as whole:
            share(whole.model, world)
            return score(whole)

    run.save, run.evaluate = save, scores


def no_reduction() -> None:
    """FSDP2 has averaged the gradients."""


def check_together(config: PretrainConfig, world: World) -> None:
    """Raise ConfigError for options that several processes cannot follow."""
    if world.size == 1:
        return
    if config.health.anomaly_detect:
        raise ConfigError(
            f"--anomaly-detect: found {world.size} processes, expected one, because it ends a step in one of them and "
            "the others wait for it; use --debug-finite, or one process"
        )
    wrong = {
        "--compile": config.optim.compile,
        "--precision fp16": config.optim.precision == "fp16",
        "--watch-every": config.health.watch_every > 1,
        "--sanitize-grads": config.health.sanitize_grads,
        "--debug-finite": config.health.debug_finite,
    }
    for option, given in wrong.items():
        if given and config.ranks.shard:
            raise ConfigError(
                f"{option} looks at whole tensors, which --shard divides; leave one of them out (found both)"
            )


class SharedStop:
    """A stop request of any rank, seen by all after the same step."""

    def __init__(self, stop: StopRequest, world: World):
        self._stop, self._world = stop, world

    @property
    def requested(self) -> bool:
        return self._world.anywhere(self._stop.requested)

    @property
    def name(self) -> str:
        return self._stop.name or "a signal to another process"
