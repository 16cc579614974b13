"""The check of a fresh installation leaves no command out and sees what it is for. CI itself runs it whole."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from loaded_script import load_script

from aam.cli import COMMANDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("scripts/check_install.py")


def test_every_command_and_debug_script_is_run(script: ModuleType) -> None:
    assert {trial.arguments[0] for trial in script.TRIALS} == {*COMMANDS, "--version", "--help"}
    assert set(script.DEBUG_SCRIPTS) == {path.stem for path in (ROOT / "debug").glob("*.py")}


def test_ci_runs_it_before_it_installs_anything() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if re.match("make |scripts/", line)]
    assert lines[0] == "make check-install"


def test_the_supported_pythons_are_those_of_the_classifiers(script: ModuleType) -> None:
    assert script.supported_pythons() == ["3.11", "3.12", "3.13"]
    own = f"3.{sys.version_info.minor}"
    found = script.find_python(own)
    assert found is not None and found.exists()
    assert script.find_python("3.99") is None


@pytest.fixture
def packed(script: ModuleType, tmp_path: Path) -> tuple[Path, Path]:
    """A source archive and a wheel that have what they should, all files empty."""
    if not (ROOT / ".git").exists():
        pytest.skip("only git knows which files belong to the project, and this is no checkout")
    archive, wheel = tmp_path / "aam-1.tar.gz", tmp_path / "aam-1.whl"
    (tmp_path / "empty").touch()
    with tarfile.open(archive, "w:gz") as file:
        for name in script.tracked():
            file.add(tmp_path / "empty", f"aam-1/{name}")
    with zipfile.ZipFile(wheel, "w") as file:
        for name in [*(name for name in script.tracked() if name.startswith("aam/")), "aam-1.dist-info/METADATA"]:
            file.writestr(name, "")
    return archive, wheel


def test_complete_archives_pass(script: ModuleType, packed: tuple[Path, Path]) -> None:
    script.check_contents(*packed)


def test_a_file_too_many_in_the_wheel_is_seen(script: ModuleType, packed: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(packed[1], "a") as file:
        file.writestr("tests/conftest.py", "")
    with pytest.raises(script.Failed, match=r"aam-1.whl: differs from the files of aam/ by \['tests/conftest.py'\]"):
        script.check_contents(*packed)


def test_a_wheel_that_is_too_large_is_seen(script: ModuleType, packed: tuple[Path, Path]) -> None:
    with packed[1].open("ab") as file:
        file.truncate(script.MOST_WHEEL + 1)
    with pytest.raises(script.Failed, match="aam-1.whl: 30,000,001 bytes, expected at most 30,000,000"):
        script.check_contents(*packed)


def test_a_file_that_the_source_archive_lacks_is_seen(script: ModuleType, packed: tuple[Path, Path]) -> None:
    with tarfile.open(packed[0], "w:gz"):
        pass
    with pytest.raises(script.Failed, match="aam-1.tar.gz: lacks .*'setup.cfg'.*MANIFEST.in"):
        script.check_contents(*packed)


def test_a_step_that_fails_says_which_and_what_it_printed(script: ModuleType, tmp_path: Path) -> None:
    code = "import sys; print('out of luck'); sys.exit(3)"
    with pytest.raises(script.Failed, match=r"exit code 3 of (.|\n)*out of luck"):
        script.run([sys.executable, "-c", code], tmp_path)


def test_it_runs_without_what_this_environment_adds(script: ModuleType, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script.run([sys.executable, "-c", "import os; assert 'PYTHONPATH' not in os.environ"], tmp_path)
