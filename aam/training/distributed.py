"""One run on several processes: each computes a share, and together they train the same model as one process.

Batches are pure functions of (seed, number) and cheap, so every rank assembles the same one. Each encodes its share of
the distinct ASVs, of the masked ASVs and of the samples. All embeddings are gathered on all ranks, so each computes
the losses over the pairs of the whole batch. The result is that of one process (without dropout, up to rounding), so a
run can be resumed on another number of ranks.

Gradients are averaged in one reduction after the backward pass, not by DistributedDataParallel. Its hooks stay on the
parameters and expect all ranks in every backward pass. But accumulated batches need no reduction, and the replay of a
fault would wait for ranks that do not replay it. Its advantage, reduction during the backward pass, is negligible: a
default model has 5 MB of gradients. For large models FSDP2 reduces and shards gradients (`aam.training.sharding`).

The first rank makes all decisions that depend on clock or signals, and only its files are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from aam.checkpoint import Checkpoint, save_checkpoint
from aam.config import PretrainConfig
from aam.errors import ConfigError
from aam.models.pretrain_model import PretrainModel, Results, RowDivision
from aam.training.loop import TrainingRun
from aam.training.run import PretrainLearner
from aam.training.step import Learner, Ranks
from aam.training.world import World


class Replicas(Ranks):
    """Ranks that each hold the whole model and encode a share of every batch."""

    alone = False

    def __init__(self, world: World):
        self.world = world

    def reduce_gradients(self, model: nn.Module) -> None:
        """Set all gradients to their mean over ranks."""
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world.size
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def any_rank(self, flag: bool) -> bool:
        return self.world.any_rank(flag)

    def broadcast_first(self, values: Sequence[float]) -> list[float]:
        return self.world.broadcast_first(values)

    @contextmanager
    def apart(self, learner: Any) -> Iterator[Any]:
        """The learner itself; in this block each rank computes its model alone."""
        shared, learner.model.division = learner.model.division, RowDivision()
        try:
            yield learner
        finally:
            learner.model.division = shared

    def save(self, folder: Path, checkpoint: Checkpoint) -> Path:
        """The first rank writes the checkpoint; all ranks return its path."""
        folder = self.world.home / folder.name
        if self.world.first:
            save_checkpoint(folder, checkpoint)
        return folder


class SharedRows(RowDivision):
    """Each rank computes an equal share of the rows, and all ranks get the results of all."""

    def __init__(self, world: World):
        self.world = world

    def compute(self, function: Callable[..., Results], *rows: Tensor, random: bool = True) -> Results:
        cuts = self.world.share_bounds(len(rows[0]))
        own = [tensor[cuts[self.world.rank] : cuts[self.world.rank + 1]] for tensor in rows]
        with draw_differently(self.world, rows[0].device, random):
            results = function(*own)
        return tree_map(lambda tensor: gather_rows(tensor, share_sizes(cuts)), results)

    def predict(self, function: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, at: Tensor) -> Tensor:
        cuts = self.world.share_bounds(len(tokens))
        start, stop = cuts[self.world.rank], cuts[self.world.rank + 1]
        owner = torch.bucketize(at[:, 0].contiguous(), torch.tensor(cuts[1:-1], device=at.device), right=True)
        asked = at[owner == self.world.rank] - torch.tensor([start, 0], device=at.device)
        with draw_differently(self.world, tokens.device):
            own = function(tokens[start:stop], asked)
        by_rank = gather_rows(own, torch.bincount(owner, minlength=self.world.size).tolist())
        return by_rank[owner.argsort(stable=True).argsort()]


class Gather(torch.autograd.Function):
    """Autograd operation that concatenates equally large parts of all ranks: [n, …] -> [W n, …]."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        parts = [part.contiguous() for part in gradients[0].tensor_split(dist.get_world_size())]
        own = torch.empty_like(parts[0])
        dist.reduce_scatter(own, parts)
        return own


def gather_rows(own: Tensor, sizes: list[int]) -> Tensor:
    """Concatenate the rows of all ranks; rank r has sizes[r] rows: [n, …] -> [sum of sizes, …]."""
    if torch.is_grad_enabled() and not own.requires_grad:
        own = own.detach().requires_grad_()  # every rank takes part in the backward pass, one without rows too
    padded = F.pad(own, [0, 0] * (own.dim() - 1) + [0, max(sizes) - len(own)])
    parts = Gather.apply(padded).tensor_split(len(sizes))
    return torch.cat([part[:rows] for part, rows in zip(parts, sizes, strict=True)])


def share_sizes(cuts: list[int]) -> list[int]:
    """Number of rows of each rank."""
    return [stop - start for start, stop in zip(cuts, cuts[1:], strict=False)]


@contextmanager
def draw_differently(world: World, device: torch.device, wanted: bool = True) -> Iterator[None]:
    """Draw different random numbers on each rank in this block; after it, all ranks draw the same ones again."""
    if not wanted:
        yield
        return
    seed = int(torch.randint(2**62, ()))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed + world.rank)
        yield


def broadcast_state(learner: Learner) -> None:
    """Copy the first rank's weights and random state to every rank."""
    for tensor in learner.model.state_dict().values():
        dist.broadcast(tensor, src=0)
    random = torch.get_rng_state()
    dist.broadcast(random, src=0)
    torch.set_rng_state(random)
    if learner.device.type == "cuda":
        random = torch.cuda.get_rng_state(learner.device)
        dist.broadcast(random, src=0)
        torch.cuda.set_rng_state(random, learner.device)


def distribute(learner: PretrainLearner, world: World) -> None:
    """Make all ranks train the learner together, starting from the weights of the first rank."""
    if world.size == 1:
        return
    broadcast_state(learner)
    learner.model.division, learner.ranks = SharedRows(world), Replicas(world)


def distribute_run(run: TrainingRun, config: PretrainConfig, world: World) -> None:
    """As `distribute`; with --shard the parameters are sharded among the ranks."""
    distribute(run.learner, world)
    if config.ranks.shard and world.size > 1:
        from aam.training.sharding import Shards

        run.learner.ranks = Shards(run.learner, lambda: PretrainModel(config.model), world)


def refuse_unshareable_options(config: PretrainConfig, world: World) -> None:
    """Raise ConfigError for options that a run of several processes does not support."""
    if world.size == 1:
        return
    if config.health.anomaly_detect:
        raise ConfigError(
            f"--anomaly-detect: found {world.size} processes, expected one, because it ends a step in one of them and "
            "the others wait for it; use --debug-finite, or one process"
        )
    if config.run.max_memory is not None:
        raise ConfigError(
            f"--max-memory: found {world.size} processes, expected one, because each would compute its batches in "
            "parts of its own; use a smaller --batch-size or --token-limit"
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
