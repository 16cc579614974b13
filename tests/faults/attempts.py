"""The entries of the fault list: command lines that must refuse, or go on and count, each in a process of its own.

A process is forked from one that has imported everything, so it takes a tenth of a second instead of three. It may use
`SECONDS` of processor time and `MEMORY` more address space than it begins with; a signal that ends it is a failure.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

SECONDS, PATIENCE = 10, 60
"""Most processor time of an attempt, and the time of a clock on the wall (of a machine that is busy)."""
MEMORY = 2 << 30
"""Bytes of address space; threads and arenas reserve most of it without using it."""
WARM = [
    "pytest", "torch", "torch._dynamo", "pandas", "h5py", "biom", "skbio", "yaml", "sklearn", "pyhmmer", "cProfile",
    "matplotlib.backends.backend_agg", "aam.cli.pretrain", "aam.cli.unifrac", "aam.report.curves", "aam.report.figures",
    *(f"aam.workflows.{name}" for name in ("pretrain", "finetune", "distance", "embed")),
]  # fmt: skip
"""What the process that others are forked from imports."""
SMALL_RUN = ["--preset", "tiny", "--max-steps", "1", "--batch-size", "4", "--no-preflight", "--device", "cpu"]
SMALL_RUN += ["--rarefy-depth", "none"]
"""Options of a run that takes seconds."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(WARM)


@dataclass(frozen=True)
class Attempt:
    """A command line and what must come of it: an exit code, and `words` (a pattern) in what it says.

    A refusal (`code` 2) is one line that names `file`. Files may grow to `file_size` bytes, None is without a limit.
    """

    arguments: Sequence[str | Path]
    words: str
    file: str | Path = ""
    code: int = 2
    environment: Mapping[str, str] = field(default_factory=dict)
    file_size: int | None = None


Case = Callable[[Path], Attempt | Iterator[Attempt]]


class Entries:
    """The cases of one class of faults; `@entries(15)` makes a function of a folder the case of entry 15.

    The function writes what is at fault into the folder and returns the attempt, or yields several.
    """

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}

    def __call__(self, *numbers: int | str) -> Callable[[Case], Case]:
        def register(case: Case) -> Case:
            self.cases["-".join([*map(str, numbers), case.__name__])] = case
            return case

        return register

    def parametrize(self) -> pytest.MarkDecorator:
        """Decorate the test that tries them."""
        return pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in self.cases.items()])


def hold(case: Case, folder: Path) -> None:
    """Assert that what must come of a case does."""
    found = case(folder)
    for attempt in [found] if isinstance(found, Attempt) else found:
        before = sorted(folder.rglob("*"))
        code, said = run(attempt, folder)
        assert code == attempt.code, f"exit code {code}, expected {attempt.code}:\n{said}"
        assert "Traceback" not in said and "bug in aam" not in said, said
        assert re.search(attempt.words, said), f"expected {attempt.words!r} in:\n{said}"
        if code == 2:
            (error,) = [line for line in said.splitlines() if line.startswith("Error: ")]
            assert re.search(attempt.words, error), f"expected {attempt.words!r} in {error!r}"
            assert str(attempt.file) in error, f"expected {attempt.file} in {error!r}"
            assert len(error) < 700 and error.isprintable(), error
            left = [path for path in folder.rglob("*") if path not in before and path.name not in ("said", "out")]
            assert not left, f"a refusal left {left}"


def run(attempt: Attempt, folder: Path) -> tuple[int, str]:
    """Exit code and output of `aam` in an attempt, run in `folder`."""
    return within_limits(_aam, (replace(attempt, words=""), folder), folder / "said")


def within_limits(function: Callable[..., int | None], arguments: tuple[Any, ...], said: Path) -> tuple[int, str]:
    """Exit code and output of a function in a process of its own, within its limits; `said` is written meanwhile."""
    process = CONTEXT.Process(target=_child, args=(function, arguments, said))
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"no end after {PATIENCE} s:\n{said.read_text(errors='replace')}")
    code = process.exitcode
    process.close()
    text = said.read_text(errors="replace")
    said.unlink()
    assert code is not None and code >= 0, f"the process died of signal {-(code or 0)}:\n{text}"
    return code, text


def _child(function: Callable[..., int | None], arguments: tuple[Any, ...], said: Path) -> None:
    """In the forked process: call the function within limits and exit with the code that it returns."""
    output = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(output), "w", 1, errors="replace") for _ in range(2))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    sys.exit(function(*arguments))


def _aam(attempt: Attempt, folder: Path) -> int:
    """In the forked process: run `aam` in a folder."""
    from aam.cli import main

    os.environ.update(attempt.environment)
    os.chdir(folder)
    if attempt.file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (attempt.file_size, attempt.file_size))
    return main([str(each) for each in attempt.arguments])
