"""The scripts behind `make` do what they promise where no network is needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_install_says_what_to_do_where_no_python_is_new_enough(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "install", tmp_path / "venv"],
        env=os.environ | {"PYTHON": "/nonexistent/python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No Python >= 3.11" in done.stderr and "PYTHON=" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_scripts_that_make_and_ci_start_are_executable() -> None:
    names = ["scripts/install", "scripts/install-unifrac", ".ci/run"]
    assert [name for name in names if not os.access(ROOT / name, os.X_OK)] == []


def test_a_changed_requirement_installs_again(tmp_path: Path) -> None:
    """The stamp of an environment is older than the settings it was made from."""
    (tmp_path / ".installed-test").touch()
    os.utime(tmp_path / ".installed-test", (0, 0))
    plan = subprocess.run(
        ["make", "--dry-run", "test", f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert f"scripts/install {tmp_path} test" in plan.stdout
