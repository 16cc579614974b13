"""A step on several threads comes to the same bits each time, as `--resume` and `aam replay` need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from built_learner import built
from torch import Tensor

from aam.config import PretrainConfig, from_options
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import open_corpus
from aam.training.run import build_learner, training_batches
from aam.training.step import Learner, score

TIMES = 2
"""Of lookups by `table[index]`, whose gradients are added in the order of the threads, one was enough."""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients(learner: Learner, batch: Batch) -> dict[str, Tensor]:
    """The gradients of one batch, with the same dropout each time."""
    torch.manual_seed(0)
    learner.optimizer.zero_grad(set_to_none=True)
    score(learner, batch)[1].total.backward()
    return {name: p.grad.clone() for name, p in learner.model.named_parameters() if p.grad is not None}


def assert_same_each_time(learner: Learner, batch: Batch) -> None:
    first = gradients(learner, batch)
    for _ in range(TIMES):
        again = gradients(learner, batch)
        assert [name for name in first if not torch.equal(first[name], again[name])] == []


@pytest.mark.parametrize(
    ("encoder", "metric"),
    [
        ("transformer", "unweighted"),
        pytest.param("mlp", "weighted_normalized", marks=pytest.mark.slow),
        pytest.param("transformer", "weighted_normalized", marks=pytest.mark.slow),
        pytest.param("mlp", "unweighted", marks=pytest.mark.slow),
    ],
)
def test_gradients_of_pretraining(encoder: str, metric: str) -> None:
    size = {"preset": "tiny", "asv_encoder": encoder, "unifrac_metric": metric, "batch_size": 32, "device": "cpu"}
    config = from_options(PretrainConfig, {"example": True} | size)
    batches = training_batches(config, open_corpus(config))
    assert_same_each_time(build_learner(config, batches, torch.device("cpu")), batches[0])


def test_gradients_of_fine_tuning() -> None:
    found = built(batch_size=64, branches=64)
    assert_same_each_time(found.learner, found.batches[0])
