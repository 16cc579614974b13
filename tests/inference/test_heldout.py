"""Held-out figures: of whole samples, the same at every evaluation, without a trace in the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from generated_samples import HIDING, community, tiny_model, write_files

from aam.config import DataConfig, LossConfig, ModelConfig, PretrainConfig
from aam.corpus.dataset import Draw, collate_fn
from aam.corpus.pretraining import Corpus, open_corpus
from aam.evaluation import baselines
from aam.evaluation.metrics import pair_scores, upper_triangle
from aam.inference import asvs, embed, heldout
from aam.inference.heldout import HeldOut, predict_masked
from aam.models.pretrain_model import PretrainModel
from aam.training.losses import TargetScale
from aam.training.objective import PretrainObjective, model_inputs

DRAW = Draw(depth=60, token_limit=6, selection="abundance", seed=0)
OBJECTIVE = PretrainObjective(LossConfig(), TargetScale())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    write_files(community(samples=30, asvs=40, richness=12), folder)
    data = DataConfig(table=folder / "table.tsv", tree=folder / "tree.nwk", rarefy_depth="60", validation_fraction=0.4)
    return open_corpus(PretrainConfig(data=data))


@pytest.fixture(scope="module")
def held_out(corpus: Corpus) -> HeldOut:
    return HeldOut(corpus, DRAW, HIDING, batch_size=5)


def model(**changes: object) -> PretrainModel:
    torch.manual_seed(0)
    return PretrainModel(tiny_model(**changes)).eval()


def test_only_held_out_samples_are_scored_and_all_of_them(held_out: HeldOut, corpus: Corpus):
    assert [sample.sample_id for sample in held_out.samples] == corpus.split.validation
    assert [name for batch in held_out.batches for name in batch.sample_ids] == corpus.split.validation
    carried = corpus.table.counts[[corpus.table.sample_ids.index(name) for name in corpus.split.train]]
    assert np.array_equal(held_out.seen, np.asarray(carried.sum(axis=0)).ravel() > 0)


def test_unifrac_is_that_of_whole_samples_and_of_the_model(held_out: HeldOut):
    """The token limit holds for sample embeddings alone; the latent tree sees what was drawn."""
    found = model()
    predicted = held_out.predict(found)
    with torch.no_grad():
        whole = found(model_inputs(collate_fn(held_out.samples)))
    assert max(len(sample.asvs) for sample in held_out.samples) > DRAW.token_limit
    torch.testing.assert_close(predicted.unifrac, whole.unifrac, atol=1e-5, rtol=0)
    with torch.no_grad():
        cut = held_out.corpus.samples(held_out.corpus.sides.validation, DRAW)
        limited = found(model_inputs(collate_fn([cut[row] for row in range(len(cut))])))
    torch.testing.assert_close(predicted.euclidean, limited.euclidean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_size_of_blocks_changes_nothing(held_out: HeldOut, rows: int, monkeypatch: pytest.MonkeyPatch):
    found = model()
    wanted, masked = held_out.predict(found), held_out.nucleotides(found)
    for module, name in ((asvs, "ASV_ROWS"), (embed, "SAMPLE_ROWS"), (embed, "BATCH_SLOTS"), (heldout, "ASV_ROWS")):
        monkeypatch.setattr(module, name, rows)
    again = held_out.predict(found)
    torch.testing.assert_close(again.unifrac, wanted.unifrac, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.euclidean, wanted.euclidean, atol=1e-5, rtol=0)
    assert held_out.nucleotides(found) == pytest.approx(masked, abs=1e-5)


def test_figures_are_the_scores_of_pairs(held_out: HeldOut):
    found = model()
    figures, predicted = held_out.score_heads(found), held_out.predict(found)
    for label, values in (("unifrac", predicted.unifrac), ("euclidean", predicted.euclidean)):
        scores = pair_scores(upper_triangle(values.numpy()), upper_triangle(held_out.true))
        found_scores = [figures[f"{label}_{name}"] for name in ("r2", "mae", "pearson")]
        assert found_scores == pytest.approx([scores.r2, scores.mae, scores.pearson])
    alone = held_out.score_heads(model(unifrac_head="euclidean"))
    assert "unifrac_r2" in alone and "euclidean_r2" not in alone  # the one head there is speaks for UniFrac


def test_nucleotide_figures_by_counting(held_out: HeldOut):
    found = model()
    hits = total = 0
    with torch.no_grad():
        for batch in held_out.batches:
            assert len(batch.masked_rows) == len(batch.asvs)  # every held-out ASV is asked
            guess = predict_masked(found, batch).argmax(1)
            hits, total = hits + int((guess == batch.masked_bases).sum()), total + len(guess)
    assert held_out.nucleotides(found)["nucleotide_accuracy"] == pytest.approx(hits / total)


def test_an_evaluation_leaves_no_trace(held_out: HeldOut):
    found = model(dropout=0.5).train()
    weights = [parameter.clone() for parameter in found.parameters()]
    random = torch.get_rng_state()
    one, two = (held_out.validate(found, lambda batch: score(found, batch)) for _ in range(2))
    assert one == two and found.training and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(*pair) for pair in zip(weights, found.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in found.parameters())


def score(found: PretrainModel, batch):
    return OBJECTIVE.losses(found(OBJECTIVE.inputs(batch)), batch)


def test_held_out_losses_are_means_over_samples(held_out: HeldOut):
    found = model()
    values = held_out.validate(found, lambda batch: score(found, batch))
    with torch.no_grad():
        losses = [(score(found, batch).total.item(), len(batch.sample_ids)) for batch in held_out.batches]
    assert values["loss"] == pytest.approx(sum(loss * size for loss, size in losses) / sum(size for _, size in losses))
    assert {"unifrac", "nucleotide", "unifrac_r2", "nucleotide_accuracy"} <= set(values)


def test_baselines_stand_beside_the_figures(held_out: HeldOut):
    found = held_out.baselines(ModelConfig(), seed=0)
    for name in ("nucleotide_consensus_accuracy", "baseline_jaccard_r2", "baseline_upgma_r2", "baseline_upgma_mae"):
        assert np.isfinite(found[name]), name
    assert 0.2 < found["nucleotide_consensus_accuracy"] < 0.6  # random sequences: a little above one in four


def test_many_held_out_samples_are_drawn_down(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(baselines, "MAX_SCORED", 5)
    one, two = (HeldOut(corpus, DRAW, HIDING, batch_size=5) for _ in range(2))
    ids = [sample.sample_id for sample in one.samples]
    assert len(ids) == 5 and ids == [sample.sample_id for sample in two.samples] and one.true.shape == (5, 5)
    assert [name for batch in one.batches for name in batch.sample_ids] == ids  # so memory does not grow with the study
