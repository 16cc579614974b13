"""Weights, gradients and optimiser state divided among ranks by FSDP2, and checkpoints that all ranks write together.

Between steps a rank holds one part in W of all that grows with the model. Parameters are gathered in groups when they
are needed: each encoder is one, since ranks encode different numbers of chunks and a gather within one would wait for
ever; and since chunks are differentiated by the parameters that stand there when they begin. The heads are the last.

A checkpoint is written by `torch.distributed.checkpoint` as safetensors, each rank its part, and then put together, so
that on disk it is like any other: one process, or another number of ranks, reads it. Torch's own format is not used:
its metadata is a pickle, which can run code when it is read.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.checkpoint import save as write_parts
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from aam.checkpoint import MODEL, TRAINING, Checkpoint, partial_folder_of, replacing, write_about
from aam.health.stats import whole
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.models.sample_encoder import EncodedSamples
from aam.training.optim import build_optimizer, set_moments, set_weights
from aam.training.run import PretrainLearner
from aam.training.step import Learner
from aam.training.world import World


class Gather(torch.autograd.Function):
    """Parts of all ranks, of one shape, in a row: [n, …] -> [W n, …]."""

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


def gathered(own: Tensor, sizes: list[int]) -> Tensor:
    """Rows of all ranks, of which rank r gives sizes[r]: [n, …] -> [sum of sizes, …]."""
    if torch.is_grad_enabled() and not own.requires_grad:
        own = own.detach().requires_grad_()  # every rank takes part in the backward pass, one without rows too
    padded = F.pad(own, [0, 0] * (own.dim() - 1) + [0, max(sizes) - len(own)])
    parts = Gather.apply(padded).tensor_split(len(sizes))
    return torch.cat([part[:rows] for part, rows in zip(parts, sizes, strict=True)])


def shares(cuts: list[int]) -> list[int]:
    """Rows of each rank."""
    return [stop - start for start, stop in zip(cuts, cuts[1:], strict=False)]


@contextmanager
def noise_apart(world: World, device: torch.device) -> Iterator[None]:
    """Random numbers that differ between ranks; outside they go on, alike on all."""
    seed = int(torch.randint(2**62, ()))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed + world.rank)
        yield


def embed_together(world: World, embed: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """`ChunkedEncoder.embed` by all ranks: tokens [U, L] -> [U, D]."""
    cuts = world.cuts(len(tokens))
    with noise_apart(world, tokens.device):
        own = embed(tokens[cuts[world.rank] : cuts[world.rank + 1]])
    return gathered(own, shares(cuts))


def predict_together(world: World, predict: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, at: Tensor) -> Tensor:
    """`ChunkedEncoder.predict` by all ranks: tokens [M, L] and places [T, 2] -> logits [T, 6]."""
    cuts = world.cuts(len(tokens))
    start, stop = cuts[world.rank], cuts[world.rank + 1]
    owner = torch.bucketize(at[:, 0].contiguous(), torch.tensor(cuts[1:-1], device=at.device), right=True)
    asked = at[owner == world.rank] - torch.tensor([start, 0], device=at.device)
    with noise_apart(world, tokens.device):
        own = predict(tokens[start:stop], asked)
    by_rank = gathered(own, torch.bincount(owner, minlength=world.size).tolist())
    return by_rank[owner.argsort(stable=True).argsort()]


class SharedSamples:
    """The sample encoder and what reads its slots, by all ranks: each has the slot states of its own samples only."""

    def __init__(self, world: World, model: PretrainModel):
        self.world = world
        self.encode_own, self.hidden_own = model.sample_encoder.forward, model.hidden_asvs.hidden_abundance
        self.abundance_own = model.scalars.abundance
        self.sizes: list[int] = []

    def encode(self, asvs: Tensor, abundance: Tensor, valid: Tensor, counted: Tensor | None = None) -> EncodedSamples:
        """`SampleEncoder.forward`: arguments [B, …] -> `states` [b, S, D] of this rank, `embeddings` [B, D] of all."""
        own = self._own(len(asvs))
        with noise_apart(self.world, asvs.device):
            known = None if counted is None else counted[own]
            encoded = self.encode_own(asvs[own], abundance[own], valid[own], known)
        return encoded._replace(embeddings=gathered(encoded.embeddings, self.sizes))

    def abundance(self, states: Tensor) -> Tensor:
        """`SampleScalars.abundance` of the states of the last `encode`: [b, S, D] -> [B, S]."""
        return gathered(self.abundance_own(states), self.sizes)

    def hidden_abundance(self, samples: Tensor, asvs: Tensor) -> Tensor:
        """`HiddenASVs.hidden_abundance`: samples [B, D], asvs [B, S, D] -> [B, S]."""
        own = self._own(len(samples))
        return gathered(self.hidden_own(samples[own], asvs[own]), self.sizes)

    def _own(self, samples: int) -> slice:
        cuts = self.world.cuts(samples)
        self.sizes = shares(cuts)
        return slice(cuts[self.world.rank], cuts[self.world.rank + 1])


def share(model: PretrainModel, world: World) -> None:
    """Let all ranks compute this model together; copies of it share their work in the same way."""
    encoder, samples = model.asv_encoder, SharedSamples(world, model)
    together = (
        partial(embed_together, world, encoder.embed),
        partial(predict_together, world, encoder.predict),
        samples.encode,
        samples.abundance,
        samples.hidden_abundance,
    )
    for (module, name), method in zip(shared_methods(model), together, strict=True):
        setattr(module, name, method)


def shared_methods(model: PretrainModel) -> list[tuple[nn.Module, str]]:
    """What `share` replaces, in the order in which it does."""
    return [
        (model.asv_encoder, "embed"),
        (model.asv_encoder, "predict"),
        (model.sample_encoder, "forward"),
        (model.scalars, "abundance"),
        (model.hidden_asvs, "hidden_abundance"),
    ]


@contextmanager
def unshared(model: PretrainModel) -> Iterator[None]:
    """Every rank computes all of the model by itself, and may do what the others do not."""
    replaced = [(module, name, vars(module).pop(name)) for module, name in shared_methods(model)]
    try:
        yield
    finally:
        for module, name, method in replaced:
            setattr(module, name, method)


class Sharding:
    """A learner whose model and optimiser lie in parts on all ranks; made of one that is whole and alike on all.

    `build` makes a model like the learner's. Every method is for all ranks together.
    """

    def __init__(self, learner: PretrainLearner, build: Callable[[], PretrainModel], world: World):
        self.learner, self.build, self.world = learner, build, world
        model, state = learner.model, learner.optimizer.state_dict()
        widen(model)
        model.register_forward_hook(without_views)
        mesh = init_device_mesh(learner.device.type, (world.size,))
        for part in (model.asv_encoder, model.sample_encoder, model):
            fully_shard(part, mesh=mesh)
        for method in ("embed", "predict"):
            register_fsdp_forward_method(model.asv_encoder, method)
        learner.optimizer = build_optimizer(model, learner.optim)
        set_moments(learner.optimizer, state)

    @contextmanager
    def apart(self, learner: PretrainLearner) -> Iterator[PretrainLearner]:
        """`Learner.apart`: a copy that lies whole on every rank, its model included."""
        with torch.random.fork_rng([learner.device] if learner.device.type == "cuda" else []):
            model = self.build().to(learner.device)
        set_weights(model, learner.model.state_dict(), joined)
        optimizer = build_optimizer(model.train(learner.model.training), learner.optim)
        set_moments(optimizer, learner.optimizer.state_dict(), joined)
        yield Learner(model, optimizer, learner.scaler, learner.optim, learner.objective, learner.device)

    def save(self, folder: Path, checkpoint: Checkpoint) -> None:
        """`save_checkpoint`, each rank its part of the tensors."""
        with replacing(folder) if self.world.first else nullcontext(partial_folder_of(folder)) as partial:
            self.world.wait()  # for the folder
            self._write(partial / MODEL, checkpoint.model)
            self._write(partial / TRAINING, checkpoint.training)
            if self.world.first:
                write_about(partial, checkpoint)
        self.world.wait()

    def _write(self, file: Path, tensors: Mapping[str, Tensor]) -> None:
        parts = file.with_name(f"{file.name}.parts")
        write_parts(
            {name: writable(tensor) for name, tensor in tensors.items()},
            storage_writer=HuggingFaceStorageWriter(str(parts), save_distributed=True, enable_consolidation=True),
        )
        if self.world.first:
            (written,) = parts.glob("*.safetensors")
            written.rename(file)
            shutil.rmtree(parts)


def without_views(model: nn.Module, inputs: Any, output: PretrainOutput) -> PretrainOutput:
    """The output of a model in memory of its own; FSDP2 hooks its backward pass to that."""
    return dataclasses.replace(output, faith_pd=output.faith_pd.clone())


def joined(tensor: Tensor, like: Tensor) -> Tensor:
    """The whole of a divided tensor, in the shape of another."""
    return whole(tensor).reshape(like.shape)


def writable(tensor: Tensor) -> Tensor:
    """What torch puts together rightly: it fails on bytes, as random states are, and single numbers come out as 0."""
    return (tensor if tensor.is_floating_point() else tensor.float()).reshape(tensor.shape or (1,))


def widen(model: nn.Module) -> None:
    """Give single numbers an axis, since FSDP2 divides the first one; an axis of 1 is no matter where they are used."""
    for name, parameter in list(model.named_parameters()):
        if parameter.dim() == 0:
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, nn.Parameter(parameter.detach().reshape(1)))
