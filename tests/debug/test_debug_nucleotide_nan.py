"""debug/investigate_nucleotide_nan.py names module, operation, sample and ASV of what is not finite."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn


class Logarithm(nn.Module):
    """Passes everything on, but takes the logarithm of a negative number in one row."""

    def __init__(self, row: int):
        super().__init__()
        self.row = row

    def forward(self, x: Tensor) -> Tensor:
        sign = torch.ones(len(x), 1)
        sign[self.row] = -1
        return x + torch.log(sign * (1 + x.abs())) * 0


@pytest.fixture
def nan(script):
    return script("investigate_nucleotide_nan")


def test_a_sound_model_passes_on_every_way(nan, bench, capsys) -> None:
    assert nan.investigate(bench, bench.batches[0]) == 0
    shown = capsys.readouterr().out
    assert "FAULT" not in shown
    for step in (
        "tokens",
        "packing",
        "transformer",
        "pooling",
        "nucleotide head",
        "UniFrac head",
        "losses",
        "gradients",
    ):
        assert f"│ {step} " in shown


def test_a_nan_weight_is_named_with_the_module_that_holds_it(nan, bench, capsys) -> None:
    with torch.no_grad():
        bench.learner.model.asv_encoder.transformer.blocks[0].attention.project.weight[3, 5] = math.nan
    assert nan.investigate(bench, bench.batches[0]) == 1
    shown = capsys.readouterr().out
    name = "asv_encoder.transformer.blocks.0.attention.project.weight"
    assert f"first non-finite place: NaN already in parameter or buffer {name}" in shown
    assert "the first fault is in: transformer" in shown


def test_the_operation_and_the_asv_that_made_nan_are_named(nan, bench, capsys) -> None:
    batch, row = bench.batches[0], 7
    norm = bench.learner.model.asv_encoder.pooling.norm
    bench.learner.model.asv_encoder.pooling.norm = nn.Sequential(norm, Logarithm(row))
    assert nan.investigate(bench, batch) == 1
    first = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("first non-finite place"))
    assert "NaN made by log in asv_encoder.pooling.norm.1 (forward)" in first
    carriers = ((batch.index == row) & batch.valid).any(dim=1).nonzero().flatten().tolist()
    assert f"ASV {bench.corpus.table.asv_ids[batch.asvs[row]]} of {batch.sample_ids[carriers[0]]}" in first


def test_the_sample_whose_counts_are_nan_is_named(nan, bench, capsys) -> None:
    batch = bench.batches[0]
    counts = batch.counts.clone()
    counts[2, 0] = math.nan
    assert nan.investigate(bench, dataclasses.replace(batch, counts=counts)) == 1
    shown = capsys.readouterr().out
    assert f"of sample {batch.sample_ids[2]} has no reads" in shown  # NaN > 0 is false
    first = next(line for line in shown.splitlines() if line.startswith("first non-finite place"))
    assert "NaN already in a tensor handed in" in first
    assert first.endswith(f"; sample {batch.sample_ids[2]}")


def test_a_row_that_is_only_padding_is_named_though_the_model_survives_it(nan, bench, capsys) -> None:
    batch = bench.batches[0]
    tokens = batch.tokens.clone()
    tokens[5] = 0
    assert nan.investigate(bench, dataclasses.replace(batch, tokens=tokens)) == 1
    shown = capsys.readouterr().out
    assert f"tokens: ASV {bench.corpus.table.asv_ids[batch.asvs[5]]} of " in shown
    assert "is only padding" in shown
    assert "first non-finite place" not in shown
