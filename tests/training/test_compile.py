"""`--compile` makes a few graphs of the ASV encoder in its first step and none later, whatever the sizes of batches."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from generated_samples import Community, community, write_files
from torch._dynamo.testing import CompileCounter

from aam.config import PretrainConfig, from_options
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import open_corpus
from aam.models.chunks import LIMITS, Limits
from aam.training.run import build_learner, training_batches
from aam.training.step import Learner, step

SIZES = [(4, 9), (4, 9), (7, 5), (3, 12), (8, 11), (2, 7)]
"""Samples of a batch and the most ASVs of each; the first batch twice, to see both passes of training settle."""


@pytest.fixture(scope="module")
def samples() -> Community:
    return community(samples=8, asvs=40, richness=12, length=30)


def compiled(samples: Community, folder: Path) -> Learner:
    """As `aam pretrain --compile` has it."""
    write_files(samples, folder)
    options = {"table": folder / "table.tsv", "tree": folder / "tree.nwk", "preset": "tiny", "compile": True}
    config = from_options(PretrainConfig, options | {"batch_size": 4, "rarefy_depth": "none"})
    corpus = open_corpus(config)
    return build_learner(config, training_batches(config, corpus), torch.device("cpu"))


def batches(samples: Community) -> list[Batch]:
    return [samples.batch(range(count), token_limit=limit) for count, limit in SIZES]


@pytest.fixture(autouse=True)
def forgetful():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def graphs_by_step(learner: Learner, samples: Community, graphs: CompileCounter) -> list[int]:
    """Graphs that had been made after each step."""
    found = []
    for number, batch in enumerate(batches(samples)):
        loss = step(learner, [batch], number, len(SIZES)).terms[0]
        assert math.isfinite(loss.item())
        found.append(graphs.frame_count)
    return found


@pytest.mark.parametrize("recomputed", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["kept", "recomputed"])
def test_batches_of_other_sizes_make_no_other_graphs(
    recomputed: bool, samples: Community, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    graphs = CompileCounter()  # counts what dynamo hands to a compiler, and compiles nothing
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=graphs))
    if recomputed:
        monkeypatch.setitem(LIMITS, "cpu", Limits(5 * 31, 0))
    found = graphs_by_step(compiled(samples, tmp_path), samples, graphs)
    assert len({(len(batch.asvs), batch.index.shape) for batch in batches(samples)}) == len(SIZES) - 1
    assert 1 <= found[0] <= 6, found  # with a graph and without, with padding and without, and what torch takes apart
    assert set(found[1:]) == {found[1]}, found
