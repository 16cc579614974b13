"""Weights, gradients and optimiser state sharded among ranks by FSDP2, and checkpoints that all ranks write together.

Between steps each of W ranks holds 1/W of weights and optimiser state. Parameters are gathered in groups when needed.
Each encoder is one group: ranks encode different numbers of chunks, so a gather inside an encoder would wait for
ever, and chunks are differentiated with respect to the parameters at their start. The heads are the last group.

A checkpoint is written by `torch.distributed.checkpoint` as safetensors, each rank its part, and then put together, so
that on disk it is like any other: one process, or another number of ranks, reads it. Torch's own format is not used:
its metadata is a pickle, which can run code when it is read.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.checkpoint import save as write_parts
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from aam.checkpoint import Checkpoint, write_about
from aam.folders import partial_folder_of, replace_folder
from aam.health.stats import gather_tensor
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.stored import MODEL, TRAINING
from aam.training.distributed import Replicas, SharedRows
from aam.training.optim import build_optimizer, set_moments, set_weights
from aam.training.run import PretrainLearner
from aam.training.step import Ranks
from aam.training.world import World


class Shards(Replicas):
    """Ranks that each hold a shard of the model and optimiser of a learner, which must be equal on all ranks before.

    `build` makes a model like that of the learner. All ranks must call each method together.
    """

    def __init__(self, learner: PretrainLearner, build: Callable[[], PretrainModel], world: World):
        super().__init__(world)
        self.build = build
        model, state = learner.model, learner.optimizer.state_dict()
        reshape_scalars(model)
        model.register_forward_hook(copy_view)
        mesh = init_device_mesh(learner.device.type, (world.size,))
        for part in (model.asv_encoder, model.sample_encoder, model):
            fully_shard(part, mesh=mesh)
        for method in ("embed", "predict"):
            register_fsdp_forward_method(model.asv_encoder, method)
        learner.optimizer = build_optimizer(model, learner.optim)
        set_moments(learner.optimizer, state)

    def reduce_gradients(self, model: nn.Module) -> None:
        """FSDP2 has averaged the gradients."""

    @contextmanager
    def apart(self, learner: Any) -> Iterator[Any]:
        """A copy of the learner with the whole model on every rank."""
        with torch.random.fork_rng([learner.device] if learner.device.type == "cuda" else []):
            model = self.build().to(learner.device)
        set_weights(model, learner.model.state_dict(), gather_whole)
        optimizer = build_optimizer(model.train(learner.model.training), learner.optim)
        set_moments(optimizer, learner.optimizer.state_dict(), gather_whole)
        yield dataclasses.replace(learner, model=model, optimizer=optimizer, ranks=Ranks())

    @contextmanager
    def whole(self, learner: Any) -> Iterator[Any]:
        """A copy as in `apart`, computed by all ranks together."""
        with self.apart(learner) as copy:
            copy.model.division = SharedRows(self.world)
            yield copy

    def save(self, folder: Path, checkpoint: Checkpoint) -> Path:
        """`save_checkpoint`, each rank its part of the tensors."""
        folder = self.world.home / folder.name
        with replace_folder(folder) if self.world.first else nullcontext(partial_folder_of(folder)) as partial:
            self.world.wait()  # for the folder
            self._write(partial / MODEL, checkpoint.model)
            self._write(partial / TRAINING, checkpoint.training)
            if self.world.first:
                write_about(partial, checkpoint)
        self.world.wait()
        return folder

    def _write(self, file: Path, tensors: Mapping[str, Tensor]) -> None:
        parts = file.with_name(f"{file.name}.parts")
        write_parts(
            {name: as_writable(tensor) for name, tensor in tensors.items()},
            storage_writer=HuggingFaceStorageWriter(str(parts), save_distributed=True, enable_consolidation=True),
        )
        if self.world.first:
            (written,) = parts.glob("*.safetensors")
            written.rename(file)
            shutil.rmtree(parts)


def copy_view(model: nn.Module, inputs: Any, output: PretrainOutput) -> PretrainOutput:
    """The output of a model in memory of its own; FSDP2 hooks its backward pass to that."""
    return dataclasses.replace(output, faith_pd=output.faith_pd.clone())


def gather_whole(tensor: Tensor, like: Tensor) -> Tensor:
    """The whole of a divided tensor, in the shape of another."""
    return gather_tensor(tensor).reshape(like.shape)


def as_writable(tensor: Tensor) -> Tensor:
    """Convert tensors that torch merges wrongly: it fails on bytes (random states), and scalars become 0."""
    return (tensor if tensor.is_floating_point() else tensor.float()).reshape(tensor.shape or (1,))


def reshape_scalars(model: nn.Module) -> None:
    """Reshape scalar parameters to [1], because FSDP2 shards the first axis; results do not change."""
    for name, parameter in list(model.named_parameters()):
        if parameter.dim() == 0:
            path, _, last = name.rpartition(".")
            setattr(model.get_submodule(path), last, nn.Parameter(parameter.detach().reshape(1)))
