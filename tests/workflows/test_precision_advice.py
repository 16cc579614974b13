"""bfloat16 is recommended where it pays, and nobody is told twice."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time

import pytest
import torch

from aam.cli.terminal import TERMINAL
from aam.models.devices import lasted, measure_bf16_gain
from aam.workflows.notes import precision_advice, say_precision_advice


def test_only_a_gain_that_is_worth_it_is_told():
    assert precision_advice(1.4) is None
    assert precision_advice(3.96) == (
        "matrix products are 4.0 times as fast in bfloat16 here: --precision bf16 shortens each step"
    )


def test_a_limit_of_cpu_time_gives_no_absurd_gain():
    """With it the clock of the process stands still for milliseconds, longer than a product takes."""
    code = (
        "import torch; from aam.models.devices import measure_bf16_gain; print(measure_bf16_gain(torch.device('cpu')))"
    )
    done = subprocess.run(
        ["bash", "-c", f'ulimit -t 3600; "{sys.executable}" -c "{code}"'], capture_output=True, text=True, check=True
    )
    assert 0.01 < float(done.stdout) < 100


def test_a_measured_time_can_be_divided_by():
    assert lasted(0.0) > 0 and lasted(-1.0) > 0 and lasted(2.5) == 2.5


@pytest.mark.slow
def test_compiling_is_tried_before_a_run(tmp_path):
    code = "import torch; from aam.models.devices import refuse_uncompilable; refuse_uncompilable(torch.device('cpu'))"
    environment = {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    names = {name: value for name, value in os.environ.items() if name != "CXX"} | environment
    done = subprocess.run([sys.executable, "-c", code], env=names, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "ConfigError: --compile does not work here (" in last and last.endswith("or leave --compile out")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_who_has_chosen_is_left_alone(precision, capsys):
    say_precision_advice(precision, torch.device("cpu"), TERMINAL)
    assert capsys.readouterr().err == ""


TICKS = [
    pytest.param([0.0], id="a clock that stands", marks=pytest.mark.slow),
    pytest.param([0.0, 0.01], id="a clock of 10 ms"),
    pytest.param([0.0, 0.01, 0.02, 0.02], id="a clock that stands in bfloat16", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("ticks", TICKS)
def test_a_clock_too_coarse_for_a_product_gives_no_advice(ticks: list[float], monkeypatch: pytest.MonkeyPatch):
    """The clock of this thread, which the measurement takes on a CPU."""
    times = itertools.cycle(ticks)
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    gain = measure_bf16_gain(torch.device("cpu"))
    assert gain == 1.0 and precision_advice(gain) is None


def test_fp32_is_told_what_was_measured(capsys):
    """Twice as fast or half as fast: by the hardware, but never off by a factor of a hundred."""
    assert 0.01 < measure_bf16_gain(torch.device("cpu")) < 100
    say_precision_advice("fp32", torch.device("cpu"), TERMINAL)
    assert capsys.readouterr().err.count("\n") <= 1
