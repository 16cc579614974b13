"""Parameter groups: every trainable tensor exactly once, decay on matrices only, on models of several kinds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aam.health.groups import parameter_groups


class Odd(nn.Module):
    """Names chosen to mislead a search for `norm`, `bn`, `ln`, `bias`."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.subnet = nn.Linear(4, 4)
        self.normalizer_proj = nn.Linear(4, 4, bias=False)
        self.scale = nn.Parameter(torch.ones(()))
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.queries = nn.Parameter(torch.zeros(8, 4))
        self.emb = nn.Embedding(7, 4)
        self.image_norm = nn.LayerNorm((3, 4))
        self.column = nn.Linear(4, 1, bias=False)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def split(model):
    groups = {group["name"]: group for group in parameter_groups(model, 0.1)}
    return {name: set(group["names"]) for name, group in groups.items()}


def test_decay_goes_by_type_and_rank_not_by_name():
    names = split(Odd())
    assert names["decay"] == {
        "net.0.weight", "subnet.weight", "normalizer_proj.weight", "queries", "column.weight",
    }  # fmt: skip
    assert names["no_decay"] == {
        "net.0.bias", "net.1.weight", "net.1.bias", "subnet.bias", "scale", "token", "emb.weight",
        "image_norm.weight", "image_norm.bias",
    }  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        Odd(),
        nn.Transformer(8, 2, 1, 1, 16, batch_first=True),
        nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.InstanceNorm1d(4, affine=True)),
        nn.LSTM(3, 4, 2),
        nn.MultiheadAttention(8, 2, add_bias_kv=True),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
        nn.Bilinear(2, 3, 4),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_trainable_tensor_in_exactly_one_group(model):
    groups = parameter_groups(model, 0.1)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in model.parameters() if p.requires_grad}
    decayed = {name for group in groups if group["weight_decay"] for name in group["names"]}
    parameters = dict(model.named_parameters())
    assert all(parameters[name].dim() > 1 for name in decayed)
    torch.optim.AdamW(groups, lr=1e-3)  # extra keys are kept by the optimiser


def test_attention_bias_and_weight_norm_gain_do_not_decay():
    assert "bias_k" in split(nn.MultiheadAttention(8, 2, add_bias_kv=True))["no_decay"]
    gain = "parametrizations.weight.original0"  # [3, 1]
    assert gain in split(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)))["no_decay"]


def test_tied_tensor_is_listed_once_and_follows_the_embedding():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 7, bias=False)
            self.table = nn.Embedding(7, 4)
            self.head.weight = self.table.weight

    assert split(Tied()) == {"no_decay": {"head.weight"}}


def test_decay_moves_a_matrix_and_leaves_a_norm():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    torch.optim.AdamW(parameter_groups(model, 0.5), lr=0.1).step()
    after = list(model.parameters())
    assert torch.allclose(after[0], before[0] * (1 - 0.1 * 0.5))  # AdamW: w *= 1 - lr * decay
    assert all(torch.equal(a, b) for a, b in zip(after[1:], before[1:], strict=True))
