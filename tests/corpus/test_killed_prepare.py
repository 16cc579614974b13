"""A preparation that is killed at any of its file operations goes on, and nothing tells afterwards that it was."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from processes import in_process

from aam.config import PrepareConfig
from aam.corpus.prepare import prepare

OPERATIONS = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir"}
"""Events of Python's audit hooks that come before a file is changed."""


def prepared(config: PrepareConfig, folder: Path) -> dict[str, bytes]:
    """Every file of the corpus."""
    prepare(config, folder, lambda text: None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def killed_at(operation: int, config: PrepareConfig, folder: Path) -> bool:
    """Prepare in a process that is killed right before an operation on the corpus; whether it came that far."""
    found = 0

    def kill(event: str, arguments: tuple) -> None:
        nonlocal found
        if event in OPERATIONS and str(arguments[0]).startswith(str(folder)):
            found += 1
            if found > operation:
                os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        sys.addaudithook(kill)
        prepared(config, folder)

    code = in_process(work)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("stride", [9, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_killed_before_every_second_or_ninth_of_its_file_operations_it_goes_on(
    stride: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # slow, and of use where the machine dies, not a process
    tables, tree = [], tmp_path / "tree.nwk"
    for name, rows in (("a", "ACGT\t3\t1\nCAT\t0\t2\nGGG\t1\t0"), ("b", "CAT\t5\nTTT\t0\nGGG\t1")):
        ids = "\t".join(f"{name}{n}" for n in range(rows.splitlines()[0].count("\t")))
        tables.append(tmp_path / f"{name}.tsv")
        tables[-1].write_text(f"#OTU ID\t{ids}\n{rows}\n")
    tree.write_text("((ACGT:1,CAT:2):1,TTT:3);")
    config = PrepareConfig(table=tuple(tables), tree=(tree,), max_missing=0.5)
    whole = prepared(config, tmp_path / "whole")
    operation = 0
    while killed_at(operation, config, folder := tmp_path / f"corpus{operation}"):
        assert prepared(config, folder) == whole, f"killed before operation {operation}"
        operation += stride
    assert operation > 100
