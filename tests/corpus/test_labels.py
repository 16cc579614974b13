"""Labels from metadata: what counts as missing, how columns are scaled, ordered and refused, and what leaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam.config import NumericTarget, TargetConfig
from aam.corpus.label_schema import (
    class_names,
    encode_labels,
    fit_number,
    fit_schema,
    is_sample_id,
    predicts_target,
    scale_values,
    unscale_values,
)
from aam.corpus.labels import Labels, read_labels, warn_of_doubtful_classes
from aam.errors import ConfigError, MetadataError
from aam.io.metadata import Metadata


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    path = tmp_path / "samples.tsv"
    path.write_text(
        "sample-id\tage\tsite\tsubject\n1.10\t3\tgut\t00123\n1.1\tNA\tskin\t123\n"
        "00123\t5\tgut\t00123\ns4\t7\tNot Applicable\t9\n"
    )
    return path


def test_ids_and_groups_are_text_and_missing_words_are_missing(metadata: Path):
    config = TargetConfig(target=("age",), covariate=("site",))
    labels, overlap = read_labels(Metadata.read(metadata), config, "subject", ["00123", "1.1", "1.10", "elsewhere"])
    assert labels.sample_ids == ["00123", "1.1", "1.10"]  # in the order of the table, and 1.1 is not 1.10
    assert labels.groups == ["00123", "123", "00123"]
    assert labels.numbers[:, 0].tolist()[::2] == [5.0, 3.0]
    assert labels.labelled.tolist() == [True, False, True]
    assert (overlap.table, overlap.metadata, overlap.both, overlap.matching, overlap.labelled) == (4, 4, 3, 3, 2)


def test_no_sample_in_common_shows_both(metadata: Path):
    with pytest.raises(MetadataError, match="none of its 4 samples is among the 1 of the table.*'1.10'.*'x1'"):
        read_labels(Metadata.read(metadata), TargetConfig(target=("age",)), None, ["x1"])


def test_where_keeps_and_explains(metadata: Path):
    config = TargetConfig(target=("age",), where=("site=gut",))
    labels, overlap = read_labels(Metadata.read(metadata), config, None, ["s4", "1.10", "00123"])
    assert labels.sample_ids == ["1.10", "00123"]
    assert overlap.matching == 2
    with pytest.raises(ConfigError, match="expected COLUMN=VALUE"):
        read_labels(Metadata.read(metadata), TargetConfig(target=("age",), where=("gut",)), None, ["s4"])


def test_reasons_for_missing_values_are_missing_and_numbers_of_no_size_are_none(tmp_path: Path):
    path = tmp_path / "m.tsv"
    path.write_text(
        "sample-id\tage\tph\na\tMissing: control sample\t7\nb\t#N/A\t6\nc\tnull\t5\nd\tnot available\t4\ne\t3\tinf\n"
    )
    labels, overlap = read_labels(Metadata.read(path), TargetConfig(target=("age",)), None, list("abcde"))
    assert overlap.labelled == 1 and labels.numbers[4, 0] == 3.0
    with pytest.raises(MetadataError, match="'ph' has 1 of 5 values that are not numbers, first 'inf' of .* 'e'"):
        read_labels(Metadata.read(path), TargetConfig(target=("ph",)), None, list("abcde"))
    with pytest.raises(MetadataError, match="covariate 'ph' has 1 of 5 values that are not numbers, first 'inf'"):
        read_labels(Metadata.read(path), TargetConfig(target=("age",), covariate=("ph",)), None, list("abcde"))


def test_classes_that_may_be_none_or_the_same_are_doubted():
    assert warn_of_doubtful_classes(["gut", "skin", "1.10", "1.2"]) == []
    unknown, alike = warn_of_doubtful_classes(["Gut", "Unknown", "gut", "skin"])
    assert unknown.startswith("'Unknown' is learned as a class; ")
    assert alike.startswith("'Gut' and 'gut' are learned as classes of their own; ")


def labels_of(classes: list[str | None]) -> Labels:
    count = len(classes)
    return Labels(
        [f"s{n}" for n in range(count)], np.full((count, 0), np.nan), classes, pd.DataFrame(index=range(count)), None
    )


def test_classes_are_ordered_by_number_name_or_wish():
    plain, ordinal = TargetConfig(("t",), "classification"), TargetConfig(("t",), "ordinal")
    assert class_names(labels_of(["10", "9", "10", "9"]), plain, Path("m.tsv")) == ("9", "10")
    assert class_names(labels_of(["b", "a", "a", "b", None]), plain, Path("m.tsv")) == ("a", "b")
    wished = TargetConfig(("t",), "ordinal", class_order=("low", "high"))
    assert class_names(labels_of(["high", "low"] * 2), wished, Path("m.tsv")) == ("low", "high")
    with pytest.raises(ConfigError, match="say so with --class-order"):
        class_names(labels_of(["high", "low"] * 2), ordinal, Path("m.tsv"))
    with pytest.raises(ConfigError, match="name each once"):
        class_names(labels_of(["high", "mid"] * 2), wished, Path("m.tsv"))


@given(
    st.lists(st.floats(-0.5, 1e6), min_size=3, max_size=20, unique=True),
    st.sampled_from(["none", "zscore", "minmax", "log-zscore", "log-minmax"]),
)
def test_scales_are_inverted(values: list[float], transform: str):
    column = np.array(values)
    target = fit_number("y", column, TargetConfig(("y",), target_transform=transform))
    assert unscale_values(scale_values(column, target), target) == pytest.approx(column, rel=1e-6, abs=1e-6)


def test_scales_are_what_their_names_say():
    column = np.array([1.0, 2.0, np.nan, 6.0])
    assert fit_number("y", column, TargetConfig(("y",), target_transform="minmax")) == NumericTarget(
        "y", "minmax", 1.0, 5.0
    )
    target = fit_number("y", column, TargetConfig(("y",)))
    assert (target.center, target.scale) == (3.0, pytest.approx(np.std([1, 2, 6])))
    with pytest.raises(ConfigError, match="goes down to -3"):
        fit_number("y", np.array([-3.0, 1.0]), TargetConfig(("y",), target_transform="log-zscore"))


def test_covariates_of_test_samples_are_read_by_the_training_schema():
    frame = pd.DataFrame({"site": ["a", "b", "new", np.nan], "age": [1.0, 3.0, 5.0, np.nan]})
    labels = Labels(list("wxyz"), np.array([[1.0], [2.0], [3.0], [4.0]]), [None] * 4, frame, None)
    config = TargetConfig(("y",), covariate=("site", "age"))
    schema = fit_schema(labels.rows(np.array([0, 1])), config, (), 100)
    found = encode_labels(labels, schema)
    assert found.categories[:, 0].tolist() == [1, 2, 0, 0]
    assert found.numeric.tolist() == [[-1.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]  # mean 2, deviation 1; missing


TWELVE = np.arange(12)


@pytest.mark.parametrize(
    ("covariate", "target", "leaks"),
    [
        (TWELVE.astype(str), TWELVE * 2.0 + 1, True),
        (np.array(list("abc") * 4), np.tile([1.0, 2.0, 3.0], 4), True),
        (np.array(list("ab") * 6), np.array(list("xy") * 6, object), True),
        (TWELVE.astype(str), np.array(["lo"] * 6 + ["hi"] * 6, object), True),  # a threshold tells them apart
        (np.random.default_rng(0).permutation(12).astype(str), TWELVE * 1.0, False),
        (np.array(list("abc") * 4), TWELVE * 1.0, False),
        (np.array([f"s{n}" for n in TWELVE]), np.array(list("xy") * 6, object), False),  # an id tells nothing of others
        (np.array(list("ab") * 6), np.array(list("xxyy") * 3, object), False),
        (np.array(["5"] * 12), TWELVE * 1.0, False),  # one value says nothing
    ],
)
def test_what_gives_the_target_away(covariate, target, leaks):
    assert predicts_target(covariate, target) is leaks


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([f"s{n}" for n in TWELVE], True),
        ([f"s{n}" for n in TWELVE] + [None] * 5, True),
        ([f"s{n}" for n in range(11)] + ["s0"], False),  # two samples of one subject
        ([n / 7 for n in TWELVE], False),  # a number, such as an age
        ([*map(str, range(11)), "x"], True),
        (list("abcdefg"), False),  # as many kinds as samples may be chance with so few
        ([None] * 12, False),
    ],
)
def test_a_category_for_each_sample_is_an_id(values: list[str | None], found: bool):
    assert is_sample_id(pd.Series(values)) is found
