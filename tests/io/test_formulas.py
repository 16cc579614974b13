"""Texts of users that a spreadsheet would run as formulas are escaped in the tables that are written; others stay."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from aam.io.frames import read_frame, replace_frame, write_frame

RUN = ["'=1+1", "=cmd|' /C calc'!A0", "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", '-HYPERLINK("x")']
STAY = ["gut", "-", "+", "+/+", "-80C", "a=b", "1.10", "'quoted"]


@pytest.mark.parametrize("name", [*RUN, *STAY])
def test_a_text_is_escaped_as_id_and_as_cell_if_it_would_run(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"class": [name, None], "score": [-0.5, 1e-9]}, pd.Index([name, "b"], name="sample-id"))
    write_frame(tmp_path / "out.tsv", frame)
    read = pd.read_csv(tmp_path / "out.tsv", sep="\t", dtype=str, keep_default_na=False)
    wanted = f"'{name}" if name in RUN else name
    assert read.values.tolist() == [[wanted, wanted, "-0.5"], ["b", "", "1e-09"]]
    assert read_frame(tmp_path / "out.tsv", dtype=str)["class"].tolist() == [name, ""]
    assert list(read.columns) == ["sample-id", "class", "score"] and frame.index[0] == name


def test_a_series_and_a_table_without_columns(tmp_path: Path) -> None:
    write_frame(tmp_path / "a.tsv", pd.Series([1.5], pd.Index(["=x()"], name="id"), name="n"))
    write_frame(tmp_path / "b.tsv", pd.DataFrame(index=pd.Index(["s"], name="id")))
    assert (tmp_path / "a.tsv").read_text() == "id\tn\n'=x()\t1.5\n" and (tmp_path / "b.tsv").read_text() == "id\ns\n"


def test_tables_that_are_read_back_keep_every_number(tmp_path: Path):
    """Targets of a large level and a small spread: six digits would make all of them equal."""
    frame = pd.DataFrame({"day": [12_340_000.25 + row for row in range(3)]}, pd.Index(["a", "b", "c"], name="id"))
    replace_frame(tmp_path / "out.tsv", frame)
    assert read_frame(tmp_path / "out.tsv")["day"].tolist() == [12_340_000.25, 12_340_001.25, 12_340_002.25]
    write_frame(tmp_path / "short.tsv", frame / 3)
    assert (tmp_path / "short.tsv").read_text().splitlines()[1] == "a\t4.11333e+06"
