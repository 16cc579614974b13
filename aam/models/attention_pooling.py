"""Attention pooling: combines a row of vectors into one, over valid positions only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SAME = 1e-4
"""Deviation over rows below which an output is the same for all of them; fresh encoders reach 0.01 and more."""


@torch.no_grad()
def standardise(layer: nn.Linear, outputs: Tensor) -> None:
    """Change a layer so that its outputs [B, D] get mean 0 and deviation 1; constant outputs are only centred."""
    if len(outputs) < 2:
        return
    deviation = outputs.std(0)
    gain = torch.where(deviation > SAME, 1.0 / deviation, 1.0)
    layer.weight *= gain[:, None]
    layer.bias.copy_((layer.bias - outputs.mean(0)) * gain)


class AttentionPooling(nn.Module):
    """Weighted means of the valid positions, one per learned query: [B, S, D] and valid [B, S] -> [B, D].

    The means of the queries are concatenated and projected to D; a single mean would lose the order of the vectors. A
    row without a valid position gives the zero vector and zero gradients, in every dtype and mode; what stands at
    invalid positions, NaN included, changes nothing.
    """

    def __init__(self, hidden_dim: int, num_queries: int = 1):
        super().__init__()
        self.query = nn.Linear(hidden_dim, num_queries, bias=False)
        self.merge = nn.Linear(num_queries * hidden_dim, hidden_dim)
        self.norm: nn.Module = nn.LayerNorm(hidden_dim)

    def forward(self, embeddings: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return self._pool(embeddings, self._scores(embeddings))
        valid = mask.bool()
        some = valid.any(dim=-1, keepdim=True)
        embeddings = torch.where(valid[..., None], embeddings, 0.0)
        # A row without a key scores its zeros instead of -inf, so neither softmax nor its backward meets NaN.
        scores = self._scores(embeddings).masked_fill(~(valid | ~some)[..., None], float("-inf"))
        return torch.where(some, self._pool(embeddings, scores), 0.0)

    def weights(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Weights [B, S, queries] of the positions, which sum to 1 over the valid ones; every row must have one."""
        scores = self._scores(torch.where(mask[..., None], embeddings, 0.0))
        return torch.softmax(scores.masked_fill(~mask[..., None], float("-inf")), dim=1)

    @torch.no_grad()
    def standardise_outputs(self, embeddings: Tensor, mask: Tensor | None = None) -> None:
        """Centre and scale the projection so that its outputs over these rows [B, S, D] have mean 0 and deviation 1.

        Means over many positions are nearly the same for every row. Without this step the heads of an untrained model
        get a nearly constant input and learn nothing for hundreds of steps. Outputs that are constant over the rows
        are not scaled.
        """
        closing, self.norm = self.norm, nn.Identity()
        standardise(self.merge, self(embeddings, mask))
        self.norm = closing

    def _scores(self, embeddings: Tensor) -> Tensor:
        return self.query(embeddings) / math.sqrt(embeddings.shape[-1])

    def _pool(self, embeddings: Tensor, scores: Tensor) -> Tensor:
        weights = torch.softmax(scores, dim=1)
        means = weights.transpose(1, 2) @ embeddings  # [B, queries, D]
        return self.norm(self.merge(means.flatten(1)))
