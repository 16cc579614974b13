"""What region and strand a model has learned from is told by what is usual at each position."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aam.config import ModelConfig
from aam.datasets import example
from aam.inference.known_asvs import mean_log_probability, region_mismatch, reverse_complement
from aam.io.sequences import tokenize
from aam.io.table import read_table
from aam.models.asv_encoder import build_asv_encoder
from aam.models.chunked_encoder import ChunkedEncoder

CHANCE = -math.log(4)


def encoder_of(sequences: list[str], kind: str = "transformer", max_bp: int = 100) -> ChunkedEncoder:
    encoder = build_asv_encoder(ModelConfig(asv_encoder=kind, dim=32, heads=2, asv_layers=1, max_bp=max_bp))
    encoder.initialise_from(torch.from_numpy(tokenize(sequences, max_bp, sequences)))
    return encoder


@pytest.fixture(scope="module")
def sequences() -> list[str]:
    return list(read_table(example().table).sequences)


def test_the_mean_log_probability_of_bases_by_hand():
    encoder = encoder_of(["AC", "AG"], max_bp=2)
    with torch.no_grad():
        encoder.consensus_logits()[:, 1:5] = torch.log(torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4]]))
    # A then C: (ln 0.5 + ln 0.2) / 2; T then N, which is no base: ln 0.125
    assert mean_log_probability(encoder, ["AC"]) == pytest.approx((math.log(0.5) + math.log(0.2)) / 2)
    assert mean_log_probability(encoder, ["TN"]) == pytest.approx(math.log(0.125))


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_reverse_complements_and_other_regions_are_told_from_what_was_learned(sequences: list[str], kind: str):
    encoder, rng = encoder_of(sequences[:200], kind), np.random.default_rng(0)
    assert region_mismatch(encoder, sequences[200:]) == ""
    assert "are reverse complements of what the model has learned from (-" in region_mismatch(
        encoder, list(map(reverse_complement, sequences))
    )
    for other in ([read[7:] for read in sequences], ["".join(rng.choice(list("ACGT"), 100)) for _ in range(99)]):
        assert "not what the model has learned from" in region_mismatch(encoder, other)


def test_ambiguous_codes_and_a_model_at_chance_raise_no_alarm(sequences: list[str]):
    fresh = build_asv_encoder(ModelConfig(dim=32, heads=2, asv_layers=1, max_bp=100))
    assert mean_log_probability(fresh, sequences) == pytest.approx(CHANCE)
    assert region_mismatch(fresh, sequences) == "" and region_mismatch(fresh, ["NNNN"]) == ""


def test_long_reads_are_turned_whole(sequences: list[str]):
    """The first bases that a model reads of a reverse complement are the last of the ASV."""
    encoder = encoder_of([read[:50] for read in sequences], max_bp=50)
    assert region_mismatch(encoder, sequences) == "" and "reverse complements" in region_mismatch(
        encoder, list(map(reverse_complement, sequences))
    )


@given(st.text("ACGTRYSWKMBDHVN", max_size=30))
def test_turned_twice_is_what_it_was(sequence: str):
    assert reverse_complement(reverse_complement(sequence)) == sequence and len(reverse_complement(sequence)) == len(
        sequence
    )


@pytest.mark.parametrize("name", ["ecam-infants", "ibd-2538", "udca-gut"])
def test_studies_of_the_same_primers_fit_each_other(name: str, study, sequences: list[str]):
    encoder = encoder_of(sequences)
    found = list(read_table(Path(study(name)) / "table.biom").sequences)
    assert region_mismatch(encoder, found) == "" and "reverse complements" in region_mismatch(
        encoder, list(map(reverse_complement, found))
    )
