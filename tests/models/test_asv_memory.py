"""A frozen encoder computes each ASV once, and its embeddings are those that it had before."""

from __future__ import annotations

import copy

import torch

from aam.config import tiny
from aam.models.asv_encoder import ASVEncoder
from aam.models.asv_memory import ASVMemory
from aam.vocab import START


def tokens(rows: int, length: int = 40) -> torch.Tensor:
    found = torch.randint(1, 5, (rows, 1 + length), dtype=torch.uint8)
    found[:, 0] = START
    return found


def test_embeddings_stay_and_carry_no_gradient():
    torch.manual_seed(0)
    encoder, rows = ASVEncoder(tiny()), tokens(30)
    before = encoder.embed(rows).detach()
    encoder.freeze()
    for order in (torch.arange(30), torch.randperm(30), torch.tensor([3, 3, 29])):
        found = encoder.embed(rows[order])
        assert not found.requires_grad
        torch.testing.assert_close(found, before[order], atol=1e-6, rtol=0)


def test_an_asv_is_computed_once_whatever_its_padding_and_batch():
    memory, computed = ASVMemory(), list[int]()

    def lengths(rows: torch.Tensor) -> torch.Tensor:
        computed.append(len(rows))
        return (rows != 0).sum(1, keepdim=True).float()

    first = torch.tensor([[5, 1, 0], [5, 2, 3], [5, 1, 0]], dtype=torch.uint8)
    assert memory.recall(first, lengths).tolist() == [[2], [3], [2]]
    wider = torch.tensor([[5, 2, 3, 0], [5, 4, 4, 4]], dtype=torch.uint8)
    assert memory.recall(wider, lengths).tolist() == [[3], [4]]
    assert computed == [2, 1]
    many = torch.randint(1, 5, (9000, 12), dtype=torch.uint8)  # more than there is room for at first
    assert memory.recall(many, lengths).shape == (9000, 1)
    assert memory.recall(first, lengths).tolist() == [[2], [3], [2]] and len(computed) == 3


def test_a_copy_is_empty():
    memory = ASVMemory()
    memory.recall(tokens(4), lambda rows: rows[:, :2].float())
    assert not copy.deepcopy(memory)._place


def test_what_an_evaluation_remembers_training_adds_to():
    memory, sizes = ASVMemory(), (3, 5000, 3)
    for number, size in enumerate(sizes):  # the second call makes room
        with torch.inference_mode(number != 2):
            found = memory.recall(tokens(size), lambda rows: rows[:, 1:2].float())
    trained = torch.ones(1, requires_grad=True)
    (found * trained).sum().backward()
    assert trained.grad == found.sum()
