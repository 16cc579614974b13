"""--as-class: classes of values and of ranges of numbers, and every form that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam.config import StudiesConfig, TargetConfig
from aam.corpus.class_rules import classify, parse_rules, refuse_unfit_rules
from aam.corpus.study import open_study
from aam.errors import ConfigError, InputError, MetadataError
from tests.generated_studies import write_study


def rules_of(*texts: str, task: str = "classification"):
    return parse_rules(TargetConfig(target=("x",), task=task, as_class=texts))


def column(*values: str | float) -> pd.Series:
    return pd.Series(values, [f"s{row}" for row in range(len(values))], dtype=object, name="x")


def test_values_are_joined_and_others_have_no_class():
    rules = rules_of("IBD=CD", "IBD=UC", "healthy=control")
    assert classify(column("CD", "UC", "control", "IC", np.nan), rules) == ["IBD", "IBD", "healthy", None, None]


def test_a_range_has_its_low_end_and_not_its_high_one():
    rules = rules_of("obese=30:", "normal=18.5:25", "under=:18.5")
    found = classify(column("30", "29.9", "18.5", "25", "18.49", "1e1", np.nan), rules)
    assert found == ["obese", None, "normal", None, "under", "under", None]


def test_without_rules_values_are_classes_as_written():
    assert classify(column("1.10", np.nan), []) == ["1.10", None]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("IBD", "b=c"), "--as-class is 'IBD', expected NAME=VALUE or NAME=LOW:HIGH"),
        (("=CD", "b=c"), "--as-class is '=CD', expected"),
        (("a=", "b=c"), "--as-class is 'a=', expected"),
        (("a=:", "b=c"), "--as-class is 'a=:', expected"),
        (("a=30:20", "b=1:2"), "no number is at least 30 and below 20"),
        (("a=20:30", "b=29:"), "--as-class a=20:30 and --as-class b=29: overlap"),
        (("a=20:30", "b=25"), "a=20:30 and --as-class b=25 overlap"),
        (("a=CD", "b=CD"), "a=CD and --as-class b=CD overlap"),
        (("a=CD", "a=UC"), "makes one class, 'a', expected at least two"),
    ],
)
def test_bad_rules_are_refused(texts: tuple[str, ...], message: str):
    with pytest.raises(ConfigError, match=message):
        rules_of(*texts)


def test_rules_make_classes_and_no_numbers():
    with pytest.raises(ConfigError, match="but --task is regression; give --task classification"):
        rules_of("a=1", "b=2", task="regression")


def test_ranges_that_meet_and_ranges_of_one_class_do_not_overlap():
    assert len(rules_of("low=:5", "high=5:", "high=7:9", "low=nan")) == 4


def test_a_range_of_texts_is_refused_and_a_value_that_is_not_there_lists_those_that_are():
    values = column("18", "many", "25")
    with pytest.raises(ConfigError, match="a=1: is a range of numbers, but 1 values of column 'x' are none.*'many'"):
        refuse_unfit_rules(values, rules_of("a=1:", "b=:1"), "m.tsv")
    with pytest.raises(MetadataError, match="m.tsv: --as-class b=Cd: no sample .* 'Cd'; found '18', 'many', '25'"):
        refuse_unfit_rules(values, rules_of("a=18", "b=Cd"), "m.tsv")
    with pytest.raises(MetadataError, match="no sample of column 'x' between '40:'; found '18', '25'"):
        refuse_unfit_rules(column("18", "25"), rules_of("a=40:", "b=:20"), "m.tsv")


def test_classes_of_a_numeric_column_of_a_study(tmp_path: Path):
    folder = write_study(tmp_path / "a", ["control"] * 21, 0)  # bmi 18, 19, …, 38
    data = StudiesConfig(table=(folder / "table.tsv",), metadata=(folder / "metadata.tsv",), rarefy_depth="none")
    rules = ("obese=30:", "normal=18.5:25")
    study = open_study(data, TargetConfig(target=("bmi",), task="classification", as_class=rules))
    assert study.classes == ("normal", "obese")
    of = dict(zip(study.labels.sample_ids, study.labels.classes, strict=True))
    assert of == {f"s{n}": "normal" for n in range(1, 7)} | {f"s{n}": "obese" for n in range(12, 21)}  # 19 … 24, 30 …


def test_where_of_one_column_takes_any_value_and_of_two_columns_both(tmp_path: Path):
    folder = write_study(tmp_path / "a", ["CD", "UC", "control", "control"] * 5, 0, ["P1", "P2"] * 10)
    data = StudiesConfig(table=(folder / "table.tsv",), metadata=(folder / "metadata.tsv",), rarefy_depth="none")

    def classes(*where: str) -> set[str | None]:
        return set(open_study(data, TargetConfig(("disease",), "classification", where)).labels.classes)

    assert classes("disease=CD", "disease=UC") == {"CD", "UC"}
    assert classes("disease=CD", "disease=UC", "disease=control") == {"CD", "UC", "control"}
    with pytest.raises(InputError, match="no sample of the table has subject = 'P2' or 'P3'; found 'P1'"):
        classes("disease=CD", "subject=P2", "subject=P3")  # CD is in rows 0, 4, …, all of P1
