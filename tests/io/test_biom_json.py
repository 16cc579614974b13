"""BIOM 1 (JSON): what `biom` lets through silently is refused here."""

from __future__ import annotations

import json

import pytest

from aam.errors import TableError
from aam.io.table import read_table

GOOD = {
    "rows": [{"id": "AC", "metadata": None}, {"id": "GG", "metadata": None}],
    "columns": [{"id": "a", "metadata": None}, {"id": "b", "metadata": None}],
    "matrix_type": "sparse",
    "shape": [2, 2],
    "data": [[0, 0, 3], [1, 0, 1], [1, 1, 4]],
}


def test_the_smallest_sound_file(tmp_path):
    (tmp_path / "t.biom").write_text("\ufeff \n" + json.dumps(GOOD), encoding="utf-8")
    # columns are samples: a has 3 AC and 1 GG, b has 4 GG
    assert read_table(tmp_path / "t.biom").counts.toarray().tolist() == [[3, 1], [0, 4]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": [[0, 0, 3], [0, 0, 2]]}, "1 cells are given more than once, first sample 'a', feature 'AC'"),
        ({"data": [[0, -1, 3]]}, "1 cells lie outside the 2 x 2 table, first row 0, column -1"),
        ({"data": [[5, 0, 3]]}, "1 cells lie outside the 2 x 2 table, first row 5, column 0"),
        ({"data": [[0.5, 0, 3]]}, "1 cells lie outside the 2 x 2 table, first row 0.5"),
        ({"data": [[0, 0]]}, r"sparse data of shape \(1, 2\), expected 2 x 2 counts, or triples"),
        ({"data": [[0, 0, 3], [1]]}, "is damaged JSON"),
        ({"data": []}, r"all 2 samples are empty \(no count > 0\)"),
        ({"data": [[0, 0, None]]}, "1 of 1 counts are NaN, first nan in sample 'a', feature 'AC'"),
        ({"data": [[0, 0, float("nan")]]}, "a count is NaN; expected whole numbers"),
        ({"data": [[0, 0, float("-inf")]]}, "a count is -Infinity"),
        ({"data": [[0, 0, 10**400]]}, "is damaged JSON|JSON but not"),
        ({"matrix_type": "dense", "data": [[1, 2]]}, r"dense data of shape \(1, 2\), expected 2 x 2"),
        ({"shape": [3, 2]}, "shape 3 x 2, but 2 rows and 2 columns have ids"),
        ({"rows": [], "shape": [0, 2], "data": []}, r"the table is empty \(2 samples, 0 features\)"),
        ({"rows": [{"id": None}, {"id": "GG"}]}, "JSON but not a BIOM table"),
        ({"columns": {}}, "shape 2 x 2, but 2 rows and 0 columns have ids"),
        ({"shape": "2 x 2"}, "is damaged JSON"),
    ],
)
def test_refusals(change, words, tmp_path):
    (tmp_path / "t.biom").write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(TableError, match=f"t.biom.*{words}") as refusal:
        read_table(tmp_path / "t.biom")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": ' * 100_000, "is damaged JSON, not a BIOM table"),
        ('{"rows": [', "is damaged JSON, not a BIOM table"),
        ("{}", r"is JSON but not a BIOM table \('columns' is missing"),
        ('{"columns": 3}', "is JSON but not a BIOM table"),
    ],
)
def test_what_is_no_biom(text, words, tmp_path):
    (tmp_path / "t.biom").write_text(text)
    with pytest.raises(TableError, match=words):
        read_table(tmp_path / "t.biom")


def test_bytes_that_are_not_utf8(tmp_path):
    (tmp_path / "t.biom").write_bytes(json.dumps(GOOD).encode().replace(b'"a"', b'"\xe9"'))
    with pytest.raises(TableError, match="is damaged JSON"):
        read_table(tmp_path / "t.biom")
