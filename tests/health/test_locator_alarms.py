"""What is a fault and what is not: legal infinities raise no alarm, hidden NaN does."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aam.errors import NonFiniteError
from aam.health import assert_finite, locate
from aam.health.report import Origin

X = torch.linspace(-1, 1, 24).reshape(2, 3, 4)


class Linear(nn.Module):
    """A model with one layer, into which the tests put what follows the layer."""

    def __init__(self, after=lambda x: x):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)
        self.after = after
        self.register_buffer("causal", torch.full((3, 3), -math.inf).triu(1))

    def forward(self, x):
        return self.after(self.layer(x))


def look(after, x=X, **options):
    model = Linear(after)
    return locate(model, lambda: model(x).square().mean(), **options)


def attention(x, mask):
    return torch.softmax((x @ x.transpose(-1, -2)).masked_fill(~mask, -math.inf), dim=-1) @ x


LEGAL = {
    "masked softmax": lambda x: attention(x, torch.ones(3, 3, dtype=torch.bool).tril()),
    "additive mask": lambda x: torch.softmax(x @ x.mT + torch.full((3, 3), -math.inf).triu(1), dim=-1) @ x,
    "mask from torch.where": lambda x: torch.softmax(torch.where(x > 0.9, -math.inf, x), dim=-1),
    "constant infinity": lambda x: torch.where(x > 9, torch.tensor(math.inf), x).amin(dim=-1),
    "causal sdpa": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "sdpa with a fully masked row": lambda x: F.scaled_dot_product_attention(
        x, x, x, attn_mask=torch.tensor([[True] * 3, [False] * 3, [True] * 3])
    ),
    "sigmoid by hand": lambda x: 1 / (1 + torch.exp((x * 500).detach())),
    "max pooling": lambda x: F.max_pool1d(x, 3, padding=1),
    "running minimum": lambda x: torch.minimum(torch.full_like(x, math.inf), x),
    "clamp without upper bound": lambda x: x.clamp(0, math.inf),
    "scratch memory": lambda x: torch.empty(2, 3, 4).copy_(x),
    "dropout": lambda x: F.dropout(x, 0.5, training=True),
    "nanmean": lambda x: x + torch.nanmean(torch.tensor([1.0, math.nan])),
    "NaN as a marker": lambda x: x + torch.nansum(x.detach().masked_fill(x > 0.5, math.nan)),
    "integer work": lambda x: x[torch.tensor([1, 0])] * torch.arange(4).remainder(2),
    "autocast": lambda x: torch.autocast("cpu", torch.bfloat16)(F.linear)(x, torch.ones(4, 4)).float(),
    "sparse": lambda x: torch.sparse.mm(torch.eye(3).to_sparse(), x[0]),
    "complex": lambda x: torch.fft.rfft(x).abs(),
    "layer norm of a constant": lambda x: F.layer_norm(x * 0 + 3, (4,)),
    "double where": lambda x: torch.where(x > 0, torch.log(torch.where(x > 0, x, 1)), 0),
}


@pytest.mark.parametrize("name", LEGAL)
def test_no_false_alarm(name):
    report = look(LEGAL[name])
    assert report.ok, str(report)


def test_mask_in_a_buffer_raises_no_alarm():
    model = Linear()
    report = locate(model, lambda: torch.softmax(model.layer(X) @ X.mT + model.causal, dim=-1).mean())
    assert report.ok, str(report)


def test_float_mask_handed_in_is_legal_until_a_row_has_no_key():
    mask = torch.zeros(2, 3, 3)
    mask[:, :, 2] = -math.inf
    assert look(lambda x: torch.softmax(x @ x.mT + mask, dim=-1) @ x).ok
    mask[1, 0] = -math.inf
    found = look(lambda x: torch.softmax(x @ x.mT + mask, dim=-1) @ x, sample_ids=["s0", "s1"]).producer
    assert (found.op, found.origin, found.samples, found.pattern) == ("_softmax", Origin.TURNED, ("s1",), "row")


def test_data_that_no_result_depends_on_may_hold_nan():
    labels = torch.tensor([1.0, math.nan])
    keep = ~labels.isnan()
    assert look(lambda x: (x[:, 0, 0] - labels)[keep] ** 2 if False else (x[keep, 0, 0] - labels[keep]) ** 2).ok


def test_nan_hidden_after_the_fact_is_an_alarm_and_reaches_the_gradient():
    """The original defect: zeros over the NaN of a fully padded row leave the loss finite, but not the gradients."""
    mask = torch.ones(2, 1, 3, dtype=torch.bool)
    mask[1] = False

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Linear(4, 4)
            self.key = nn.Linear(4, 4)

        def forward(self, x):
            scores = self.key(x) @ x.mT + torch.where(mask, 0.0, -math.inf)
            out = torch.softmax(scores, dim=-1) @ self.value(x)
            return torch.where(mask.any(dim=-1, keepdim=True), out, torch.zeros_like(out))

    model = Attention()
    report = locate(model, lambda: model(X).square().mean(), sample_ids=["fine", "padded"])
    assert math.isfinite(report.result.item())
    assert set(report.bad_gradients) == {"key.weight", "key.bias", "value.weight", "value.bias"}
    found = report.producer
    assert (found.op, found.phase, found.reach, found.samples) == ("_softmax", "forward", "a gradient", ("padded",))
    assert "torch.softmax(scores" in found.line.text


def test_nan_hidden_with_finite_gradients_is_reported_as_contained():
    report = look(lambda x: torch.nan_to_num(torch.log(x - 5)))
    assert not report.ok and not report.bad_gradients and not report.bad_result
    assert (report.producer.op, report.producer.reach) == ("log", "neither the result nor a gradient")


def test_every_target_ignored():
    report = look(lambda x: F.cross_entropy(x.reshape(6, 4), torch.full((6,), -100)))
    assert (report.producer.op, report.producer.phase) == ("nll_loss_forward", "forward")


def test_spelt_out_infinity_that_reaches_the_loss_is_a_fault():
    report = look(lambda x: F.cross_entropy(x.reshape(6, 4).masked_fill(torch.tensor([True, False, False, False]), -math.inf), torch.zeros(6).long()))  # fmt: skip # noqa: E501
    assert report.bad_result and report.producer.origin is Origin.SPELT and report.producer.op == "masked_fill"


def test_overflow_is_blamed_not_the_softmax_it_spoils():
    report = look(lambda x: torch.softmax(x.half() * 60000 * 60000, dim=-1).float())
    assert (report.producer.op, report.producer.output.dtype) == ("mul", torch.float16)


def test_overflow_of_half_precision_linear():
    model = Linear().half()
    model.layer.weight.data.fill_(3e4)
    report = locate(model, lambda: model(torch.ones(2, 4, dtype=torch.float16)).float().mean())
    assert (report.producer.module, report.producer.op) == ("layer", "addmm")
    assert report.producer.inputs[-1].absmax == 3e4


def test_two_faults_are_two_findings_in_order_of_time():
    report = look(lambda x: x + torch.log(x - 9) + torch.sqrt(x - 9))
    assert [finding.op for finding in report.findings] == ["log", "sqrt"]


def test_nan_handed_in_is_an_input_fault_with_its_sample():
    x = X.clone()
    x[1, 2, 3] = math.nan
    found = look(lambda x: x, x=x, sample_ids=["s0", "s1"]).producer
    assert (found.origin, found.module, found.samples) == (Origin.INPUT, "layer", ("s1",))
    assert "1 element at [" in found.output.pattern.text


def test_uninitialised_memory_is_told_from_data():
    def after(x):
        scratch = torch.empty(2, 3, 4)
        scratch.view(torch.int32)[:] = 0x7FC00000  # what a stale page may hold: the bits of NaN, unseen by a float op
        return x + scratch

    assert look(after).producer.origin is Origin.UNINITIALISED


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_activations_keep_module_and_phase(reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), Linear(lambda x: torch.sqrt(x * 0))

        def forward(self, x):
            return checkpoint(self.second, self.first(x), use_reentrant=reentrant)

    model = Checkpointed()
    found = locate(model, lambda: model(X).mean()).producer
    assert (found.module, found.op, found.phase) == ("second", "sqrt", "backward")


def test_guard_inside_the_call_may_raise():
    def after(x):
        x = torch.log(x - 5)
        assert_finite("x", x)
        return x

    report = look(after)
    assert report.producer.op == "log" and report.error.startswith("NonFiniteError: NaN values found in x")


def test_an_error_that_has_nothing_to_do_with_numbers_propagates():
    with pytest.raises(IndexError):
        look(lambda x: x[5])
    with pytest.raises(NonFiniteError, match="by hand"):
        look(lambda x: (_ for _ in ()).throw(NonFiniteError("by hand")))


def test_backward_in_the_call_is_not_run_twice():
    model = Linear(lambda x: torch.sqrt(x * 0))

    def call():
        loss = model(X).mean()
        loss.backward()
        return loss

    report = locate(model, call)
    assert (report.producer.op, report.producer.phase) == ("sqrt", "backward")


def test_forward_outside_of_the_trace_still_gives_the_node():
    model = Linear(lambda x: torch.sqrt(x * 0))
    loss = model(X).mean()
    found = locate(model, loss.backward).producer
    assert (found.op, found.module, found.phase) == ("SqrtBackward0", "(forward ran before the trace)", "backward")


def test_fault_of_the_optimiser():
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e38)

    def call():
        (model(X) * 1e3).square().mean().backward()
        optimizer.step()

    kept = [p.detach().clone() for p in model.parameters()]
    report = locate(model, call)
    for p, value in zip(model.parameters(), kept, strict=True):
        p.data.copy_(value)
    assert (report.producer.phase, report.producer.reach) == ("update", "a parameter")
    assert "add" in report.producer.op
    assert "layer.weight" in report.spoilt_parameters and not report.bad_parameters


def test_fast_path_of_the_stock_encoder_in_evaluation():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    padding = torch.zeros(2, 3, dtype=torch.bool)
    padding[1] = True
    with torch.no_grad():
        report = locate(model, lambda: model(torch.randn(2, 3, 8), src_key_padding_mask=padding), sample_ids=["a", "b"])
    assert report.samples == ("b",)
    assert report.producer.module == "layers.0"


def test_history_ends_at_the_first_bad_output():
    report = look(lambda x: x * math.inf)
    assert [size.module for size in report.recent()] == ["layer", "(model)"]
    assert math.isfinite(report.recent()[0].absmax) and not math.isfinite(report.recent()[-1].absmax)
    assert "largest |x| of module outputs: layer" in str(report)


def test_what_a_caller_adds_is_printed_with_the_report():
    assert "  step: 17" in str(dataclasses.replace(look(lambda x: torch.log(x - 5)), context={"step": 17}))


@pytest.mark.parametrize("whole", [True, False])
def test_compiled_modules_run_eagerly_and_keep_their_names(whole):
    model = nn.Sequential(Linear(lambda x: torch.sqrt(x * 0)), nn.Linear(4, 4))
    if whole:
        model = torch.compile(model, backend="aot_eager")
    else:
        model[0] = torch.compile(model[0], backend="aot_eager")
    found = locate(model, lambda: model(X).mean()).producer
    assert (found.module, found.op, found.phase) == ("0", "sqrt", "backward")


def test_overflow_of_a_scaled_loss_is_found_in_the_backward_pass():
    """What a gradient scaler meets: the scale is beyond half precision."""
    model = nn.Linear(4, 4)

    def call():
        with torch.autocast("cpu", torch.float16):
            loss = (model(X) * 1e3).float().square().mean()
        (loss * 65536).backward()

    report = locate(model, call)
    assert (report.producer.op, report.producer.phase) == ("_to_copy", "backward")
    assert report.producer.output.dtype is torch.float16 and report.bad_gradients == ("weight", "bias")


class Methods(nn.Module):
    """An encoder that is used through a method, so that no hook of it ever runs; recomputed on request."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def encode(self, x):
            return torch.sqrt(self.layer(x) * 0)

    def __init__(self, recompute: bool):
        super().__init__()
        self.encoder, self.recompute = self.Encoder(), recompute

    def forward(self, x):
        if self.recompute:
            return checkpoint(self.encoder.encode, x, use_reentrant=False)
        return self.encoder.encode(x)


@pytest.mark.parametrize("recompute", [True, False])
def test_methods_of_a_module_belong_to_it(recompute):
    model = Methods(recompute)
    found = locate(model, lambda: model(X).mean()).producer
    assert (found.module, found.op, found.phase) == ("encoder", "sqrt", "backward")
    assert found.line.function.endswith("encode")


def test_recomputed_forward_operations_are_forward():
    """The second pass through a checkpoint may differ from the first; a fault in it is one of the forward pass."""
    model = Methods(recompute=True)
    passes = []

    def encode(x):
        passes.append(x)
        x = model.encoder.layer(x)
        return torch.log(x * 0 + (-1 if len(passes) > 1 else 1)).exp()

    model.encoder.encode = encode
    found = locate(model, lambda: model(X).mean()).producer
    assert len(passes) == 2
    assert (found.op, found.phase) == ("log", "forward")
