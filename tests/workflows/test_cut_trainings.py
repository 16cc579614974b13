"""`aam train` and `aam pretrain` cut off at every kind of moment of their work go on to the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aam.observer import Observer, Sink
from aam.workflows import pretrain, train

SMALL: dict[str, Any] = {
    "example": True, "preset": "tiny", "branches": 16, "patch": 25, "token_limit": 8, "device": "cpu",
    "eval_every": 2, "preflight": False,
}  # fmt: skip
TRAIN: dict[str, Any] = {"target": ("age_months",), "folds": 2, "draws": 1, "max_steps": 4}


class CutError(BaseException):
    """Stands for a process that ends here."""


class CutObserver(Observer):
    """Ends the process at the first stage whose text has this word, or at this line of the log of a part."""

    def __init__(self, word: str = "", part: int = 0, line: int = 0):
        self.word, self.part, self.line = word, part, line

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        if self.word and self.word in text:
            raise CutError
        yield

    def training_display(self, done: float, part: int = 1, parts: int = 1) -> Sequence[Sink]:
        return [CutSink(self.line)] if part == self.part else []


class CutSink:
    def __init__(self, line: int):
        self.left = line

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        self.left -= 1
        if not self.left:
            raise CutError

    def close(self) -> None: ...


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of the last and best checkpoints of a run and its folds, by path."""
    files = [path for path in sorted(run.rglob("model.safetensors")) if path.parent.name in ("last", "best")]
    return {f"{path.relative_to(run)} {name}": one for path in files for name, one in load_file(path).items()}


def assert_same(one: Path, other: Path) -> None:
    found, wanted = weights(one), weights(other)
    assert found.keys() == wanted.keys() and wanted
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


TRAIN_CUTS = {
    "first line of the first fold": CutObserver(part=1, line=1),
    "evaluation in the first fold": CutObserver(part=1, line=2),
    "between folds": CutObserver("predicting 1"),
    "evaluation in the second fold": CutObserver(part=2, line=2),
    "prediction of the second fold": CutObserver("predicting 2"),
    "scoring": CutObserver("scoring"),
    "drawing": CutObserver("drawing"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "train"
    train.train(SMALL | TRAIN | {"output_dir": run}, CutObserver())
    return run


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"num_workers": 2, "accumulate": 4}], ids=str)
@pytest.mark.parametrize("name", TRAIN_CUTS)
def test_a_training_of_folds_that_is_cut_off(trained: Path, tmp_path: Path, name: str, more: dict[str, Any]):
    whole = trained
    if more:
        whole = tmp_path / "whole"
        train.train(SMALL | TRAIN | more | {"output_dir": whole}, CutObserver())
    asked = SMALL | TRAIN | more | {"output_dir": tmp_path / "cut"}
    with pytest.raises(CutError):
        train.train(asked, TRAIN_CUTS[name])
    train.train({"output_dir": tmp_path / "cut", "resume": True}, CutObserver())
    assert_same(tmp_path / "cut", whole)
    assert (tmp_path / "cut" / "predictions.tsv").read_text() == (whole / "predictions.tsv").read_text()


PRETRAIN_CUTS = {
    "evaluation": CutObserver(part=1, line=2),
    "scoring": CutObserver("scoring held-out"),
    "baseline": CutObserver("scoring baselines"),
    "drawing": CutObserver("drawing"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRETRAIN_CUTS)
def test_a_pretraining_that_is_cut_off(tmp_path: Path, name: str):
    asked = SMALL | {"max_steps": 4}
    pretrain.pretrain(asked | {"output_dir": tmp_path / "whole"}, CutObserver())
    with pytest.raises(CutError):
        pretrain.pretrain(asked | {"output_dir": tmp_path / "cut"}, PRETRAIN_CUTS[name])
    pretrain.pretrain({"output_dir": tmp_path / "cut", "resume": True}, CutObserver())
    assert_same(tmp_path / "cut", tmp_path / "whole")
    assert (tmp_path / "cut" / "best" / "scales.json").read_text() == (tmp_path / "whole/best/scales.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("line", [1, 3])
def test_an_adaptation_that_is_cut_off(tmp_path: Path, line: int):
    """The first part is the adaptation of the first fold, which has a log of its own."""
    pretrain.pretrain(SMALL | {"max_steps": 2, "output_dir": tmp_path / "encoder"}, CutObserver())
    size = {name: value for name, value in SMALL.items() if name not in ("preset", "branches", "patch")}
    asked = size | TRAIN | {"pretrained": tmp_path / "encoder", "adapt_steps": 4}
    train.train(asked | {"output_dir": tmp_path / "whole"}, CutObserver())
    with pytest.raises(CutError):
        train.train(asked | {"output_dir": tmp_path / "cut"}, CutObserver(part=1, line=line))
    train.train({"output_dir": tmp_path / "cut", "resume": True}, CutObserver())
    assert_same(tmp_path / "cut", tmp_path / "whole")
