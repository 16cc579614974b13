"""Thirty steps on the embedded example, compared with the curve they have always had.

Whatever changes what is learned, or how, changes this curve: a change that was not meant is found here. After one that
was meant, write the curve anew and commit it with the change:

    python tests/training/test_golden.py
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import open_corpus
from aam.training.run import build_learner, training_batches
from aam.training.step import step

GOLDEN = Path(__file__).parents[1] / "golden" / "pretrain_tiny.tsv"
STEPS = 30
OPTIONS = {"example": True, "preset": "tiny", "seed": 0, "device": "cpu", "dropout": 0.0, "lr": 5e-4}
"""No dropout, whose random numbers depend on the processor's library, and a rate at which rounding errors do not grow:
at 2e-3 one thread and two differ by 2e-4 after thirty steps, with and without AVX by 3e-3."""
TOLERANCE = 1e-3
"""Relative. One thread and two differ by 1e-5, a processor without AVX by 8e-5."""


def curve() -> list[list[str]]:
    """A header, then one row a step: its number, the loss and its terms."""
    config = from_options(PretrainConfig, OPTIONS)
    corpus = open_corpus(config)
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, torch.device("cpu"))
    results = [step(learner, [batches[number]], number, STEPS) for number in range(STEPS)]
    rows = [[f"{value:.6g}" for value in [number, *result.terms.tolist()]] for number, result in enumerate(results, 1)]
    return [["step", *results[0].names], *rows]


def test_thirty_steps_are_those_of_the_golden_curve():
    header, *rows = curve()
    golden_header, *golden = [line.split("\t") for line in GOLDEN.read_text().splitlines()]
    again = f"if the change was meant: python {Path(__file__).relative_to(Path(__file__).parents[2])}"
    assert header == golden_header, again
    for row, wanted in zip(rows, golden, strict=True):
        for name, value, other in zip(header, row, wanted, strict=True):
            assert float(value) == pytest.approx(float(other), rel=TOLERANCE), f"{name} of step {row[0]}; {again}"


def test_the_golden_curve_falls():
    """The loss of the last ten steps lies below that of the first ten."""
    _, *golden = [line.split("\t") for line in GOLDEN.read_text().splitlines()]
    losses = [float(row[1]) for row in golden]
    assert sum(losses[-10:]) < sum(losses[:10])


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("".join("\t".join(row) + "\n" for row in curve()))
    print(f"wrote {GOLDEN}")
