"""What makes training fast changes nothing: distinct ASVs, chunks and recomputation against every occurrence at once.

Outputs agree within 1e-5 and gradients within 1e-4 of their tensor's largest entry, in fp32.
"""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest
import torch
from generated_samples import community, tiny_model
from torch import Tensor

from aam.config import LossConfig
from aam.data.dataset import Batch
from aam.models import asv_encoder
from aam.models.asv_encoder import ASVEncoder, ChunkedEncoder
from aam.models.pretrain_model import PretrainModel
from aam.training.losses import TargetScale
from aam.training.objective import PretrainObjective

LENGTH = 20
OBJECTIVE = PretrainObjective(LossConfig(), TargetScale())


def every_occurrence(encoder: ASVEncoder, batch: Batch) -> Tensor:
    """Embeddings [U, D] as means over the occurrences of an ASV, each encoded for itself from padded [B, S, L]."""
    tokens = batch.tokens[batch.index] * batch.valid[..., None]
    occurrences, of = encoder(tokens)[batch.valid], batch.index[batch.valid]
    total = torch.zeros(len(batch.asvs), occurrences.shape[1]).index_add(0, of, occurrences)
    return total / torch.bincount(of)[:, None]


def passed(batch: Batch, plain: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and gradients of one pass over a fresh model."""
    torch.manual_seed(0)
    model = PretrainModel(tiny_model(LENGTH, patch=3))
    if plain:
        model.asv_encoder.embed = lambda tokens: every_occurrence(model.asv_encoder, batch)
    output = model(OBJECTIVE.inputs(batch))
    OBJECTIVE.losses(output, batch).total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {f.name: getattr(output, f.name) for f in dataclasses.fields(output)}, gradients


@pytest.mark.parametrize(("chunked", "recomputed"), list(product([False, True], repeat=2)))
def test_the_fast_path_is_the_plain_one(chunked: bool, recomputed: bool, monkeypatch: pytest.MonkeyPatch):
    batch = community(samples=6, asvs=25, richness=11, length=LENGTH).batch(range(6))
    assert batch.valid.sum() > 2 * len(batch.asvs)  # much is shared
    wanted, wanted_gradients = passed(batch, plain=True)
    positions = 1 + -(-LENGTH // 3)
    monkeypatch.setattr(asv_encoder, "CHUNK_POSITIONS", 4 * positions if chunked else 10**9)
    monkeypatch.setattr(asv_encoder, "KEPT_POSITIONS", 0 if recomputed else 10**9)
    encoded: list[int] = []
    own_encode = ChunkedEncoder._embed_chunk

    def counted(self: ChunkedEncoder, tokens: Tensor) -> Tensor:
        encoded.append(len(tokens))
        return own_encode(self, tokens)

    monkeypatch.setattr(ChunkedEncoder, "_embed_chunk", counted)
    found, gradients = passed(batch, plain=False)
    assert sum(encoded) == len(batch.asvs) * (1 + recomputed)  # the path that was asked for
    assert max(encoded) == (4 if chunked else len(batch.asvs))
    for name, value in wanted.items():
        off_diagonal = ~torch.eye(len(value), dtype=torch.bool) if name == "patristic" else ...
        torch.testing.assert_close(found[name][off_diagonal], value[off_diagonal], atol=1e-5, rtol=1e-5, msg=name)
    assert gradients.keys() == wanted_gradients.keys()
    largest = max(float(value.abs().max()) for value in wanted_gradients.values())
    for name, value in wanted_gradients.items():
        scale = max(float(value.abs().max()), 1e-3 * largest)  # biases of keys have no gradient but rounding
        assert float((gradients[name] - value).abs().max()) <= 1e-4 * scale, name
