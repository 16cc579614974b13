"""The pages say what is so: their code runs, their commands exist, the command page is that of the options."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from itertools import chain
from pathlib import Path

import click
import pytest
import yaml

from aam.cli import COMMANDS, group

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
EVERY_PAGE = [ROOT / "README.md", *PAGES]


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.mark.filterwarnings("default:.*(had been trained on|not predicted|reads begin):UserWarning")  # of the example
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=pytest.mark.slow if path.name == "python.md" else ())
        for path in EVERY_PAGE
    ],
)
def test_python_on_the_pages_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after another, as in a notebook."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks(path, "python"):
        exec(compile(code, str(path), "exec"), names)


def test_navigation_names_every_page() -> None:
    pages = [page for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for page in entry.values()]
    assert sorted(pages) == sorted(path.name for path in [*PAGES, *NOTEBOOKS])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_output(path: Path) -> None:
    """`make docs` runs them, so what a page shows is of this version."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells and not any(cell["outputs"] or cell["execution_count"] for cell in cells)


@pytest.mark.parametrize("path", EVERY_PAGE, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", path.read_text())
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


def test_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text)
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "aam" / name).exists()]
    assert len(named) > 20 and not missing


def test_readme_lists_the_commands_in_the_order_of_the_help() -> None:
    assert re.findall(r"^\| `aam ([a-z-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("script", ["make_command_page", pytest.param("make_encoder_page", marks=pytest.mark.slow)])
def test_pages_of_options_and_of_the_encoder_are_up_to_date(script: str) -> None:
    """`make docs` writes them again."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{script}.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [path for path in EVERY_PAGE if path.stem != "commands"], ids=lambda path: path.name)
def test_commands_on_the_pages_are_understood(path: Path) -> None:
    """Every `aam` line of a code block is read by its command, without being run."""
    found = re.findall(r"```[a-z]*\n(.*?)```", path.read_text().replace("\\\n", " "), re.DOTALL)
    for line in chain.from_iterable(map(str.splitlines, found)):
        name, *arguments = shlex.split(line, comments=True) if line.startswith("aam ") else ("",)
        if name:
            with click.Context(group, info_name="aam") as parent:
                command = group.get_command(parent, arguments[0])
                assert command is not None, line
                command.make_context(arguments[0], arguments[1:], parent=parent)
