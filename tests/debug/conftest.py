"""The scripts of `debug/` as modules, and small runs of the embedded example for them to look into."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from loaded_script import load_script

from aam.cli.debugging import script_workbench
from aam.workflows.workbench import Workbench, build_workbench

SMALL = {"preset": "tiny", "batch_size": 4, "token_limit": 24}


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """`script(name)` is `debug/<name>.py`, imported."""
    return lambda name: load_script(f"debug/{name}.py")


@pytest.fixture(scope="session")
def opened() -> Workbench:
    """The embedded example; look, but do not touch."""
    return script_workbench(None, **SMALL)


@pytest.fixture
def bench(opened: Workbench) -> Workbench:
    """The same data with a fresh model, for planting faults."""
    return build_workbench(opened.config, opened.corpus)
