"""ASVs and samples under a model: once each, in any company, whatever the block and the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from trained_run import save_run

from aam.checkpoint import open_model
from aam.config import DataConfig
from aam.corpus.dataset import collate_fn
from aam.corpus.samples import open_samples
from aam.errors import CheckpointError
from aam.inference import asvs, embed
from aam.inference.asvs import ASVCache, encode_asvs, token_keys, weights_hash
from aam.inference.embed import Encoding, as_distances
from aam.models.pretrain_model import PretrainModel

SOME = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PretrainModel:
    return open_model(save_run(tmp_path_factory.mktemp("run")))[0]


@pytest.fixture(scope="module")
def example():
    return open_samples(DataConfig(example=True), "none", 0, 150)


def encoding(model: PretrainModel, example, rows=range(SOME), limit: int | None = None) -> Encoding:
    drawn = example.drawn()
    return Encoding(model, [drawn[row] for row in rows], encode_asvs(model, example.tokens, example.columns), limit)


@pytest.mark.parametrize("metric", ["unweighted", "weighted", "weighted_normalized", "generalized"])
def test_unifrac_of_blocks_is_that_of_one_batch(metric: str, example, tmp_path: Path, monkeypatch):
    model, _ = open_model(save_run(tmp_path, unifrac_metric=metric))
    found = encoding(model, example)
    batch = collate_fn([found.samples[row] for row in range(SOME)])
    with torch.inference_mode():
        branches = model.latent_tree(model.asv_encoder.embed(batch.tokens))
        placed = model.latent_tree.place_samples(branches, batch.index, batch.valid, batch.abundance)
        whole = model.latent_tree.unifrac(branches, placed, placed)
    monkeypatch.setattr(embed, "SAMPLE_ROWS", 5)  # blocks of 5, 5 and 2
    assert torch.allclose(found.unifrac(), whole, atol=1e-5)


def test_embeddings_are_those_of_the_model_and_of_no_company(model, example, monkeypatch):
    found = encoding(model, example).embeddings()
    batch = collate_fn([example.drawn()[row] for row in range(SOME)])
    with torch.inference_mode():
        asvs = model.asv_encoder.embed(batch.tokens)
        whole = model.encode_samples(asvs, batch.index, batch.valid, batch.abundance).embeddings
    assert torch.allclose(found, whole, atol=1e-5)
    monkeypatch.setattr(embed, "SAMPLE_ROWS", 1)
    assert torch.allclose(encoding(model, example, [3]).embeddings()[0], found[3], atol=1e-5)


def test_a_token_limit_keeps_the_most_abundant(model, example):
    sample = example.drawn()[0]
    most = np.sort(np.argsort(-sample.counts, kind="stable")[:3])
    cut = sample._replace(asvs=sample.asvs[most], tokens=sample.tokens[most], counts=sample.counts[most])
    asvs = encode_asvs(model, example.tokens, example.columns)
    limited, alone = Encoding(model, [sample], asvs, 3), Encoding(model, [cut], asvs, None)
    assert torch.allclose(limited.embeddings(), alone.embeddings(), atol=1e-6)
    assert torch.equal(limited.unifrac(), Encoding(model, [sample], asvs, None).unifrac())


def test_branch_coordinates_are_between_nothing_and_the_branch(model, example):
    with torch.inference_mode():
        lengths = model.latent_tree(torch.zeros(1, 32)).lengths
    coordinates = encoding(model, example).branches()
    assert coordinates.shape == (SOME, len(lengths))
    assert bool(((coordinates >= 0) & (coordinates <= lengths + 1e-6)).all())


def test_distances_are_symmetric_with_a_zero_diagonal():
    found = as_distances(torch.tensor([[0.3, 0.5], [0.7, -0.1]]))
    assert found == pytest.approx(np.array([[0.0, 0.6], [0.6, 0.0]]), abs=1e-6)


def test_the_key_of_a_sequence_forgets_padding_alone():
    assert token_keys(np.array([[5, 1, 2, 0, 0]], np.uint8)) == token_keys(np.array([[5, 1, 2]], np.uint8))
    assert token_keys(np.array([[5, 1, 2, 3]], np.uint8)) != token_keys(np.array([[5, 1, 2]], np.uint8))


def test_the_cache_gives_back_what_was_encoded_and_encodes_the_rest(model, example, tmp_path: Path):
    plain = encode_asvs(model, example.tokens, example.columns).embeddings
    with ASVCache(tmp_path, model.asv_encoder, 32) as cache:
        encode_asvs(model, example.tokens, example.columns[:100], cache)
    done: list[int] = []
    with ASVCache(tmp_path, model.asv_encoder, 32) as cache:
        assert len(cache) == 100
        again = encode_asvs(model, example.tokens, example.columns, cache, lambda done_, total: done.append(total))
    assert done == [len(example.columns) - 100]
    assert torch.allclose(again.embeddings, plain, atol=1e-6)


def test_an_interrupted_encoding_goes_on(model, example, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(asvs, "ASV_ROWS", 64)

    def stop(done: int, total: int) -> None:
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ASVCache(tmp_path, model.asv_encoder, 32) as cache:
        encode_asvs(model, example.tokens, example.columns, cache, stop)
    assert len(ASVCache(tmp_path, model.asv_encoder, 32)) == 128


def test_other_weights_have_a_cache_of_their_own(model, tmp_path: Path):
    with torch.no_grad():
        other = open_model(save_run(tmp_path / "other", seed=1))[0].asv_encoder
        next(other.parameters()).add_(0.1)
    assert weights_hash(other) != weights_hash(model.asv_encoder)


def test_a_damaged_part_is_named(model, example, tmp_path: Path):
    with ASVCache(tmp_path, model.asv_encoder, 32) as cache:
        encode_asvs(model, example.tokens, example.columns[:5], cache)
    part = next(tmp_path.rglob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=f"{part.name}.*remove this file"):
        ASVCache(tmp_path, model.asv_encoder, 32)


def test_rarefied_samples_are_those_of_training(example):
    from aam.corpus.dataset import ASVDataset, Draw

    shallow = open_samples(DataConfig(example=True), "1000", 7, 150)
    assert set(shallow.table.counts.sum(axis=1)) == {1000}
    kept = [example.table.sample_ids.index(sample) for sample in shallow.table.sample_ids]
    training = ASVDataset(
        example.table.counts[kept], example.tokens, shallow.table.sample_ids, Draw(1000, None, "random", 7)
    )
    ours, theirs = shallow.drawn()[2], training[2]
    assert np.array_equal(ours.counts, theirs.counts)
    assert [shallow.table.asv_ids[c] for c in ours.asvs] == [example.table.asv_ids[c] for c in theirs.asvs]


def test_sequences_are_cut_to_the_model_and_counted():
    assert open_samples(DataConfig(example=True), "none", 0, 60).cut == 310
    assert open_samples(DataConfig(example=True), "none", 0, 60).tokens.shape[1] == 61
