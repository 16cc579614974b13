"""The scripts of `debug/` as modules, and small runs of the embedded example for them to look into."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from aam.cli.debugging import script_workbench
from aam.workflows.workbench import Workbench, build_workbench

SCRIPTS = Path(__file__).parents[2] / "debug"
SMALL = {"preset": "tiny", "batch_size": 4, "token_limit": 24}


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """`script(name)` is `debug/<name>.py`, imported."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def opened() -> Workbench:
    """The embedded example; look, but do not touch."""
    return script_workbench(None, **SMALL)


@pytest.fixture
def bench(opened: Workbench) -> Workbench:
    """The same data with a fresh model, for planting faults."""
    return build_workbench(opened.config, opened.corpus)
