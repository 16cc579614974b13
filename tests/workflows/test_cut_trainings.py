"""`aam train` and `aam pretrain` that are killed at every kind of moment of their work go on to the same numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
import torch
from cut_processes import KINDS, arm, kill_self
from processes import in_process
from safetensors.torch import load_file

from aam.config import PrepareConfig
from aam.corpus.prepare import prepare
from aam.datasets import example
from aam.observer import Observer
from aam.training import loop
from aam.workflows import adapt, pretrain, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SMALL: dict[str, Any] = {
    "example": True, "preset": "tiny", "branches": 16, "patch": 25, "token_limit": 8, "device": "cpu",
    "eval_every": 2, "preflight": False, "max_steps": 6, "batch_size": 12,
}  # fmt: skip
TRAIN: dict[str, Any] = SMALL | {"target": ("age_months",), "folds": 2, "draws": 1}
EVEN = ({"num_workers": 0, "accumulate": 1}, {"num_workers": 2, "accumulate": 4})
ODD = ({"num_workers": 0, "accumulate": 4}, {"num_workers": 2, "accumulate": 1})
LARGE_BATCHES = {"batch_size": 36}
"""So that the six steps are more than an epoch, also where a step is one batch."""
CASES = [
    (kind, setting | (LARGE_BATCHES if kind == "between epochs" else {}))
    for number, kind in enumerate(KINDS)
    for setting in (EVEN, ODD)[number % 2]
]
Work = Callable[[Mapping[str, Any], Observer], object]


class EndedError(BaseException):
    """Ends a run before it draws: nothing catches it."""


class Cut(NamedTuple):
    """Where a process is killed: at the first stage with a `word`, or at a `kind` of moment of training `number`."""

    word: str = ""
    kind: str = ""
    number: int = 1
    of: Any = loop
    """The module that calls `train`."""


class StageObserver(Observer):
    """Calls a function at the first stage whose text has a word."""

    def __init__(self, ends: Mapping[str, Callable[[], None]]):
        self.ends = ends

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        for word, end in self.ends.items():
            if word in text:
                end()
        yield


def arm_training(cut: Cut) -> None:
    """Let the training of this number be killed."""
    own, calls = cut.of.train, iter(range(1, 100))

    def armed(run: loop.TrainingRun, *more: Any) -> None:
        if next(calls) == cut.number:
            run.sinks = [*run.sinks]
            arm(run, cut.kind)
        own(run, *more)

    cut.of.train = armed


def end() -> NoReturn:
    raise EndedError


def outcome(work: Work, options: Mapping[str, Any], cut: Cut | None = None, last: str = "drawing") -> int | None:
    """Exit code of a process that works until a stage called `last`, or is killed before."""

    def body() -> None:
        if cut is not None and cut.kind:
            arm_training(cut)
        ends: dict[str, Callable[[], None]] = {cut.word: kill_self} if cut is not None and cut.word else {}
        work(options, StageObserver(ends | ({last: lambda: os._exit(0)} if last not in ends else {})))

    return in_process(body)


def assert_goes_on(work: Work, options: Mapping[str, Any], cut: Cut, whole: Path, last: str = "drawing") -> None:
    """A run that is killed and resumed has the weights of one that was not, and of its folds."""
    folder = Path(options["output_dir"])
    assert outcome(work, options, cut, last) == -9
    assert outcome(work, {"output_dir": folder, "resume": True}, None, last) == 0
    found, wanted = weights(folder), weights(whole)
    assert found.keys() == wanted.keys() and wanted
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The tensors of the last and best checkpoints of a run and its folds, by path."""
    files = [path for path in sorted(run.rglob("*.safetensors")) if path.parent.name in ("last", "best")]
    return {f"{path.relative_to(run)} {name}": one for path in files for name, one in load_file(path).items()}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`wholes(work, options)` is a run that nothing cut off; its batches are assembled without workers."""
    folder, made = tmp_path_factory.mktemp("whole"), dict[str, Path]()

    def make(work: Work, options: Mapping[str, Any], last: str = "drawing") -> Path:
        asked = {**options, "num_workers": 0}
        name = f"{work.__module__} {sorted(asked.items())}"
        if name not in made:
            made[name] = folder / str(len(made))
            with pytest.raises(EndedError):  # in this process: its copies then have imported all that is needed
                work(asked | {"output_dir": made[name]}, StageObserver({last: end}))
        return made[name]

    return make


@pytest.mark.parametrize(("kind", "setting"), CASES, ids=str)
def test_folds_that_are_killed_while_they_train(
    wholes: Callable[..., Path], tmp_path: Path, kind: str, setting: dict[str, Any]
):
    asked = TRAIN | setting
    cut = Cut(kind=kind, number=1 if setting["num_workers"] else 2)  # in the first fold, or the second
    assert_goes_on(train.train, asked | {"output_dir": tmp_path / "cut"}, cut, whole := wholes(train.train, asked))
    assert (tmp_path / "cut" / "predictions.tsv").read_text() == (whole / "predictions.tsv").read_text()


@pytest.mark.parametrize("word", ["predicting 1", "predicting 2", "scoring", "drawing"])
def test_folds_that_are_killed_between_and_after_their_training(wholes: Callable[..., Path], tmp_path: Path, word: str):
    whole = wholes(train.train, TRAIN)
    assert_goes_on(train.train, TRAIN | {"output_dir": tmp_path / "cut"}, Cut(word), whole)
    assert (tmp_path / "cut" / "predictions.tsv").read_text() == (whole / "predictions.tsv").read_text()


@pytest.mark.parametrize("word", ["scoring held-out", "scoring baselines", "drawing"])
def test_a_pretraining_that_is_killed_after_its_training(wholes: Callable[..., Path], tmp_path: Path, word: str):
    whole = wholes(pretrain.pretrain, SMALL)
    assert_goes_on(pretrain.pretrain, SMALL | {"output_dir": tmp_path / "cut"}, Cut(word), whole)
    assert (tmp_path / "cut" / "best" / "scales.json").read_text() == (whole / "best" / "scales.json").read_text()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded example, prepared."""
    folder, files = tmp_path_factory.mktemp("prepared") / "corpus", example()
    prepare(PrepareConfig(table=(files.table,), tree=(files.tree,)), folder, lambda text: None)
    return folder


@pytest.mark.parametrize(("kind", "setting"), CASES[::4] + CASES[3::4], ids=str)
def test_a_pretraining_on_a_prepared_corpus(
    wholes: Callable[..., Path], corpus: Path, tmp_path: Path, kind: str, setting: dict[str, Any]
):
    asked = {name: value for name, value in SMALL.items() if name != "example"} | setting | {"corpus": corpus}
    whole = wholes(pretrain.pretrain, asked, "scoring")
    asked |= {"output_dir": tmp_path / "cut"}
    assert_goes_on(pretrain.pretrain, asked, Cut(kind=kind), whole, "scoring")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "run"
    assert outcome(pretrain.pretrain, SMALL | {"max_steps": 2, "output_dir": folder}) == 0
    return folder


@pytest.mark.parametrize(("kind", "number"), [(kind, 1 + number % 2) for number, kind in enumerate(KINDS)])
def test_an_adaptation_that_is_killed(
    wholes: Callable[..., Path], encoder: Path, tmp_path: Path, kind: str, number: int
):
    """That of the first fold or of the second; a fold has an adaptation, then its training."""
    size = {name: value for name, value in TRAIN.items() if name not in ("preset", "branches", "patch")}
    asked = size | {"pretrained": encoder, "adapt_steps": 8, "max_steps": 2}
    whole = wholes(train.train, asked)
    cut = Cut(kind=kind, number=number, of=adapt)
    assert_goes_on(train.train, asked | {"output_dir": tmp_path / "cut"}, cut, whole)
