"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from aam.atomic import replace_file, write_json, write_text


def test_a_file_is_new_or_old_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    for text in ("old", "new"):
        with replace_file(path) as partial:
            assert partial.suffix == ".tsv"  # some writers go by it
            partial.write_text(text)
            assert not path.exists() if text == "old" else path.read_text() == "old"
    with contextlib.suppress(KeyboardInterrupt), replace_file(path) as partial:
        partial.write_text("half of")
        raise KeyboardInterrupt
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_numbers_that_are_none_come_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"best": math.inf, "loss": [1.5, math.nan]})
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["best"] == math.inf and found["loss"][0] == 1.5 and math.isnan(found["loss"][1])


def test_what_a_killed_write_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """But not what a process that lives is writing, nor a file of another machine."""
    code = "import os, sys; from pathlib import Path; from aam.atomic import replace_file\n"
    code += "with replace_file(Path(sys.argv[1])) as partial:\n partial.write_text('half'); os.kill(os.getpid(), 9)"
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.json")], env=environment, check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".partial-") and left.name.endswith("-a.json")
    other = tmp_path / ".partial-0badcafe-1-a.json"
    other.touch()
    with replace_file(tmp_path / "b.json") as partial:
        partial.write_text("one")
        write_text(tmp_path / "c.json", "two")
        assert partial.exists() and not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "b.json", "c.json"]
