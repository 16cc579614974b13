"""Faults of the data: the report names the sample."""

from __future__ import annotations

import math

import pytest
import torch
from subjects import IDS, SUBJECTS
from torch import nn

from aam.health import locate
from aam.health.report import Origin
from aam.health.tracing import Place


class Series(nn.Module):
    """Time series [B, C, T] -> [B, 2]; scales each channel to unit energy, as such models do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x):
        x = x / x.square().mean(-1, keepdim=True).sqrt() + 0.01 * x.square()
        return self.head(self.norm(self.conv(x)).square().mean(-1))


def spoiled(value, sample):
    x = torch.randn(4, 3, 20, generator=torch.Generator().manual_seed(1))
    if value == "silent":
        x[sample] = 0.0
    else:
        x[sample, 1, 5] = value
    return x


@pytest.mark.parametrize("sample", range(4))
@pytest.mark.parametrize(
    ("value", "op", "origin"),
    [
        (math.nan, "pow", Origin.INPUT),
        (math.inf, "pow", Origin.INPUT),
        (3e38, "pow", Origin.MADE),  # its square is beyond float32
        ("silent", "div", Origin.MADE),  # 0 / 0
    ],
)
def test_sample_of_a_time_series(value, op, origin, sample):
    model, x = Series(), spoiled(value, sample)
    found = locate(model, lambda: model(x).square().mean(), sample_ids=IDS).producer
    assert (found.op, found.origin, found.samples) == (op, origin, (IDS[sample],))


@pytest.mark.parametrize("sample", range(4))
def test_sample_that_overflows_a_statistic_of_the_whole_batch(sample):
    """The running variance has no rows; the sample is the one that stands out in what the norm was given."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4))
    x = torch.randn(4, 3, 20)
    x[sample] *= 1e30
    report = locate(model, lambda: model(x).mean(), sample_ids=IDS)
    assert report.spoilt_parameters == ("1.running_var",) and model[1].running_var.isfinite().all()
    assert (report.producer.module, report.producer.op) == ("1", "native_batch_norm")
    assert report.samples == (IDS[sample],)


@pytest.mark.parametrize("sample", range(4))
def test_token_of_a_transformer(sample):
    subject = SUBJECTS["transformer"]()
    model, tokens = subject.model, torch.randint(0, 10, (4, 6))
    tokens[sample, 3] = 10
    model.embed.weight.data[10] = 1e30  # a rare token whose embedding ran away: finite, but its square is not
    report = locate(model, lambda: model(tokens).mean(), sample_ids=IDS)
    assert (report.producer.module, report.producer.op) == ("blocks.0.norm", "native_layer_norm")
    assert report.samples == (IDS[sample],)


@pytest.mark.parametrize("sample", range(4))
def test_token_of_a_gemma_in_half_precision(sample):
    """The rows of one prompt leave the range of fp16 in the residual stream and are whole rows of the hidden size."""
    subject = SUBJECTS["gemma"]()
    model = subject.model.half()
    tokens = torch.randint(1, 49, (4, 8))
    tokens[sample, 2] = 49
    model.model.embed_tokens.weight.data[49] = 2e4  # times sqrt(hidden size) = 5.66 this is beyond 65,504
    report = locate(model, lambda: model(input_ids=tokens, labels=tokens).loss, sample_ids=IDS)
    assert report.samples == (IDS[sample],)
    assert (report.producer.module, report.producer.op) == ("model.embed_tokens", "mul")
    assert report.producer.pattern == "row" and "1 whole row of 32" in report.producer.output.pattern.text


@pytest.mark.parametrize("sample", range(4))
def test_graph_by_a_callback_from_nodes_to_samples(sample):
    geometric = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    conv, batch = geometric.GCNConv(3, 4), torch.arange(12) // 3
    x, edges = torch.randn(12, 3), torch.tensor([[0, 1, 3, 4, 6, 7, 9, 10], [1, 2, 4, 5, 7, 8, 10, 11]])
    x[3 * sample + 1, 2] = -math.inf

    def label(place: Place) -> str | None:
        if place.shape[0] == 12:
            return f"{IDS[batch[place.row]]}, node {place.row % 3}"
        return None

    report = locate(conv, lambda: conv(x, edges).mean(), label=label)
    assert report.samples == (f"{IDS[sample]}, node 1",)


def test_rows_of_flattened_samples():
    model = nn.Linear(2, 2)
    x = torch.ones(4, 3, 2)
    x[2, 1] = math.nan
    assert locate(model, lambda: model(x.flatten(0, 1)).mean(), sample_ids=IDS).samples == ("cyd",)


def test_chunks_are_told_apart_by_the_call_number():
    """A module fed in chunks of 2: the call number gives the offset."""
    model = nn.Sequential(nn.Linear(2, 2))
    x = torch.ones(6, 2)
    x[3, 0] = math.nan
    names = [f"asv{i}" for i in range(6)]
    report = locate(
        model,
        lambda: torch.cat([model(chunk) for chunk in x.split(2)]).mean(),
        label=lambda place: names[2 * place.call + place.row] if place.shape[0] == 2 else None,
    )
    assert report.samples == ("asv3",)


def test_every_sample_bad_names_none():
    model = nn.Linear(2, 2)
    report = locate(model, lambda: torch.log(model(torch.ones(4, 2)) - 99).mean(), sample_ids=IDS)
    assert report.samples == () and report.producer.pattern == "all"


def test_weight_gradients_have_no_samples():
    """A [4, 4] weight gradient with a batch of 4 must not be read as four samples."""
    model = nn.Linear(4, 4, bias=False)
    x = torch.ones(4, 4)
    x[1] = 1e30

    def call():
        (model(x * 1e-30) * 1e30).square().mul(1e-30).sum().backward()

    report = locate(model, call, sample_ids=IDS)
    assert report.ok or all(len(finding.samples) < 4 for finding in report.findings)
