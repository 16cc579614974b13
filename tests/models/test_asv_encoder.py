"""ASV encoders: the two views of one computation, packing, chunks, and rows that hold only padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from generated_samples import tiny_model
from torch import Tensor

from aam import vocab
from aam.config import ModelConfig
from aam.models.asv_encoder import ASVEncoder, build_asv_encoder
from aam.models.chunked_encoder import ChunkedEncoder
from aam.models.chunks import LIMITS, Limits
from aam.models.mlp_encoder import MLPEncoder

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
LENGTH = 12


def encoder(dtype: torch.dtype = torch.float32, kind: str = "transformer", **changes: object) -> ChunkedEncoder:
    torch.manual_seed(0)
    return build_asv_encoder(tiny_model(LENGTH, asv_encoder=kind, **changes)).to(dtype)


def tokens(*shape: int, length: int = LENGTH, seed: int = 0) -> Tensor:
    """Sequences of random bases and of random length, at least one base."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(vocab.A, vocab.T + 1, (*shape, length + 1), generator=generator)
    found[..., 0] = vocab.START
    sizes = torch.randint(1, length + 1, (*shape, 1), generator=generator)
    return found.masked_fill(torch.arange(length + 1) > sizes, vocab.PAD).to(torch.uint8)


@contextmanager
def arithmetic_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_contract_of_the_default_size():
    torch.manual_seed(0)
    model, rows = ASVEncoder(), tokens(2, 3, length=150)
    assert model(rows).shape == (2, 3, ModelConfig().dim)
    embeddings, nucleotides = model(rows, return_nucleotides=True)
    assert embeddings.shape == (2, 3, ModelConfig().dim) and nucleotides.shape == (2, 3, 151, vocab.OUTPUT_SIZE)
    assert torch.equal(embeddings, model(rows))


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_packed_views(kind: str):
    model, rows = encoder(kind=kind), tokens(7)
    assert isinstance(model, MLPEncoder if kind == "mlp" else ASVEncoder)
    assert model.embed(rows).shape == (7, 32)
    assert model.predict(rows, torch.tensor([[0, 1], [3, 2], [6, LENGTH]])).shape == (3, vocab.OUTPUT_SIZE)


def test_packed_rows_are_the_slots_of_the_dense_view():
    model, rows = encoder(), tokens(2, 4)
    rows[0, 1] = rows[1, 3] = vocab.PAD
    present = (rows != vocab.PAD).any(-1)
    embeddings, nucleotides = model(rows, return_nucleotides=True)
    torch.testing.assert_close(embeddings[present], model.embed(rows[present]), atol=1e-6, rtol=0)
    at = torch.tensor([[row, place] for row in range(6) for place in range(1, LENGTH + 1)])
    asked = model.predict(rows[present], at).view(6, LENGTH, -1)
    torch.testing.assert_close(asked, nucleotides[present][:, 1:], atol=1e-6, rtol=0)
    assert not embeddings[~present].any() and not nucleotides[~present].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_slots_of_padding_give_zeros_and_zero_gradients(dtype: torch.dtype, training: bool):
    model = encoder(dtype).train(training)
    embeddings, nucleotides = model(torch.zeros(2, 3, LENGTH + 1, dtype=torch.uint8), return_nucleotides=True)
    assert embeddings.shape == (2, 3, 32) and nucleotides.shape == (2, 3, LENGTH + 1, 6)
    assert embeddings.dtype == nucleotides.dtype == dtype
    assert not embeddings.any() and not nucleotides.any()
    (embeddings.square().sum() + nucleotides.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients_are_finite_beside_slots_of_padding(dtype: torch.dtype):
    model, rows = encoder(dtype), tokens(2, 3)
    rows[0, 1] = rows[1] = vocab.PAD
    embeddings, nucleotides = model(rows, return_nucleotides=True)
    (embeddings.sum() + nucleotides.sum()).backward()
    assert embeddings.isfinite().all() and nucleotides.isfinite().all()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_no_asvs_give_no_embeddings(kind: str):
    model, none = encoder(kind=kind), torch.zeros(0, LENGTH + 1, dtype=torch.uint8)
    assert model.embed(none).shape == (0, 32)
    assert model.predict(none, torch.zeros(0, 2, dtype=torch.int64)).shape == (0, vocab.OUTPUT_SIZE)


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_padding_on_the_right_changes_nothing(kind: str):
    """Tokens as wide as the longest sequence, or up to the width of the encoder: the same ASVs."""
    model, rows = encoder(kind=kind), tokens(5, length=7)
    wide = torch.nn.functional.pad(rows, (0, LENGTH - 7))
    torch.testing.assert_close(model.embed(wide), model.embed(rows), atol=1e-6, rtol=0)
    at = torch.tensor([[0, 1], [4, 1]])
    torch.testing.assert_close(model.predict(wide, at), model.predict(rows, at), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_asvs_do_not_see_each_other(kind: str):
    model, rows = encoder(kind=kind), tokens(6)
    one_by_one = torch.cat([model.embed(row[None]) for row in rows])
    torch.testing.assert_close(model.embed(rows), one_by_one, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_every_base_counts(kind: str):
    """A changed base changes the embedding wherever it stands."""
    model, row = encoder(kind=kind), torch.tensor([[vocab.START, *[vocab.A] * LENGTH]], dtype=torch.uint8)
    for place in range(1, LENGTH + 1):
        other = row.clone()
        other[0, place] = vocab.G
        assert not torch.allclose(model.embed(other), model.embed(row), atol=1e-4), place


def gradients(model: ChunkedEncoder, rows: Tensor) -> list[Tensor | None]:
    """Of a sum over the embeddings of these rows; None for what plays no part, the nucleotide head."""
    model.zero_grad()
    model.embed(rows).square().sum().backward()
    return [parameter.grad for parameter in model.parameters()]


def test_chunks_are_of_like_length_and_size(monkeypatch: pytest.MonkeyPatch):
    model, rows = encoder(), tokens(23)
    monkeypatch.setitem(LIMITS, "cpu", Limits(5 * model.positions, 2 * 5 * model.cost(LENGTH + 1).numbers))
    plan = model.plan(rows)
    lengths = (rows != vocab.PAD).sum(1)
    assert [len(chunk) for chunk in plan.chunks] == [5, 5, 5, 4, 4] and plan.kept == 2
    assert torch.equal(lengths[torch.cat(plan.chunks)], lengths.sort().values)
    assert torch.equal(torch.cat(plan.chunks).sort().values, torch.arange(23))


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
@pytest.mark.parametrize("kept", [0, 2, 5], ids="kept {}".format)
@pytest.mark.parametrize("threads", [1, 3])
def test_chunks_recomputation_and_threads_change_nothing(
    kind: str, kept: int, threads: int, monkeypatch: pytest.MonkeyPatch
):
    model, rows = encoder(kind=kind), tokens(23)
    whole, wanted = model.embed(rows), gradients(model, rows)
    monkeypatch.setitem(
        LIMITS, "cpu", Limits(5 * model.positions, kept * 5 * model.cost(LENGTH + 1).numbers)
    )  # chunks of 5 and of 4
    with arithmetic_threads(threads):
        torch.testing.assert_close(model.embed(rows), whole, atol=1e-6, rtol=1e-6)
        found = gradients(model, rows)
    assert [gradient is None for gradient in found] == [gradient is None for gradient in wanted]
    for one, other in zip(found, wanted, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)  # sums over 23 rows of up to 1e2


def test_recomputation_repeats_the_dropout(monkeypatch: pytest.MonkeyPatch):
    model, rows = encoder(asv_dropout=0.5), tokens(9)
    found, after = [], []
    for kept in (3, 1, 0):
        monkeypatch.setitem(LIMITS, "cpu", Limits(3 * model.positions, kept * 3 * model.cost(LENGTH + 1).numbers))
        torch.manual_seed(7)
        with arithmetic_threads(3):  # which noise must not use
            found.append([gradient for gradient in gradients(model, rows) if gradient is not None])
        after.append(torch.get_rng_state())
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[2], found[0], atol=1e-5, rtol=1e-5)
    assert torch.equal(after[0], after[1]) and torch.equal(after[0], after[2])  # drawn once, as far as others can tell


def test_sequences_longer_than_the_encoder_are_refused():
    with pytest.raises(ValueError, match="sequences of 15 bases; this encoder takes at most 12"):
        encoder(patch=3).embed(torch.full((2, 16), vocab.A, dtype=torch.uint8))


def test_the_head_predicts_each_base_of_a_patch_for_itself():
    """Bases 1 to 5 share a transformer position; their logits come from different rows of the head."""
    model, rows = encoder(patch=5), tokens(1)
    logits = model.predict(rows, torch.tensor([[0, place] for place in range(1, 6)]))
    states = model.encode(rows).states[0, 1]
    by_hand = model.nucleotide_head(states).view(5, vocab.OUTPUT_SIZE)
    torch.testing.assert_close(logits, by_hand)


def test_the_mlp_sees_padding_as_nothing():
    """Its input is one-hot per base: 7 columns a position, all 0 where the sequence has ended."""
    model = encoder(kind="mlp")
    seen: list[Tensor] = []
    model.layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.embed(torch.tensor([[vocab.START, vocab.A, vocab.MASK, vocab.PAD]], dtype=torch.uint8))
    assert seen[0].nonzero()[:, 1].tolist() == [vocab.A, vocab.VOCAB_SIZE + vocab.MASK]


@pytest.mark.parametrize("length", [1, 4, 5, 6, 12])
def test_every_length_has_a_position_for_its_last_base(length: int):
    config = dataclasses.replace(tiny_model(length), patch=5)
    model = ASVEncoder(config)
    assert model.positions == 1 + -(-length // 5)
    assert model(tokens(1, 2, length=length), return_nucleotides=True)[1].shape == (1, 2, length + 1, 6)
