"""A small encoder and reference in the place of those that ship: tests need not wait for a hundred thousand tips."""

from __future__ import annotations

from pathlib import Path

import pytest
from generated_reference import random_reference, save_reference
from trained_run import save_run

from aam import encoders
from aam.folders import BEST


def ship_small(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = encoders.DEFAULT) -> Path:
    """Make `folder` the home of what ships, with one encoder and its reference of 40 tips; -> the encoder's folder."""
    model = folder / name
    save_run(folder / "run")
    (folder / "run" / BEST).rename(model)
    (folder / "run").rmdir()
    save_reference(model / encoders.REFERENCE, random_reference(40))
    monkeypatch.setattr(encoders, "HOME", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache-of-user"))
    return model
