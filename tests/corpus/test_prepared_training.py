"""Training on a prepared corpus is training on the files it was made from, to the last bit."""

from __future__ import annotations

import dataclasses
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from aam.config import DataConfig, LossConfig, ModelConfig, PrepareConfig, PretrainConfig, RunConfig
from aam.corpus.batches import TrainingBatches, ValidationBatches, send_maps_by_reference
from aam.corpus.dataset import Draw
from aam.corpus.prepare import prepare
from aam.corpus.pretraining import Corpus, open_corpus
from aam.datasets import example

DRAW = Draw(depth=500, token_limit=24, selection="weighted", seed=3)
HIDING = LossConfig(mask_ratio=0.15, masked_asvs=0.5, hidden_asvs=0.2, patristic_asvs=64)


def corpus(**data: object) -> Corpus:
    return open_corpus(
        PretrainConfig(DataConfig(**data), model=ModelConfig(unifrac_metric="generalized"), run=RunConfig(seed=7))
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus]:
    """The embedded example from its files, and prepared."""
    files, folder = example(), tmp_path_factory.mktemp("prepared") / "corpus"
    prepare(PrepareConfig(table=(files.table,), tree=(files.tree,)), folder, lambda text: None)
    return corpus(table=files.table, tree=files.tree), corpus(corpus=folder)


def same(one: object, other: object) -> None:
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, torch.Tensor):
            assert left.dtype == right.dtype and torch.equal(left, right), field.name
        else:
            assert left == right, field.name


def test_the_same_batches(both: tuple[Corpus, Corpus]):
    plain, prepared = (TrainingBatches(each.samples(each.sides.train, DRAW), 16, each.targets, HIDING) for each in both)
    assert len(plain.samples) > 100
    for number in (0, 1, plain.per_epoch, 5 * plain.per_epoch + 2):
        same(plain[number], prepared[number])


def test_the_same_held_out_batches(both: tuple[Corpus, Corpus]):
    plain, prepared = (
        ValidationBatches(each.samples(each.sides.validation, DRAW), 16, each.targets, HIDING) for each in both
    )
    assert len(plain) == len(prepared) > 1
    for number in range(len(plain)):
        same(plain[number], prepared[number])


def test_the_same_split_depth_tree_and_account(both: tuple[Corpus, Corpus]):
    plain, prepared = both
    assert [list(side) for side in prepared.split] == [list(side) for side in plain.split]
    assert prepared.depth == plain.depth and {key: list(ids) for key, ids in prepared.dropped.items()} == plain.dropped
    assert prepared.tree.to_newick() == plain.tree.to_newick()
    assert np.array_equal(prepared.tokens, plain.tokens) and list(prepared.table.asv_ids) == plain.table.asv_ids


def test_workers_that_are_not_forked_are_sent_no_corpus(both: tuple[Corpus, Corpus]):
    """What is pickled for them is small, whatever the corpus holds, and gives the same batches."""
    corpus = both[1]
    batches = TrainingBatches(corpus.samples(corpus.sides.train, DRAW), 16, corpus.targets, HIDING)
    send_maps_by_reference()
    content = ForkingPickler.dumps(batches)
    stored = sum(path.stat().st_size for path in corpus.files["corpus"].parent.glob("*.npy"))
    assert len(content) < stored / 10
    same(ForkingPickler.loads(content)[3], batches[3])
