"""Transformer blocks over packed or masked rows; the one place that calls attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

MASKED_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""No cuDNN where a mask is given: its backward returns NaN for some lengths, 64 and 192 among them (pytorch#196678)."""


def attend(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, dropout: float) -> Tensor:
    """Scaled dot-product attention of [N, H, L, d] tensors over the keys that are `valid` [N, L].

    Every row must have a valid key; `Transformer` guarantees it. On CPUs bfloat16 runs as two matrix products, because
    the fused kernel's backward reaches a quarter of their speed there.
    """
    mask = None if valid is None else valid[:, None, None, :]
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and dropout == 0.0:
        scores = (query @ key.transpose(-2, -1)) * (1.0 / math.sqrt(query.shape[-1]))
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return torch.softmax(scores, dim=-1) @ value
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    with sdpa_kernel(MASKED_BACKENDS):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


class Attention(nn.Module):
    """Multi-head self-attention, [N, L, D] -> [N, L, D]."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project = nn.Linear(dim, 3 * dim)
        self.merge = nn.Linear(dim, dim)

    def forward(self, states: Tensor, valid: Tensor | None) -> Tensor:
        rows, length, dim = states.shape
        split = self.project(states).view(rows, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        mixed = attend(query, key, value, valid, self.dropout if self.training else 0.0)
        return self.merge(mixed.transpose(1, 2).reshape(rows, length, dim))


class Block(nn.Module):
    """Pre-norm transformer block, [N, L, D] -> [N, L, D]."""

    def __init__(self, dim: int, heads: int, ffn_ratio: int, dropout: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout)
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = nn.Sequential(nn.Linear(dim, ffn_ratio * dim), nn.GELU(), nn.Linear(ffn_ratio * dim, dim))
        self.drop = nn.Dropout(dropout)

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
        """Numbers of a row of this length that the backward pass needs, about."""
        each, by_key = self._numbers
        return length * (each + by_key * length)

    def forward(self, states: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is not None:
            states = torch.where(valid[..., None], states, 0.0)
            valid = valid | ~valid.any(dim=-1, keepdim=True)
        for block in self.blocks:
            states = block(states, valid)
        return self.norm(states)
