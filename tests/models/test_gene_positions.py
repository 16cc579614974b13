"""An encoder by column of the gene reads only the patches with bases, and gives what it gives on the whole row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aam.config import tiny
from aam.config.fields import GENE_COLUMNS
from aam.errors import ConfigError
from aam.models.asv_encoder import ASVEncoder, build_asv_encoder
from aam.vocab import START

CONFIG = replace(tiny(), positions="gene", max_bp=GENE_COLUMNS)


def rows(*spans: tuple[int, int]) -> Tensor:
    """Random bases on columns FROM to TO of each row, nothing elsewhere."""
    tokens = torch.zeros(len(spans), 900, dtype=torch.uint8)
    tokens[:, 0] = START
    for row, (first, last) in enumerate(spans):
        tokens[row, first : last + 1] = torch.randint(1, 5, (last - first + 1,))
    return tokens


@pytest.fixture
def encoder() -> ASVEncoder:
    torch.manual_seed(3)
    return ASVEncoder(CONFIG).eval()


@pytest.fixture
def tokens() -> Tensor:
    """Three primers, a gap of two patches inside of a read, and a row without bases."""
    found = rows((611, 760), (613, 700), (30, 289), (1, 40), (860, 899))
    found[0, 641:652] = 0
    return torch.cat([found, rows((1, 0))])


def test_the_packed_row_is_the_whole_row(encoder, tokens):
    at = torch.tensor([[0, 612], [0, 660], [1, 700], [2, 30], [2, 200], [4, 899]])
    with torch.no_grad():
        packed, logits = encoder.embed(tokens), encoder.predict(tokens, at)
        dense, nucleotides = encoder(tokens[None], return_nucleotides=True)
        encoder.packs = False
        torch.testing.assert_close(packed, encoder.embed(tokens), atol=2e-6, rtol=0)
        torch.testing.assert_close(logits, encoder.predict(tokens, at), atol=2e-6, rtol=0)
        torch.testing.assert_close(dense[0], packed, atol=2e-6, rtol=0)
    torch.testing.assert_close(nucleotides[0, at[:, 0], at[:, 1]], logits, atol=2e-6, rtol=0)


def test_a_row_does_not_depend_on_the_others(encoder, tokens):
    with torch.no_grad():
        whole = encoder.embed(tokens)
        for row in range(len(tokens)):
            torch.testing.assert_close(encoder.embed(tokens[row : row + 1])[0], whole[row], atol=2e-6, rtol=0)


def test_gradients_of_the_packed_row_are_those_of_the_whole_row(encoder, tokens):
    found = []
    for packs in (True, False):
        encoder.packs = packs
        encoder.zero_grad()
        encoder.encode(tokens).embeddings.square().sum().backward()
        found.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=2e-4, rtol=1e-4, msg=name)


def test_the_same_bases_elsewhere_on_the_gene_are_another_asv(encoder):
    tokens = rows((611, 760), (611, 760))
    tokens[1] = 0
    tokens[1, 0], tokens[1, 301:451] = START, tokens[0, 611:761]
    with torch.no_grad():
        one, other = encoder.embed(tokens)
    assert (one - other).abs().max() > 0.1


def test_the_mlp_has_no_columns():
    with pytest.raises(ConfigError, match="--asv-encoder mlp has no --positions gene; use --asv-encoder transformer"):
        build_asv_encoder(replace(CONFIG, asv_encoder="mlp"))


def test_no_rows(encoder):
    assert encoder.embed(rows()).shape == (0, CONFIG.dim)
    assert encoder.predict(rows(), torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 6)
