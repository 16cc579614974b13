"""Every output is opened by this package: UTF-8 in any locale, plain whatever its name, whole or not at all."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parsed_code import tree_of

from aam.errors import ConfigError
from aam.io.frames import write_frame
from aam.io.matrix import read_matrix
from aam.io.output import WRITERS, all_or_none, new_file, write_embedding, write_matrix

PACKAGE = Path(__file__).parents[2] / "aam"
IDS = ["Größe1", "日本", "a"]
NAMES = ("e.tsv", "d.npy", "d.h5")
MORE = ("d.tsv", "e.txt")
"""What scikit-bio writes, which takes seconds to import."""
WRITE = """
import sys
from pathlib import Path
import numpy as np
from aam.io.output import write_embedding, write_matrix
ids = ["Gr\\u00f6\\u00dfe1", "\\u65e5\\u672c", "a"]
folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    if name.startswith("d"):
        write_matrix(folder / name, ids, np.ones((3, 3)) - np.eye(3))
    else:
        write_embedding(folder / name, "samples", ids, "dim", np.eye(3, dtype=np.float32))
"""


@pytest.mark.parametrize("names", [NAMES, pytest.param(MORE, marks=pytest.mark.slow)], ids=str)
def test_ids_are_utf_8_in_every_locale(names: tuple[str, ...], tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path), *names], env=os.environ | plain, check=True)
    for name in (name for name in names if name.startswith("d")):
        assert list(read_matrix(tmp_path / name).ids) == IDS, name
    for name in ("d.ids.txt" if name == "d.npy" else name for name in names if name != "d.h5"):
        content = (tmp_path / name).read_bytes()
        assert "Größe1".encode() in content and "日本".encode() in content and b"\r" not in content, name


@pytest.mark.parametrize("suffix", sorted(WRITERS.keys() - {".parquet"}))
def test_a_writer_goes_by_the_last_ending_and_not_by_what_its_library_makes_of_the_name(tmp_path, suffix: str) -> None:
    """A name with .gz in it, an address, a `~`: pandas, scikit-bio and numpy have their own ideas of these."""
    folder = tmp_path / "file:" / "~" / "x.gz"
    folder.mkdir(parents=True)
    for name in (f"a.gz{suffix}", f"s3:b{suffix}", f"~{suffix}"):
        write_embedding(folder / name, "samples", IDS, "dim", np.eye(3, dtype=np.float32))
    assert sorted(path.name for path in folder.iterdir()) == sorted([f"a.gz{suffix}", f"s3:b{suffix}", f"~{suffix}"])
    if suffix in (".tsv", ".txt"):
        (folder / f"a.gz{suffix}").read_text(encoding="utf-8")


def test_tables_are_plain_text_whatever_their_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"größe": [1 / 3, 2.0]}, index=pd.Index(["a", "b"], name="sample-id"))
    for name in ("x.tsv", "x.tsv.gz", "x.zip", "x.xz"):
        write_frame(tmp_path / name, frame)
        assert (tmp_path / name).read_text(encoding="utf-8") == "sample-id\tgröße\na\t0.333333\nb\t2\n"


def test_of_outputs_that_belong_together_none_stays_alone(tmp_path: Path) -> None:
    def write_both() -> None:
        with all_or_none():
            with new_file(tmp_path / "first") as partial:
                partial.write_text("1")
            with new_file(tmp_path / "second") as partial:
                partial.write_text("2")

    (tmp_path / "second").write_text("another's")
    with pytest.raises(ConfigError, match="second: the file exists"):
        write_both()
    assert [path.name for path in tmp_path.iterdir()] == ["second"]
    assert (tmp_path / "second").read_text() == "another's"
    (tmp_path / "second").unlink()
    write_both()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_a_matrix_is_not_there_without_its_ids(tmp_path: Path) -> None:
    (tmp_path / "d.ids.txt").write_text("another's")
    with pytest.raises(ConfigError, match=r"d\.ids\.txt: the file exists"):
        write_matrix(tmp_path / "d.npy", IDS, np.zeros((3, 3)))
    assert not (tmp_path / "d.npy").exists()


BY_NAME = {"to_csv", "to_parquet", "savefig", "savetxt", "savez_compressed", "tofile"}
"""Methods of libraries that open, compress or encode by the name they get."""
OPENERS = ("output.py", "frames.py")
"""Files of `aam.io` that hand such methods a file they have opened themselves."""


def test_no_text_is_opened_in_the_encoding_of_the_locale_and_no_library_opens_an_output() -> None:
    faults = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in ast.walk(tree_of(path)):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            name, where = call.func.attr, f"{path.relative_to(PACKAGE)}:{call.lineno}"
            texts = [part.value for part in call.args if isinstance(part, ast.Constant)]
            binary = name == "open" and any(isinstance(text, str) and "b" in text for text in texts)
            in_utf8 = any(word.arg == "encoding" for word in call.keywords)
            on_path = name in ("read_text", "write_text") or (name == "open" and texts and texts[0] in ("r", "w", "a"))
            if on_path and not binary and not in_utf8:
                faults.append(where)
            if name in BY_NAME and path.name not in OPENERS:
                faults.append(where)
    assert [where for where in faults if not where.startswith("cli/options.py")] == []  # the help, of click
