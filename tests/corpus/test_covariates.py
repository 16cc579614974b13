"""A covariate is numbers or categories; numbers with a few other cells are refused, with the cells."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from aam.cli import main
from aam.config import Covariate, TargetSchema
from aam.corpus.covariates import describe_covariates, read_covariate, warn_of_alike_categories, warn_of_texts
from aam.corpus.likeness import warn_of_alike, warn_of_alike_ids, warn_of_left_out
from aam.datasets import example
from aam.errors import MetadataError
from aam.io.metadata import Metadata

NUMBERS = ["20.5", "21.5", "22", "1e1", None, "-3", ".5"]


def column(values: list[str | None]) -> pd.Series:
    return pd.Series(values, index=[f"s{row}" for row in range(len(values))], name="bmi", dtype=object)


@pytest.mark.parametrize("values", [NUMBERS, ["1", "2", "3"], ["0", "1"]])
def test_numbers(values: list[str | None]):
    found = read_covariate(column(values), None, "m.tsv")
    assert found.dtype == float and found.dropna().tolist() == [float(text) for text in values if text is not None]
    assert read_covariate(column(values), "categorical", "m.tsv").tolist() == column(values).tolist()


@pytest.mark.parametrize(
    "cell",
    [
        "20,5",
        "<18.5",
        "n.d.",
        "25 kg",
        "２５",
        "١٢",
        "\u22125",
        "1_000",
        "0x10",
        "1d5",
        "inf",
        "1e400",
        "4e38",
        "unknown",
        "½",
    ],
)
def test_one_cell_that_is_no_number_is_refused_with_its_sample(cell: str):
    with pytest.raises(MetadataError, match="m.tsv: covariate 'bmi' has 1 of 7 values that are not numbers") as no:
        read_covariate(column([*NUMBERS, cell]), None, "m.tsv")
    assert f"first {cell!r} of sample 's7'; expected digits 0-9" in str(no.value) and "\n" not in str(no.value)
    assert "#q2:types" in str(no.value)


@pytest.mark.parametrize("values", [["20,5", "21,5"] * 5, ["２５", "２６"] * 5, ["1.000,5", "1,5"] * 5])
def test_numbers_of_another_writing_are_refused(values: list[str | None]):
    with pytest.raises(MetadataError, match="has 10 of 10 values that are not numbers.* and 7 more; expected"):
        read_covariate(column(values), None, "m.tsv")


@pytest.mark.parametrize(
    "values",
    [
        ["gut", "skin"],
        ["a", "b", "1"],
        ["<18.5", "18.5-25", ">25"],
        ["0-5", "6-10"],
        ["2 weeks", "4 weeks"],
        ["2020-01-01"],
    ],
)
def test_categories_stay_categories(values: list[str | None]):
    assert read_covariate(column(values), None, "m.tsv").tolist() == values
    with pytest.raises(MetadataError, match="are not numbers"):
        read_covariate(column(values), "numeric", "m.tsv")


def test_what_a_covariate_was_read_as_is_said():
    frame = pd.DataFrame({"age": [1.0, 2.5, None], "site": ["gut", "Gut", None]})
    assert describe_covariates(frame) == (
        "covariate 'age': numbers from 1 to 2.5, 1 sample without",
        "covariate 'site': 2 categories, 'Gut', 'gut', 1 sample without",
    )


def test_warnings_of_names():
    (alike,) = warn_of_alike(["case", "control", "case\u200b"], "groups of their own")
    assert alike == "'case' and 'case\\u200b' (U+200B) are groups of their own; if they mean the same, spell them alike"
    assert len(warn_of_alike([f"{kind}{n}" for n in range(9) for kind in "aA"], "x")) == 4
    (ids,) = warn_of_alike_ids(["S1", "S2", "S3"], ["s1", "S2", "S3 "])
    assert ids.startswith("2 samples of the table are without metadata") and "first 'S1' in the table and 's1'" in ids
    (left,) = warn_of_left_out(column(["gut", "Gut", "gut", "skin"]), ["gut"], "--where bmi=gut")
    assert left.startswith("--where bmi=gut leaves out 1 sample with 'Gut', which looks like 'gut'")
    schema = TargetSchema(covariates=(Covariate("bmi", ("gut", "skin")),))
    (new,) = warn_of_alike_categories(pd.DataFrame({"bmi": ["Gut", "gut", "oral"]}), schema)
    assert new.startswith("covariate 'bmi': 'Gut' is read as unknown, but looks like 'gut' of training")
    (text,) = warn_of_texts(pd.DataFrame({"y": column(["1", "n.d.", None])}))
    assert text.startswith("column 'y' has 1 of 2 values that are not numbers, first 'n.d.' of sample 's1'")


@pytest.fixture
def plan(tmp_path: Path, capsys: pytest.CaptureFixture):
    """The output of `aam train --dry-run` with columns of metadata: texts that the samples take in turn."""

    def run(columns: dict[str, list[str]], *options: str) -> tuple[int, str, str]:
        ids = Metadata.read(example().metadata).frame.index
        rows = [[name, *(values[row % len(values)] for values in columns.values())] for row, name in enumerate(ids)]
        path = tmp_path / "m.tsv"
        path.write_text("\n".join("\t".join(cells) for cells in [["sample-id", *columns], *rows]), encoding="utf-8")
        size = ["--preset", "tiny", "--output-dir", str(tmp_path / "run"), "--dry-run"]
        code = main(["train", "--example", "--metadata", str(path), *size, *options])
        return code, *capsys.readouterr()

    return run


def test_a_plan_says_how_covariates_are_read_and_which_names_look_alike(plan):
    columns = {
        "y": ["case", "control", "case\u200b"],
        "age": ["1", "2", "3", "4", "5", "6", "7"],
        "site": ["gut", "oral", "Gut", "oral", "gut"],
        "kind": ["a", "A", "b", "a"],
        "sub": [f"{n}" for n in range(40)] + ["01"],
    }
    asked = ("--target", "y", "--task", "classification", "--covariate", "age", "--covariate", "site")
    code, out, _ = plan(columns, *asked, "--where", "kind=a", "--where", "kind=b", "--group-column", "sub")
    assert code == 0
    assert "covariate 'age': numbers from 1 to 7" in out and "covariate 'site': 3 categories, 'Gut', 'gut'" in out
    assert "'case' and 'case\\u200b' (U+200B) are learned as classes of their own" in out
    assert "are categories of their own of covariate 'site'" in out
    assert "'1' and '01' are groups of their own" in out or "'01' and '1' are groups of their own" in out
    assert "--where kind=a leaves out" in out and "with 'A', which looks like 'a'" in out


@pytest.mark.parametrize(
    ("columns", "options", "text"),
    [
        (
            {"y": ["1", "２５", "3"]},
            (),
            "column 'y' has 63 of 190 values that are not numbers, first '２５' of sample",
        ),
        (
            {"y": ["1", "2"], "c": ["1.5", "2", "<1", "4", "5"]},
            ("--covariate", "c"),
            "covariate 'c' has 38 of 190 values",
        ),
        ({"y\u200b": ["1", "2"]}, (), r"has no column 'y'; did you mean 'y\\u200b' .U.200B., not 'y'.$"),
        ({"y": ["1", "2"], "s": ["gut", "oral"]}, ("--where", "s=\uff27ut "), "has s = .*; did you mean 'gut'"),
    ],
)
def test_refusals(plan, columns, options, text):
    code, _, error = plan(columns, "--target", "y", *options)
    assert code == 2 and pd.Series([error.strip()]).str.contains(text).all(), error
