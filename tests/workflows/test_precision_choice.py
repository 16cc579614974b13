"""bfloat16 is chosen where it pays and is safe, once a run; what is recorded is never `auto`."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import aam
from aam.cli.terminal import TERMINAL
from aam.config import PretrainConfig, from_options, tiny
from aam.corpus.pretraining import open_corpus
from aam.models.devices import lasted
from aam.training.run import build_learner, training_batches
from aam.workflows import precision
from aam.workflows.precision import chooses_bf16, precision_text, product_gain, settle_precision

CPU = torch.device("cpu")
OPTIONS: dict[str, Any] = {
    "example": True, "preset": "tiny", "max_bp": 20, "token_limit": 16, "batch_size": 8, "device": "cpu",
    "max_steps": 2, "preflight": False,
}  # fmt: skip


def stored_precision(run: Path) -> set[str]:
    """What the manifest and the checkpoints of a run have recorded."""
    records = [json.loads((run / name / "config.json").read_text()) for name in ("best", "last")]
    return {
        record["optim"]["precision"] for record in [*records, json.loads((run / "manifest.json").read_text())["config"]]
    }


def test_a_limit_of_cpu_time_gives_no_absurd_gain():
    """With it the clock of the process stands still for milliseconds, longer than a product takes."""
    code = (
        "import torch; from aam.config import tiny; from aam.workflows.precision import product_gain; "
        "print(product_gain(torch.device('cpu'), tiny()))"
    )
    done = subprocess.run(
        ["bash", "-c", f'ulimit -t 3600; "{sys.executable}" -c "{code}"'], capture_output=True, text=True, check=True
    )
    assert 0.001 < float(done.stdout) < 100


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


# What the clock shows before and after each product, of fp32 and bf16 in turn.
CLOCKS = {
    "a clock that stands": ([0.0], 1.0),
    "a clock of 10 ms": ([0.0, 0.01], 1.0),
    "a clock that stands in bfloat16": ([0.0, 0.01, 0.02, 0.02], 1.0),
    "4 ms against 1 ms": ([0.0, 0.004, 0.004, 0.005], 4.0),
    # three rounds: 4 / 1, 4 / 1, and one that was held up, 4 / 8
    "one round that was held up": ([0, 4, 4, 5, 5, 9, 9, 10, 10, 14, 14, 22], 4.0),
    # three rounds: 1 / 1, 1 / 1, and one of fp32 that was held up, 50 / 1, after which no other begins
    "one round of fp32 that was held up": (
        [0, 0.001, 0.001, 0.002, 0.002, 0.003, 0.003, 0.004, 0.004, 0.2, 0.2, 0.201],
        1.0,
    ),
}


@pytest.mark.parametrize(("ticks", "gain"), CLOCKS.values(), ids=CLOCKS)
def test_the_gain_is_the_median_of_rounds(ticks: list[float], gain: float, monkeypatch: pytest.MonkeyPatch):
    """The clock of this thread, which the measurement takes on a CPU; in thousandths where it is in whole numbers."""
    unit = 0.001 if ticks[-1] > 1 else 1.0
    times = itertools.cycle([unit * tick for tick in ticks])
    monkeypatch.setattr(time, "thread_time", lambda: next(times))
    assert product_gain(CPU, tiny()) == pytest.approx(gain)


@pytest.mark.parametrize("asked", ["fp32", "bf16", "fp16"])
def test_who_has_chosen_is_left_alone(asked: str, capsys: pytest.CaptureFixture[str]):
    config = from_options(PretrainConfig, OPTIONS | {"precision": asked})
    assert settle_precision(config, lambda: pytest.fail("nothing has to be built"), TERMINAL) is config
    assert capsys.readouterr().err == ""


def test_hardware_that_gains_nothing_computes_in_fp32(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(precision, "WORTHWHILE_GAIN", 1e6)
    config = from_options(PretrainConfig, OPTIONS)
    assert config.optim.precision == "auto"
    settled = settle_precision(config, lambda: pytest.fail("nothing has to be built"), TERMINAL)
    assert settled.optim.precision == "fp32" and capsys.readouterr().err == ""


def test_a_model_that_fails_on_its_first_batch_gets_no_bf16(capsys: pytest.CaptureFixture[str]):
    config = from_options(PretrainConfig, OPTIONS)
    batches = training_batches(config, open_corpus(config))
    learner = build_learner(config, batches, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "WORTHWHILE_GAIN", 0.0)
        assert chooses_bf16(config, lambda: (learner, batches), TERMINAL)
        said = capsys.readouterr().err
        assert said.startswith("precision: bf16 (training is ") and said.count("\n") == 1
        with torch.no_grad():
            learner.model.sample_encoder.transformer.norm.weight.fill_(float("inf"))
        assert not chooses_bf16(config, lambda: (learner, batches), TERMINAL)
    assert "precision: fp32 (training is " in capsys.readouterr().err


def test_the_line_says_gain_and_error():
    assert precision_text(3.96, 0.0042, True) == (
        "precision: bf16 (training is 4.0 times as fast in bfloat16 here, the first batch differs by 0.4%); "
        "--precision fp32 is without it"
    )


@pytest.mark.slow
def test_a_run_by_default_is_that_of_the_format_it_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Also resumed, where the machine would choose otherwise; all weights are the same to the last bit."""
    monkeypatch.setattr(precision, "WORTHWHILE_GAIN", 0.0)
    aam.pretrain(**OPTIONS, output_dir=tmp_path / "auto")
    aam.pretrain(**OPTIONS | {"precision": "bf16"}, output_dir=tmp_path / "bf16")
    assert stored_precision(tmp_path / "auto") == {"bf16"}
    weights = [(tmp_path / run / "last" / "model.safetensors").read_bytes() for run in ("auto", "bf16")]
    assert weights[0] == weights[1]
    monkeypatch.setattr(precision, "WORTHWHILE_GAIN", 1e6)
    aam.pretrain(output_dir=tmp_path / "auto", resume=True, max_steps=3, precision="auto")
    assert stored_precision(tmp_path / "auto") == {"bf16"}
    aam.pretrain(**OPTIONS, output_dir=tmp_path / "single")
    assert stored_precision(tmp_path / "single") == {"fp32"}
