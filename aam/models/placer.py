"""A small transformer that reads an ASV's candidates on a reference tree and tells where the ASV leaves the tree."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUMBERS, PAIR_NUMBERS, RANKS = 9, 3, 7
"""Numbers of each candidate and of each pair of candidates, see `aam/placement/reading.py`; ranks of a lineage."""
UNIT = 0.1
"""Length, in units of the tree, of which outputs are multiples; a usual height."""


class Reading(NamedTuple):
    """What the network reads of B ASVs with K candidates each on W columns, of which the first is `first` (from 0).

    `asked` float32 [B, 4 W]: the bases of the ASV, one-hot. `differs` float32 [B, K, 4 W]: the bases of a candidate,
    only where the ASV has another one. `numbers` [B, K, NUMBERS], `pairs` [B, K, K, PAIR_NUMBERS]. `valid` bool [B, K]:
    false where there is no candidate.
    """

    asked: Tensor
    differs: Tensor
    numbers: Tensor
    pairs: Tensor
    valid: Tensor
    first: int


class Places(NamedTuple):
    """What the network says of each candidate [B, K], in units of the tree, if it is the closest relative.

    `height`: how far up from it the ASV leaves; `stem`: the ASV's own branch; `error`: how far off both are expected
    to be in sum. `score`: log of how likely it is the closest relative, but for a constant. `ranks` [B, K + 1, RANKS]:
    the same for "has the taxon of this candidate at this rank"; the last row is "of none".
    """

    height: Tensor
    stem: Tensor
    score: Tensor
    error: Tensor
    ranks: Tensor


class Placer(nn.Module):
    """Attention between candidates, biased by their distances in sequence and tree."""

    sharpness: Tensor
    none_shift: Tensor
    error_scale: Tensor

    def __init__(self, columns: int, dim: int = 64, heads: int = 4, layers: int = 3) -> None:
        """Build for a gene of `columns` columns; an ASV covers a window of them. `sizes` are the other arguments."""
        super().__init__()
        self.sizes = {"dim": dim, "heads": heads, "layers": layers}
        self.bases = nn.Parameter(torch.randn(2, 4 * columns, dim) * dim**-0.5)
        self.numbers = nn.Sequential(nn.Linear(NUMBERS, dim), nn.GELU(), nn.Linear(dim, dim))
        self.layers = nn.ModuleList(CandidateLayer(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.place = nn.Linear(dim, 4)
        self.ranks = nn.Linear(dim, RANKS)
        self.none = nn.Linear(dim, RANKS)
        # Fitted after learning, when no neighbours are left out any more: see `aam/placement/trust.py`.
        self.register_buffer("sharpness", torch.ones(RANKS))
        self.register_buffer("none_shift", torch.zeros(RANKS))
        self.register_buffer("error_scale", torch.ones(()))

    def forward(self, reading: Reading) -> Places:
        """Places of each candidate."""
        begin, width = 4 * reading.first, reading.asked.shape[-1]
        asked, differs = self.bases[:, begin : begin + width]
        x = reading.differs @ differs + self.numbers(reading.numbers) + (reading.asked @ asked)[:, None]
        closed = torch.where(reading.valid, 0.0, -1e4)[:, None, None]  # [B, 1, 1, K]
        for layer in self.layers:
            x = layer(x, reading.pairs, closed)
        x = self.norm(x)
        height, stem, error, score = self.place(x).unbind(-1)
        taxa, none = self.ranks(x) * self.sharpness, self.none(x[:, :1]) * self.sharpness + self.none_shift
        ranks = torch.cat([taxa.masked_fill(~reading.valid[..., None], -1e4), none], 1)
        height, stem, error = (F.softplus(one - 2) * UNIT for one in (height, stem, error))
        return Places(height, stem, score.masked_fill(~reading.valid, -1e4), error * self.error_scale, ranks)


class CandidateLayer(nn.Module):
    """Attention among candidates and a feed-forward block, each behind a norm and added to its input."""

    def __init__(self, dim: int, heads: int) -> None:
        """Build with `heads` of `dim / heads`."""
        super().__init__()
        self.heads = heads
        self.bias = nn.Sequential(nn.Linear(PAIR_NUMBERS, 16), nn.GELU(), nn.Linear(16, heads))
        self.norm, self.qkv, self.out = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, pairs: Tensor, closed: Tensor) -> Tensor:
        """Candidates [B, K, D] to [B, K, D]; `closed` [B, 1, 1, K] is added to the attention."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.bias(pairs).permute(0, 3, 1, 2) + closed
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2))
        return x + self.feed(x)
