"""Sample encoder: computes a sample embedding from ASV embeddings and abundances, independent of ASV order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from aam.config import ModelConfig
from aam.models.attention_pooling import AttentionPooling
from aam.models.chunks import LIMITS, Keeping, Plan, Work, compute_in_chunks, count_kept_chunks
from aam.models.kernel_mean import KernelMean
from aam.models.layers import Transformer

LOG_FLOOR = 1e-6
"""Smallest relative abundance told apart: less than one read in the deepest samples in use."""


class EncodedSamples(NamedTuple):
    """`states` [B, S, D] per ASV slot and `embeddings` [B, D]."""

    states: Tensor
    embeddings: Tensor


def log_abundance(abundance: Tensor) -> Tensor:
    """Natural log of relative abundances, floored; about -14 … 0."""
    return abundance.clamp_min(LOG_FLOOR).log()


def used_slots(valid: Tensor) -> list[int]:
    """Number of slots of each sample up to its last valid one, valid [B, S]; on a GPU all, to avoid a wait."""
    slots = valid.shape[1]
    if valid.device.type != "cpu":
        return [slots] * len(valid)
    return (valid * torch.arange(1, slots + 1)).amax(dim=1).clamp_min(1).tolist()


class SampleEncoder(Keeping):
    """Transformer over the ASVs of a sample, with an embedding of log abundance and without position embeddings."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.dropout = config.dropout
        self.abundance = nn.Sequential(nn.Linear(1, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim))
        self.unknown = nn.Parameter(torch.zeros(config.dim))
        self.norm = nn.LayerNorm(config.dim)
        self.transformer = Transformer(config.dim, config.heads, config.sample_layers, config.ffn_ratio, config.dropout)
        self.pooling = AttentionPooling(config.dim, config.pool_queries)
        self.mean = KernelMean(config.dim, config.mean_features) if config.mean_features else None

    def forward(self, asvs: Tensor, abundance: Tensor, valid: Tensor, counted: Tensor | None = None) -> EncodedSamples:
        """asvs [B, S, D], relative abundance [B, S], valid [B, S]; slots that are not `counted` have unknown abundance.

        Samples of similar size are encoded together; `states` are 0 in the padding that this avoids.
        """
        plan, slots = self.plan(valid), valid.shape[1]
        tensors = (asvs, abundance, valid) if counted is None else (asvs, abundance, valid, counted)
        chunks = []
        for rows in plan.chunks:
            width = max(used_slots(valid[rows]), default=slots)
            chunks.append(tuple(tensor[rows][:, :width] for tensor in tensors))
        work = Work.run_as_caller(self.encode, asvs.device, noisy=self.training and self.dropout > 0)
        found = [
            EncodedSamples(*results) for results in compute_in_chunks(work, chunks, list(self.parameters()), plan.kept)
        ]
        states = torch.cat([pad(some.states, (0, 0, 0, slots - some.states.shape[1])) for some in found])
        order = torch.cat(plan.chunks).argsort()
        return EncodedSamples(states[order], torch.cat([some.embeddings for some in found])[order])

    def encode(self, asvs: Tensor, abundance: Tensor, valid: Tensor, counted: Tensor | None = None) -> EncodedSamples:
        """As `forward`, all samples at once."""
        # What stands in padding must not reach the layers below: 0 * NaN would poison the gradients of their weights.
        asvs, abundance = torch.where(valid[..., None], asvs, 0.0), torch.where(valid, abundance, 1.0)
        amount = self.abundance(log_abundance(abundance)[..., None] / 5.0)  # about unit size
        if counted is not None:
            amount = torch.where(counted[..., None], amount, self.unknown)
        states = self.transformer(self.norm(asvs) + amount, valid)
        embeddings = self.pooling(states, valid)
        if self.mean is not None:
            embeddings = embeddings + self.mean(asvs, abundance, valid if counted is None else valid & counted)
        return EncodedSamples(states, embeddings)

    def plan(self, valid: Tensor) -> Plan:
        """Samples of valid [B, S] to encode together: of similar size, as many as fill a chunk, small ones first."""
        used, most = used_slots(valid), LIMITS[valid.device.type].positions
        groups: list[list[int]] = [[]]
        for row in sorted(range(len(used)), key=used.__getitem__):
            if groups[-1] and used[row] * (len(groups[-1]) + 1) > most:
                groups.append([])
            groups[-1].append(row)
        sizes = (len(rows) * self.transformer.numbers(max((used[row] for row in rows), default=0)) for rows in groups)
        return Plan(
            [torch.tensor(sorted(rows), dtype=torch.int64, device=valid.device) for rows in groups],
            count_kept_chunks(valid.device, sizes, self.most_kept),
        )

    def standardise_outputs(self, asvs: Tensor, abundance: Tensor, valid: Tensor, counted: Tensor) -> None:
        """Standardise the embeddings of an untrained encoder over these samples; arguments as in `forward`."""
        self.pooling.standardise_outputs(self(asvs, abundance, valid, counted).states, valid)
        if self.mean is not None:
            self.mean.initialise_from(asvs, abundance, valid & counted)
