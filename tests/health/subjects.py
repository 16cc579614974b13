"""Small models of five kinds, each with a batch, to plant faults into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from generated_samples import community, tiny_model
from torch import Tensor, nn

from aam.health.operations import float_tensors
from aam.models.pretrain_model import PretrainModel
from aam.training.objective import model_inputs


class Block(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(x)


class Transformer(nn.Module):
    """Tokens [B, S] -> logits [B, 5]."""

    def __init__(self, dim: int = 8):
        super().__init__()
        self.embed = nn.Embedding(11, dim)
        self.blocks = nn.ModuleList([Block(dim), Block(dim)])
        self.head = nn.Linear(dim, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(dim=1))


class Convolutional(nn.Module):
    """Time series [B, C, T] -> logits [B, 5]."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(3, 6, 5, padding=2), nn.BatchNorm1d(6), nn.ReLU())
        self.body = nn.Conv1d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(self.stem(x))).mean(dim=-1))


@dataclass
class Subject:
    """A model with one batch: `call()` is forward and loss, `spots` are modules whose forward returns a tensor."""

    model: nn.Module
    call: Callable[[], Tensor]
    spots: tuple[str, ...]
    ids: tuple[str, ...]


IDS = ("ann", "bob", "cyd", "dan")


def transformer() -> Subject:
    torch.manual_seed(0)
    model, tokens, target = Transformer(), torch.randint(0, 11, (4, 6)), torch.randint(0, 5, (4,))
    spots = ("embed", "blocks.0.norm", "blocks.1.mlp", "blocks.1")
    return Subject(model, lambda: nn.functional.cross_entropy(model(tokens), target), spots, IDS)


def convolutional() -> Subject:
    torch.manual_seed(0)
    model, x, target = Convolutional(), torch.randn(4, 3, 20), torch.randint(0, 5, (4,))
    spots = ("stem.0", "stem.1", "stem", "body")
    return Subject(model, lambda: nn.functional.cross_entropy(model(x), target), spots, IDS)


def gemma() -> Subject:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Gemma3TextConfig(
        vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=4, max_position_embeddings=64,
    )  # fmt: skip
    model, tokens, mask = transformers.Gemma3ForCausalLM(config), torch.randint(1, 50, (4, 8)), torch.ones(4, 8).long()
    mask[1, :3] = 0  # left padding: rows of -inf in the mask that must not raise an alarm
    spots = ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.act_fn", "lm_head")
    return Subject(model, lambda: model(input_ids=tokens, attention_mask=mask, labels=tokens).loss, spots, IDS)


def graph() -> Subject:
    geometric = pytest.importorskip("torch_geometric.nn")

    class Graph(nn.Module):
        """Nodes [N, 3] of several graphs -> logits [B, 5]."""

        def __init__(self):
            super().__init__()
            self.first = geometric.GCNConv(3, 8)
            self.second = geometric.GATConv(8, 4, heads=2)
            self.norm = geometric.GraphNorm(8)
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor, edges: Tensor, batch: Tensor) -> Tensor:
            h = self.norm(torch.relu(self.first(x, edges)), batch)
            return self.head(geometric.global_mean_pool(torch.relu(self.second(h, edges)), batch))

    torch.manual_seed(0)
    model, x, batch = Graph(), torch.randn(12, 3), torch.arange(12) // 3
    edges = torch.tensor([[0, 1, 3, 4, 6, 7, 9, 10], [1, 2, 4, 5, 7, 8, 10, 11]])
    target = torch.randint(0, 5, (4,))
    return Subject(
        model,
        lambda: nn.functional.cross_entropy(model(x, edges, batch), target),
        ("first", "second", "norm", "head"),
        IDS,
    )


def own() -> Subject:
    """The model of this package on a small random community, all heads on."""
    torch.manual_seed(0)
    batch = community(samples=4, asvs=12, richness=5).batch(range(4))
    model = PretrainModel(tiny_model(dim=16, branches=8))
    inputs = model_inputs(batch)

    def call() -> Tensor:
        return torch.stack([tensor.square().mean() for tensor in float_tensors(model(inputs))]).sum()

    spots = ("asv_encoder.pooling", "asv_encoder.nucleotide_head", "sample_encoder.transformer")
    return Subject(model, call, spots, tuple(batch.sample_ids))


SUBJECTS = {"own": own, "transformer": transformer, "convolutional": convolutional, "gemma": gemma, "graph": graph}
