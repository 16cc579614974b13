"""Transformer blocks over packed or masked rows, the one place that calls attention; and rows of a table by number."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from aam.models.products import Drop, product_attention

MASKED_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""No cuDNN where a mask is given: its backward returns NaN for some lengths, 64 and 192 among them (pytorch#196678)."""


def rows_at(table: Tensor, index: Tensor) -> Tensor:
    """Rows [..., D] of a table [N, D] by their numbers, any shape, with gradients of the same bits every time.

    `table[index]` adds the gradients of a row that is read again in the order in which threads come to it.
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
