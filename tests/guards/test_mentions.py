"""The project speaks of itself alone: no file names a folder of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ["work", "root", "home/[a-z]+", "Users/[A-Za-z]+"]
MACHINE_PATH = re.compile("(?<![A-Za-z0-9._~-])/(" + "|".join(FOLDERS) + ")/")
TEXT = {".py", ".md", ".cfg", ".toml", ".txt", ".yml", ".yaml", ".tsv", ".ipynb", ".in", ".sh", ".sbatch", ""}


def tracked() -> list[Path]:
    """The files of the project: git's, or of an unpacked archive all that do not look built."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [ROOT / name for name in done.stdout.split("\0") if name]
    folders = ["aam", "tests", "debug", "docs", "benchmarks", "scripts"]
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]


def test_no_file_mentions_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        if path.suffix in TEXT and path.is_file()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_pattern_tells_paths_from_words() -> None:
    assert MACHINE_PATH.search("in " + "/" + "root/x")
    assert not MACHINE_PATH.search("https://example.org/work/")
    assert not MACHINE_PATH.search("./work/x and a/root/x")
