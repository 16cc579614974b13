"""Studies joined in memory: the same samples as of a prepared corpus; ids, subjects and columns of each kept apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam.config import PrepareConfig, StudiesConfig, TargetConfig
from aam.corpus.prepare import prepare
from aam.corpus.study import Study, open_study
from aam.corpus.study_checks import list_contributions
from aam.errors import ConfigError, CorpusError, InputError, MetadataError
from tests.generated_studies import write_studies, write_study

TARGET = TargetConfig(target=("disease",), task="classification")
CLASSES = {"alpha": ["CD", "CD", "control", "control"] * 3, "beta": ["control", "control", "CD", "CD"] * 2}


def config(folders: list[Path], **more: object) -> StudiesConfig:
    """These studies, all reads."""
    tables, metadata = (tuple(folder / name for folder in folders) for name in ("table.tsv", "metadata.tsv"))
    return replace(StudiesConfig(table=tables, metadata=metadata, rarefy_depth="none"), **more)


def joined_id(folder: Path, sample: str) -> str:
    """The id of a sample of a study of `CLASSES` among all: s0 to s7 are in both."""
    return f"{folder.name}.{sample}" if int(sample[1:]) < 8 else sample


def counts_by_name(study: Study) -> dict[tuple[str, str], int]:
    """Reads by sample and sequence."""
    found = study.table.counts.tocoo()
    names = zip(found.row.tolist(), found.col.tolist(), found.data.tolist(), strict=True)
    return {(study.table.sample_ids[row], study.table.sequences[column]): reads for row, column, reads in names}


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    return write_studies(tmp_path, CLASSES)


def test_counts_are_those_of_the_tables_by_sequence(two: list[Path]):
    joined = counts_by_name(open_study(config(two), TARGET))
    own: dict[tuple[str, str], int] = {}
    for folder in two:
        frame = pd.read_csv(folder / "table.tsv", sep="\t", index_col=0)
        own |= {(joined_id(folder, s), asv): n for s, column in frame.items() for asv, n in column.items() if n}
    assert joined == own


def test_ids_that_repeat_get_their_study_and_subjects_are_of_one_study(two: list[Path]):
    study = open_study(config(two, group_column="subject"), TARGET)
    assert study.labels.sample_ids == sorted(study.labels.sample_ids) and len(study.labels.sample_ids) == 20
    assert sorted(study.labels.studies) == ["alpha"] * 12 + ["beta"] * 8 and study.names == ("alpha", "beta")
    group, label = (
        dict(zip(study.labels.sample_ids, own, strict=True)) for own in (study.labels.groups, study.labels.classes)
    )
    assert [group[f"alpha.s{n}"] for n in range(3)] == ["alpha P0", "alpha P0", "alpha P1"]
    assert all(group[name].split()[0] == name.split(".")[0] for name in group if "." in name)
    assert [label[f"alpha.s{n}"] for n in range(8)] == CLASSES["alpha"][:8]
    assert "8 sample ids occur in several tables" in study.notes[0]


def test_a_corpus_with_metadata_of_each_study_is_the_same(two: list[Path], tmp_path: Path):
    sequences = {text for folder in two for text in pd.read_csv(folder / "table.tsv", sep="\t", index_col=0).index}
    tree = tmp_path / "tree.nwk"
    first, *others = (f"{text}:1" for text in sorted(sequences))
    tree.write_text(f"({first},({','.join(others)}):1);")
    tables = tuple(folder / "table.tsv" for folder in two)
    prepare(PrepareConfig(table=tables, tree=(tree,)), tmp_path / "corpus", lambda text: None)
    plain = config(two, group_column="subject")
    joined, stored = (
        open_study(data, TARGET) for data in (plain, replace(plain, table=(), corpus=tmp_path / "corpus"))
    )
    assert counts_by_name(stored) == counts_by_name(joined)
    assert (stored.labels.studies, stored.labels.groups) == (joined.labels.studies, joined.labels.groups)
    assert sorted(map(bytes, stored.tokens)) == sorted(map(bytes, joined.tokens))
    with pytest.raises(ConfigError, match="found 3 times --metadata and 2 studies .* in this order: alpha, beta"):
        open_study(replace(plain, table=(), corpus=tmp_path / "corpus", metadata=(two[0],) * 3), TARGET)


def test_one_table_with_a_column_of_studies(two: list[Path]):
    frame = pd.read_csv(two[0] / "metadata.tsv", sep="\t").assign(site=["x"] * 6 + ["y"] * 6)
    frame.to_csv(two[0] / "metadata.tsv", sep="\t", index=False)
    study = open_study(config(two[:1], study_column="site", group_column="subject"), TARGET)
    assert study.labels.studies == ["x" if int(name[1:]) < 6 else "y" for name in study.labels.sample_ids]
    assert study.labels.groups is not None and study.labels.groups[0] == "x P0"
    frame.loc[3, "site"] = np.nan
    frame.to_csv(two[0] / "metadata.tsv", sep="\t", index=False)
    with pytest.raises(MetadataError, match="column 'site' has no value for 1 of 12 samples, first 's3'"):
        open_study(config(two[:1], study_column="site"), TARGET)


def test_one_study_is_none(two: list[Path]):
    study = open_study(config(two[:1], group_column="subject"), TARGET)
    assert study.labels.studies is None and study.names == () and study.labels.groups is not None
    assert study.labels.groups[0] == "P0"


def test_sequences_of_each_table_and_a_joined_metadata_file(two: list[Path], tmp_path: Path):
    """Ids are hashes of each table's own; the same hash means another sequence in the other table."""
    fasta, whole = [], counts_by_name(open_study(config(two), TARGET))
    for folder in two:
        frame = pd.read_csv(folder / "table.tsv", sep="\t", index_col=0)
        fasta.append(folder / "seqs.fasta")
        fasta[-1].write_text("".join(f">asv{row}\n{text}\n" for row, text in enumerate(frame.index)))
        frame.index = pd.Index([f"asv{row}" for row in range(len(frame))], name="#OTU ID")
        frame.to_csv(folder / "table.tsv", sep="\t")
    frames = [pd.read_csv(folder / "metadata.tsv", sep="\t", index_col=0) for folder in two]
    for frame, folder in zip(frames, two, strict=True):
        frame.index = pd.Index([joined_id(folder, sample) for sample in frame.index], name="sample-id")
    pd.concat(frames).to_csv(tmp_path / "all.tsv", sep="\t")
    data = config(two, sequences=tuple(fasta), metadata=(tmp_path / "all.tsv",))
    study = open_study(data, TARGET)
    assert counts_by_name(study) == whole
    assert sorted(study.labels.studies) == ["alpha"] * 12 + ["beta"] * 8
    with pytest.raises(ConfigError, match="found 2 times --table and 3 times --sequences, expected --sequences once"):
        open_study(replace(data, sequences=(*fasta, fasta[0])), TARGET)


def test_the_same_sample_in_two_tables_is_refused(two: list[Path], tmp_path: Path):
    frame = pd.read_csv(two[0] / "table.tsv", sep="\t", index_col=0)
    (tmp_path / "gamma").mkdir()
    frame[["s0", "s1"]].to_csv(tmp_path / "gamma" / "table.tsv", sep="\t")
    (two[0] / "metadata.tsv").rename(tmp_path / "gamma" / "metadata.tsv")
    data = config([two[1], tmp_path / "gamma"])
    alpha = replace(data, table=(two[0] / "table.tsv", *data.table), metadata=(data.metadata[1], *data.metadata))
    with pytest.raises(CorpusError, match="tables alpha and gamma have the same sample 's0' with the same counts"):
        open_study(alpha, TARGET)
    with pytest.raises(ConfigError, match="are the same table; give each study once"):
        open_study(config([two[0], two[0]], metadata=data.metadata), TARGET)


def test_a_study_without_subjects_or_with_some_says_so(tmp_path: Path):
    folders = [*write_studies(tmp_path, CLASSES), write_study(tmp_path / "gamma", ["CD", "control"] * 3, 9)]
    frame = pd.read_csv(folders[1] / "metadata.tsv", sep="\t")
    frame.loc[[2, 5], "subject"] = np.nan
    frame.to_csv(folders[1] / "metadata.tsv", sep="\t", index=False)
    study = open_study(config(folders, group_column="subject"), TARGET)
    assert study.notes[1:] == (
        "study beta: 2 of 8 samples have no 'subject', and are groups of their own",
        "study gamma: all of 6 samples have no 'subject', and are groups of their own",
    )
    subjects = [found.subjects for found in list_contributions(study.labels, TARGET, study.names)]
    assert subjects == [6, 4 - 0 + 2, 6]  # beta: P0 and P3 have one sample left and P1, P2 lose one: 4, and two alone


def test_columns_are_joined_by_name_and_a_study_without_the_target_contributes_none(two: list[Path]):
    frame = pd.read_csv(two[1] / "metadata.tsv", sep="\t")
    frame.drop(columns="disease").to_csv(two[1] / "metadata.tsv", sep="\t", index=False)
    study = open_study(config(two), TARGET)
    assert "study beta has no value of 'disease', whose samples have no label" in study.notes
    texts = [found.text() for found in list_contributions(study.labels, TARGET, study.names)]
    assert texts == ["alpha: 12 samples: CD 6, control 6", "beta: contributes no label"]
    with pytest.raises(MetadataError, match=r"metadata.tsv, .*metadata.tsv has no column 'diseas'; did you mean"):
        open_study(config(two), replace(TARGET, target=("diseas",)))
    kept = open_study(config(two), TargetConfig(("bmi",), where=("disease=CD",)))
    assert "study beta has no value of 'disease', so --where keeps none of its samples" in kept.notes


def test_metadata_of_another_study_are_refused(two: list[Path]):
    path = two[1] / "metadata.tsv"
    path.write_text(path.read_text().replace("\ns", "\nx"))
    with pytest.raises(MetadataError, match=rf"{path}: none of its 8 samples is among the 8 of the table"):
        open_study(config(two), TARGET)


def test_two_names_of_one_sample_are_refused(two: list[Path]):
    path = two[0] / "metadata.tsv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1].replace("s0\t", "alpha.s0\t") + "\n")
    with pytest.raises(
        MetadataError, match="'alpha.s0' and 's0' are one sample, since several tables have the shorter"
    ):
        open_study(config(two), TARGET)


def test_classes_that_differ_in_spelling_are_refused_with_both_studies(two: list[Path]):
    path = two[1] / "metadata.tsv"
    path.write_text(path.read_text().replace("control", " Con-trol"))
    with pytest.raises(MetadataError, match="class 'control' of study alpha and 'Con-trol' of study beta differ only"):
        open_study(config(two), TARGET)
    rules = ("CD=CD", "control=control", "control=Con-trol")
    assert open_study(config(two), replace(TARGET, as_class=rules)).classes == ("CD", "control")


def test_medians_ten_times_apart_are_doubted_with_both_studies(two: list[Path]):
    target = TargetConfig(target=("bmi",))
    assert open_study(config(two), target).doubts == ()
    frame = pd.read_csv(two[1] / "metadata.tsv", sep="\t")
    frame.assign(bmi=frame["bmi"] * 11).to_csv(two[1] / "metadata.tsv", sep="\t", index=False)
    (doubt,) = open_study(config(two), target).doubts
    median = np.median(np.linspace(18, 38, 8).round(1) * 11)
    assert f"the median of 'bmi' is 28 in study alpha and {median:g} in study beta" in doubt


def test_contributions_name_a_study_without_contrast(tmp_path: Path):
    folders = write_studies(tmp_path, CLASSES | {"gamma": ["UC"] * 4})
    study = open_study(config(folders, group_column="subject"), TARGET)
    texts = [found.text() for found in list_contributions(study.labels, TARGET, study.names)]
    assert texts[0] == "alpha: 12 samples of 6 subjects: CD 6, control 6"
    assert texts[2] == (
        "gamma: 4 samples of 2 subjects: UC 4; one class alone, which teaches no contrast within the study"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": ()}, "no metadata; give --metadata FILE"),
        ({"table": ()}, "no feature table; give --table FILE"),
        ({"example": True}, "found both --example and --table"),
        ({"corpus": Path("c")}, "found both --corpus and --table"),
        ({"table": (), "corpus": Path("c"), "trim": "auto"}, "--trim trims tables"),
    ],
)
def test_options_that_do_not_go_together_are_refused(two: list[Path], change: dict[str, object], message: str):
    with pytest.raises(InputError, match=message):
        open_study(config(two, **change), TARGET)
