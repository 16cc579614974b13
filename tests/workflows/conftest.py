"""A run as training leaves it, and an observer that keeps what it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from trained_run import save_run

from aam.observer import Observer


class Notes(Observer):
    """Keeps messages and warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a tiny model; look, but do not touch."""
    return save_run(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A table of three samples by the option that takes it, and a tree."""
    table, tree = tmp_path / "table.tsv", tmp_path / "tree.nwk"
    table.write_text("#OTU ID\ts1\ts2\ts3\nAAAA\t3\t0\t10\nCCCC\t1\t1\t0\nGGGG\t0\t1\t20\nTTTT\t0\t0\t30\n")
    tree.write_text("((AAAA:1,CCCC:2):1,(GGGG:4,TTTT:5):3):0.5;")
    return {"table": table, "tree": tree}
