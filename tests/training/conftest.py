"""Runs small enough to be repeated: the smallest model on the first bases of the embedded example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import Corpus, open_corpus
from aam.training.loop import TrainingRun
from aam.training.run import build_run
from aam.training.state import TrainState

OPTIONS: dict[str, Any] = {
    "example": True, "preset": "tiny", "max_bp": 20, "token_limit": 16, "batch_size": 8, "dropout": 0.2, "device": "cpu"
}  # fmt: skip


@pytest.fixture(scope="session")
def example() -> Corpus:
    """The embedded example as a run with `OPTIONS` draws from it."""
    config = from_options(PretrainConfig, OPTIONS)
    return open_corpus(config)


@pytest.fixture
def new_run(example: Corpus, tmp_path: Path) -> Callable[..., tuple[TrainingRun, TrainState]]:
    """`new_run(folder, **options)` is a run and its state; its held-out loss is 1 unless `evaluate` says else."""

    def build(folder: str, evaluate: Any = None, **options: Any) -> tuple[TrainingRun, TrainState]:
        config = from_options(PretrainConfig, OPTIONS | {"output_dir": tmp_path / folder} | options)
        run = build_run(config, example, evaluate or (lambda learner: {"loss": 1.0}))
        return run, run.start_or_restore()

    return build
