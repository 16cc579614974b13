"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

from aam.atomic import replace_file, write_json


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
