"""A run as training leaves it, a table and its tree to put it to, and what every refusal has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import pytest
from generated_samples import community, write_files
from trained_run import save_run

from aam.cli import main

TABLE = "#OTU ID\ts1\ts2\ts3\nAAAA\t3\t0\t10\nCCCC\t1\t1\t0\nGGGG\t0\t1\t20\nTTTT\t0\t0\t30\n"
TREE = "((AAAA:1,CCCC:2):1,(GGGG:4,TTTT:5):3):0.5;"


@pytest.fixture(scope="module", autouse=True)
def small_work_of_commands(small_work: None) -> None:
    """What tests of commands do not look at is small."""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a tiny model; look, but do not touch."""
    return save_run(tmp_path_factory.mktemp("trained") / "run")


SMALL = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--max-steps", "2", "--device", "cpu"]


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining of two steps on the example; copy it to change it."""
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    assert main(["pretrain", "--example", *SMALL, "--no-preflight", "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining of 4 steps on the example, checked before it began, saved at 2 and 4; copy it to change it."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    steps = ["--max-steps", "4", "--eval-every", "2", "--token-limit", "8"]
    assert main(["pretrain", "--example", *SMALL, *steps, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two steps on the ages of the example; copy it to change it."""
    folder = tmp_path_factory.mktemp("labelled") / "run"
    asked = ["train", "--example", "--target", "age_months", *SMALL, "--no-preflight"]
    assert main([*asked, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with table.tsv and tree.nwk, which is the current one."""
    (tmp_path / "table.tsv").write_text(TABLE)
    (tmp_path / "tree.nwk").write_text(TREE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with table.tsv and tree.nwk of a generated study, and tmp, empty."""
    write_files(community(samples=12, asvs=30, richness=8), tmp_path)
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture
def refusal(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refusal(command, options, model=run)` is the error of a call that ends with code 2 and writes nothing.

    What is given by name is an option too, unless it is among `options`.
    """

    def call(command: str, options: Sequence[str], **usual: str | Path) -> str:
        before = {path: path.read_text() for path in folder.iterdir()}
        others = {f"--{name}": str(value) for name, value in usual.items() if f"--{name}" not in options}
        assert main([command, *chain.from_iterable(others.items()), *options]) == 2
        assert {path: path.read_text() for path in folder.iterdir()} == before
        return capsys.readouterr().err.splitlines()[-1]

    return call
