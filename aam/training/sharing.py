"""Work that ranks share: each takes its part of the rows, and a gather gives every rank the results of all.

The gather is differentiable: going backward each rank gets the sum over ranks of the gradients of its rows. So the
mean over ranks of a parameter's gradients is the gradient of the mean of their losses, which are all the same loss;
that holds for whatever mix of shared and repeated work, and it is the mean that FSDP2 takes too.

Noise (dropout) is drawn apart on each rank, so with it a run on W ranks has other noise than a run on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from aam.models.pretrain_model import PretrainModel
from aam.models.sample_encoder import EncodedSamples
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
