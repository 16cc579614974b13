"""The pages say what is so: their code runs, their commands exist, the command page is that of the options."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aam.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
EVERY_PAGE = [ROOT / "README.md", *PAGES]


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.mark.parametrize("path", EVERY_PAGE, ids=lambda path: path.name)
def test_python_on_the_pages_runs(path: Path) -> None:
    for code in blocks(path, "python"):
        exec(compile(code, str(path), "exec"), {})


def test_navigation_names_every_page() -> None:
    pages = [page for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for page in entry.values()]
    assert sorted(pages) == [path.name for path in PAGES]


@pytest.mark.parametrize("path", EVERY_PAGE, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", path.read_text())
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


def test_readme_lists_the_commands_in_the_order_of_the_help() -> None:
    assert re.findall(r"^\| `aam ([a-z-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE) == list(COMMANDS)


def test_command_page_is_that_of_the_options() -> None:
    """`make docs` writes it again."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_command_page.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
