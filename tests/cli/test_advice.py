"""bfloat16 is recommended where it pays, and nobody is told twice."""

from __future__ import annotations

import pytest
import torch

from aam.cli.advice import advice, tell_precision
from aam.models.devices import gain_of_bf16


def test_only_a_gain_that_is_worth_it_is_told():
    assert advice(1.4) is None
    assert advice(3.96) == (
        "matrix products are 4.0 times as fast in bfloat16 here: --precision bf16 shortens each step"
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_who_has_chosen_is_left_alone(precision, capsys):
    tell_precision(precision, torch.device("cpu"))
    assert capsys.readouterr().err == ""


def test_fp32_is_told_what_was_measured(capsys):
    """Twice as fast or half as fast: by the hardware, but never off by a factor of a hundred."""
    assert 0.01 < gain_of_bf16(torch.device("cpu")) < 100
    tell_precision("fp32", torch.device("cpu"))
    assert capsys.readouterr().err.count("\n") <= 1
