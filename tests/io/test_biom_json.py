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


A, B = "ACGTACGTACGTACGTACGTACGTA", "TTGCACGTACGTACGTACGTACGTA"
DENSE2, TRIPLES2 = [[1, 2], [3, 4]], [[0, 0, 1], [0, 1, 2], [1, 0, 3], [1, 1, 4]]
DENSE3, TRIPLES3 = [[1, 0, 4], [0, 1, 7]], [[0, 0, 1], [1, 1, 1], [0, 2, 4], [1, 2, 7]]
"""Two features, A and B, by two or three samples; the triples hold the same counts."""


def content_of(data: list, **others: object) -> dict:
    samples = 3 if data in (DENSE3, TRIPLES3) else 2
    return {
        "rows": [{"id": A, "metadata": None}, {"id": B, "metadata": None}],
        "columns": [{"id": f"S{number}", "metadata": None} for number in range(samples)],
        "shape": [2, samples],
        "data": data,
        **others,
    }


@pytest.mark.parametrize("word", ["dense", ["dense"], " Dense", "DENSE", "sparse", "matrix", None, [], {}, "absent"])
@pytest.mark.parametrize("data", [DENSE2, TRIPLES2], ids=["dense", "triples"])
def test_the_shape_of_the_data_decides_and_not_the_word(word, data, tmp_path):
    content = content_of(data, matrix_type=word)
    if word == "absent":
        del content["matrix_type"]
    (tmp_path / "t.biom").write_text(json.dumps(content))
    table = read_table(tmp_path / "t.biom")
    assert (table.counts.toarray().tolist(), table.sample_ids) == ([[1, 3], [2, 4]], ["S0", "S1"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (content_of(DENSE3, matrix_type="dense"), None),
        (content_of(DENSE3, matrix_type=["Dense"]), None),
        (content_of(TRIPLES3, matrix_type=["sparse"]), None),
        (content_of(TRIPLES3), None),  # four triples are no two rows
        (content_of(DENSE3), "the data may be 2 x 3 counts as well as triples"),  # (1, 0, 4) may be B in S0
        (content_of(DENSE3, matrix_type="x"), "matrix_type is 'x' and the data may be"),
        (content_of(TRIPLES3, matrix_type="dense"), r"dense data of shape \(4, 3\), expected 2 x 3 counts"),
    ],
)
def test_with_three_samples_the_word_decides_where_both_shapes_fit(content, words, tmp_path):
    (tmp_path / "t.biom").write_text(json.dumps(content))
    if words is None:
        assert read_table(tmp_path / "t.biom").counts.toarray().tolist() == [[1, 0], [0, 1], [4, 7]]
        return
    with pytest.raises(TableError, match=words):
        read_table(tmp_path / "t.biom")


def test_counts_that_cannot_be_places_are_counts(tmp_path):
    content = {**content_of(DENSE3), "data": [[5, 0, 4], [0, 1, 7]]}  # there is no feature 5
    (tmp_path / "t.biom").write_text(json.dumps(content))
    assert read_table(tmp_path / "t.biom").counts.toarray().tolist() == [[5, 0], [0, 1], [4, 7]]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [{"id": [A]}, {"id": [B]}], "columns": [{"id": ["S0"]}, {"id": ["S1"]}]},
        {"shape": [[2], [2]]},
        {"shape": [[2, 2]]},
        {"shape": [2.0, 2.0]},
        {"data": [[[1], [2]], [[3], [4]]]},
        {"data": [[1.0, 2.0], [3.0, 4.0]]},
        {"data": [[[part] for part in triple] for triple in TRIPLES2]},
    ],
)
def test_values_in_lists_of_one_as_r_writes_them(change, tmp_path):
    (tmp_path / "t.biom").write_text(json.dumps({**content_of(DENSE2), **change}))
    table = read_table(tmp_path / "t.biom")
    assert (table.counts.toarray().tolist(), table.sample_ids) == ([[1, 3], [2, 4]], ["S0", "S1"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": [["1", "2"], ["3", "4"]]}, "data of texts or truth values, expected numbers"),
        ({"data": [[1, "2"], [3, 4]]}, "data of texts"),
        ({"data": [["１", 2], [3, 4]]}, "data of texts"),
        ({"data": [[None, "2"], [3, 4]]}, "data with '2', expected numbers"),
        ({"data": [[True, False], [True, True]]}, "data of texts or truth values"),
        ({"data": [[5, True], [0, 3]]}, "data of texts or truth values"),
        ({"data": {"0": [1, 2]}}, "data dict"),
        ({"data": [1, 2]}, r"data of shape \(2,\), expected 2 x 2 counts"),
        ({"columns": [{"id": 1.1}, {"id": 2.2}]}, "id 1.1"),
        ({"columns": [{"id": True}, {"id": False}]}, "id True"),
        ({"shape": [2.5, 2]}, "size 2.5"),
    ],
)
def test_what_only_looks_like_numbers_is_refused(change, words, tmp_path):
    (tmp_path / "t.biom").write_text(json.dumps({**content_of(DENSE2), **change}))
    with pytest.raises(TableError, match=words):
        read_table(tmp_path / "t.biom")


def test_keys_that_are_given_twice_and_lists(tmp_path):
    text = json.dumps(content_of(DENSE2))
    for wrong, words in {
        text[:-1] + ', "data": [[9, 9], [9, 9]]}': "the key 'data' is given twice",
        f"[{text}]": "a list, expected an object",
        text * 2: "is damaged JSON",
        json.dumps(text): "is JSON that was encoded twice",
    }.items():
        (tmp_path / "t.biom").write_text(wrong)
        with pytest.raises(TableError, match=words):
            read_table(tmp_path / "t.biom")
