"""Transformer blocks over packed or masked rows, attention, dropout, and a deterministic table lookup."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from aam.models.devices import to_single_precision

DROPOUT_BITS = 16
SCORES_AT_ONCE = 1 << 18
"""Scores of attention that are looked at together, 1 MB in single precision: more leave the caches of a core, and their
memory goes back to the system and is asked for again. Forward and backward of 10 rows of 200 positions with 4 heads and
dropout take 22 ms at once in bfloat16, 10 in pieces; in single precision 15 and 14."""
MASKED_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""No cuDNN where a mask is given: its backward returns NaN for some lengths, 64 and 192 among them (pytorch#196678)."""


class Drop(nn.Dropout):
    """Dropout of any tensor, as `nn.Dropout`."""

    def forward(self, states: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return states
        if states.device.type != "cpu":
            return F.dropout(states, self.p)
        return states * dropout_factors(states, self.p)


def dropout_factors(like: Tensor, dropout: float) -> Tensor:
    """Factors of dropout: 0 with probability `dropout` (to 1/65536), else 1 / (1 - dropout)."""
    numbers, each = like.numel(), 64 // DROPOUT_BITS
    bits = torch.empty(-(-numbers // each), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:numbers]
    kept = bits.ge_(round(2**DROPOUT_BITS * dropout) - 2 ** (DROPOUT_BITS - 1)).to(like.dtype)
    return kept.mul_(1.0 / (1.0 - dropout)).view(like.shape)


def product_attention(packed: Tensor, valid: Tensor | None, dropout: float) -> Tensor:
    """Attention of packed [N, L, 3, H, d] over the `valid` keys [N, L] -> [N, L, H d], a few rows at a time."""
    rows, length, _, heads, _ = packed.shape
    some = max(1, SCORES_AT_ONCE // (heads * length**2))
    if some >= rows:
        return ProductAttention.apply(packed, valid, dropout)
    masks = [None] * -(-rows // some) if valid is None else valid.split(some)
    parts = zip(packed.split(some), masks, strict=True)
    return torch.cat([ProductAttention.apply(part, mask, dropout) for part, mask in parts])


class ProductAttention(torch.autograd.Function):
    """Autograd operation of `product_attention`: packed [N, L, 3, H, d] and `valid` keys [N, L] -> [N, L, H d]."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, valid: Tensor | None, dropout: float) -> Tensor:
        rows, length, _, heads, width = packed.shape
        ctx.shape, ctx.scale = (rows, heads, length, width), 1.0 / math.sqrt(width)
        query, key, value = parts = packed.permute(2, 0, 3, 1, 4).reshape(3, rows * heads, length, width)
        scores = torch.baddbmm(query[..., :1], query, key.transpose(1, 2), beta=0.0, alpha=ctx.scale)
        if valid is not None:
            scores.view(rows, heads, length, length).masked_fill_(~valid[:, None, None, :], float("-inf"))
        weights = torch.softmax(to_single_precision(scores), dim=-1).to(packed.dtype)
        kept = dropout_factors(weights, dropout) if dropout > 0.0 else None
        ctx.save_for_backward(parts, weights, kept)
        mixed = torch.bmm(weights if kept is None else weights * kept, value)
        return mixed.view(rows, heads, length, width).transpose(1, 2).reshape(rows, length, heads * width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor, None, None]:
        parts, weights, kept = ctx.saved_tensors
        (query, key, value), (rows, heads, length, width) = parts, ctx.shape
        asked = asked.view(rows, length, heads, width).transpose(1, 2).reshape(value.shape)
        found = torch.empty_like(parts)
        torch.bmm((weights if kept is None else weights * kept).transpose(1, 2), asked, out=found[2])
        of_weights = torch.bmm(asked, value.transpose(1, 2))
        if kept is not None:
            of_weights *= kept
        weights = to_single_precision(weights)
        inner = weights * of_weights
        of_scores = torch.addcmul(inner, weights, inner.sum(-1, keepdim=True), value=-1.0).to(asked.dtype)
        torch.baddbmm(query, of_scores, key, beta=0.0, alpha=ctx.scale, out=found[0])
        torch.baddbmm(key, of_scores.transpose(1, 2), query, beta=0.0, alpha=ctx.scale, out=found[1])
        return found.view(3, rows, heads, length, width).permute(1, 3, 0, 2, 4), None, None


def take_rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows [..., D] of a table [N, D] by their numbers, any shape, with bitwise reproducible gradients.

    `table[index]` sums the gradients of a repeated row in an order that depends on the threads.
    """
    return F.embedding(index, table)


def attend(packed: Tensor, valid: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention of packed [N, L, 3, H, d] over the keys that are `valid` [N, L] -> [N, L, H d].

    Every row must have a valid key; `Transformer` guarantees it.
    """
    if packed.device.type == "cpu" and (packed.dtype == torch.bfloat16 or dropout > 0.0):
        return product_attention(packed, valid, dropout)
    query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
    if valid is None:
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    else:
        with sdpa_kernel(MASKED_BACKENDS):
            mask = valid[:, None, None, :]
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head self-attention, [N, L, D] -> [N, L, D]."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(dim, 3 * dim)
        self.merge = nn.Linear(dim, dim)

    def forward(self, states: Tensor, valid: Tensor | None) -> Tensor:
        packed = self.project(states).unflatten(-1, (3, self.heads, -1))
        return self.merge(attend(packed, valid, self.dropout if self.training else 0.0))


class Block(nn.Module):
    """Pre-norm transformer block, [N, L, D] -> [N, L, D]."""

    def __init__(self, dim: int, heads: int, ffn_ratio: int, dropout: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout)
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = nn.Sequential(nn.Linear(dim, ffn_ratio * dim), nn.GELU(), nn.Linear(ffn_ratio * dim, dim))
        self.drop = Drop(dropout)

    def forward(self, states: Tensor, valid: Tensor | None) -> Tensor:
        states = states + self.drop(self.attention(self.attention_norm(states), valid))
        return states + self.drop(self.feed(self.feed_norm(states)))


class Transformer(nn.Module):
    """A stack of blocks and a closing norm, [N, L, D] -> [N, L, D].

    `valid` [N, L] marks the real positions, None means all. What stands at the others, NaN included, changes nothing:
    it is replaced by zeros on the way in. A row without any valid position attends to its own zeros, so it is finite.
    """

    def __init__(self, dim: int, heads: int, layers: int, ffn_ratio: int, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, ffn_ratio, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        # Dropout of attention weights makes torch keep them, before and after.
        self._numbers = (layers * (9 + 2 * ffn_ratio) * dim, 2 * layers * heads if dropout > 0 else 0)

    def numbers(self, length: int) -> int:
        """Approximate number of values that the backward pass needs for a row of this length."""
        each, by_key = self._numbers
        return length * (each + by_key * length)

    def forward(self, states: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is not None:
            states = torch.where(valid[..., None], states, 0.0)
            valid = valid | ~valid.any(dim=-1, keepdim=True)
        for block in self.blocks:
            states = block(states, valid)
        return self.norm(states)
