"""Fixtures that every area of the tests shares.

The real studies are not part of the project. They are looked for in the folder that AAM_TEST_DATA names, else in
`shared/data` beside the checkout; each is a folder with `table.biom`, `tree.nwk` and `metadata.tsv`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

STUDIES = Path(os.environ.get("AAM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
"""A folder that lies in memory, and the bytes that have to be free there; all tests together write less than 1 GB."""

if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    # Tests open and sync tens of thousands of small files, on which they wait for a disk most of the time.
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

settings.register_profile("aam", deadline=None, max_examples=40)  # how long one takes is for benchmarks to say
settings.register_profile("many", deadline=None, max_examples=1000)  # --hypothesis-profile=many
settings.load_profile("aam")


@pytest.fixture(scope="session")
def study() -> Callable[[str], Path]:
    """`study(name)` is the folder of a real study; the test is skipped, with the reason, where it is absent."""

    def folder(name: str) -> Path:
        if not (STUDIES / name).is_dir():
            pytest.skip(f"real study {name} is not in {STUDIES} (set AAM_TEST_DATA to the folder of the studies)")
        return STUDIES / name

    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes on one thread: passes then have an order, and this process may be copied."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small_work() -> Iterator[None]:
    """Forests of 20 trees, 50 resamples, three curves in a picture: for speed, where tests run whole commands."""
    from aam.evaluation import baseline_trees, metrics, study_metrics
    from aam.learners import forest
    from aam.report import curves

    with pytest.MonkeyPatch.context() as patch:
        for module in (forest, baseline_trees):
            patch.setattr(module, "TREES", 20)
        for module in (metrics, study_metrics):
            patch.setattr(module, "RESAMPLES", 50)
        patch.setattr(curves, "PANELS", curves.PANELS[:3])
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The fault list as a table; and a run without the real studies says so at its end, even when quiet."""
    tried: dict[str, list[bool]] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports if outcome in ("passed", "failed") else []:
            if found := re.match(r"tests/faults/test_(?:kinds_faults.py::test_kinds\[)?([a-z]+)", report.nodeid):
                tried.setdefault(found[1], []).append(outcome == "passed")
    if tried:
        terminalreporter.write_line("faults       tried  passed")
    for name, passed in sorted(tried.items()):
        terminalreporter.write_line(f"{name:<12}{len(passed):>6}{sum(passed):>8}")
    if not STUDIES.is_dir():
        terminalreporter.write_line(
            f"NOT TESTED on real studies: {STUDIES} is absent (set AAM_TEST_DATA)", yellow=True, bold=True
        )
