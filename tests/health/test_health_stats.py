"""Tensor statistics: right figures by hand, one host read, and no tensor that makes them raise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aam.health.stats import format_stats, summarise_tensors

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]
INTEGERS = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64]
COMPLEX = [torch.complex64, torch.complex128]


def test_figures_by_hand():
    (row,) = summarise_tensors([("x", torch.tensor([[1.0, -4.0], [0.0, 5.0]]))])
    assert (row.name, row.shape, row.dtype) == ("x", (2, 2), torch.float32)
    assert (row.minimum, row.maximum, row.mean, row.absmax) == (-4.0, 5.0, 0.5, 5.0)  # (1 - 4 + 0 + 5) / 4
    assert (row.nan, row.inf, row.zeros, row.finite) == (0, 0, 1, True)


def test_range_is_of_the_finite_values():
    x = torch.tensor([math.nan, 2.0, math.inf, -math.inf, 4.0, math.nan])
    (row,) = summarise_tensors([("x", x)])
    assert (row.minimum, row.maximum, row.mean, row.absmax) == (2.0, 4.0, 3.0, 4.0)
    assert (row.nan, row.inf, row.finite) == (2, 2, False)


def test_many_tensors_keep_their_order_and_need_one_read():
    named = [(f"t{i}", torch.full((i + 1,), float(i))) for i in range(20)]
    reads = []

    class Reads(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._local_scalar_dense.default:
                reads.append(func)
            return func(*args, **(kwargs or {}))

    with Reads():
        rows = summarise_tensors(named)
    assert [row.name for row in rows] == [name for name, _ in named]
    assert [row.maximum for row in rows] == [float(i) for i in range(20)]
    assert not reads  # .item() of any kind would show here


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + COMPLEX, ids=str)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (), (1,), (2, 3)], ids=str)
def test_no_dtype_or_shape_raises(dtype, shape):
    tensor = torch.zeros(shape, dtype=torch.float32).to(dtype)
    (row,) = summarise_tensors([("x", tensor)])
    assert row.shape == shape and row.zeros == tensor.numel()
    text = format_stats(tensor)
    assert text.startswith("min=") and "no statistics" not in text
    assert ("(integer tensor)" in text) == (dtype in INTEGERS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64], ids=str)
def test_all_nan(dtype):
    tensor = torch.full((3,), math.nan).to(dtype)
    (row,) = summarise_tensors([("x", tensor)])
    assert row.nan == 3 and math.isnan(row.mean)
    assert format_stats(tensor).endswith("3 NaN and 0 Inf of 3")


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.tensor([1, 5, 3]), "min=1, max=5 (integer tensor)"),
        (torch.tensor(2**62 + 1), f"min={2**62 + 1}, max={2**62 + 1} (integer tensor)"),
        (torch.tensor(7, dtype=torch.uint8), "min=7, max=7 (integer tensor)"),
        (torch.tensor([True, False]), "min=0, max=1 (integer tensor)"),
        (torch.tensor([1.0, 2.5, -0.5]), "min=-0.500000, max=2.500000, mean=1.000000"),
        (torch.tensor(0.25), "min=0.250000, max=0.250000, mean=0.250000"),
        (torch.tensor([1.5, 2.5], dtype=torch.bfloat16), "min=1.500000, max=2.500000, mean=2.000000"),
        (torch.tensor([60000.0] * 4, dtype=torch.float16), "min=60000.000000, max=60000.000000, mean=60000.000000"),
        (
            torch.tensor([math.nan, 1.0, math.inf, 3.0, -math.inf]),
            "min=1.000000, max=3.000000, mean=2.000000 over finite values, 1 NaN and 2 Inf of 5",
        ),
        (torch.tensor([math.nan, math.nan]), "min=nan, max=nan, mean=nan over finite values, 2 NaN and 0 Inf of 2"),
        (torch.tensor([]), "min=nan, max=nan, mean=nan, empty"),
        (torch.tensor([], dtype=torch.int32), "min=nan, max=nan (integer tensor), empty"),
        (torch.tensor([3 + 4j]), "min=5.000000, max=5.000000, mean=5.000000 of absolute values"),
        (torch.zeros(2, device="meta"), "no statistics (NotImplementedError)"),
    ],
)
def test_lines(tensor: Tensor, text: str):
    assert format_stats(tensor) == text


def test_tensors_without_strided_values():
    assert format_stats(torch.tensor([[0.0, 2.0]]).to_sparse()) == "min=2.000000, max=2.000000, mean=2.000000"
    assert format_stats(torch.tensor([1.0], requires_grad=True) * 2).startswith("min=2.0")
    assert format_stats(None).startswith("no statistics")


def test_half_precision_does_not_overflow_its_own_mean():
    (row,) = summarise_tensors([("x", torch.full((4096,), 60000.0, dtype=torch.float16))])
    assert row.mean == 60000.0
