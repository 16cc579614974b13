"""From a table and metadata written by hand through `aam train` to `aam predict` on a table of other ASVs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam import cli
from aam.evaluation.intervals import conformal_margin
from aam.inference.known_asvs import reverse_complement

IDS = ["1.10", "1.1", "00123", "123", "1e5", *(f"s{row}" for row in range(15))]
RNG = np.random.default_rng(1)
READS = 40


def asvs(seed: int) -> list[str]:
    """Eight ASVs of 20 bases, of which most are alike, as in ribosomal RNA."""
    return ["AACCAAGGAACAAC" + "".join(row) for row in np.random.default_rng(seed).choice(list("ACGT"), (8, 6))]


def write_table(path: Path, ids: list[str], sequences: list[str]) -> Path:
    counts = RNG.integers(0, 30, (len(sequences), len(ids))) + 10
    counts[:, -1] = 1  # the last sample has 8 reads
    pd.DataFrame(counts, sequences, ids).to_csv(path, sep="\t", index_label="#OTU ID")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`table.tsv`, and `samples.tsv` that lacks the second sample of the table and has three more."""
    folder = tmp_path_factory.mktemp("files")
    write_table(folder / "table.tsv", IDS, asvs(0))
    known = [*IDS[:1], *IDS[2:], "x1", "x2", "x3"]
    frame = pd.DataFrame({"age": np.arange(len(known)) % 7 + 0.5, "empty": "NA", "site": "gut"}, index=known)
    frame.to_csv(folder / "samples.tsv", sep="\t", index_label="sample-id")
    return folder


@pytest.fixture(scope="module")
def model(files: Path) -> Path:
    asked = ["--target", "age", "--folds", "2", "--rarefy-depth", str(READS), "--max-steps", "3", "--batch-size", "4"]
    size = ["--preset", "tiny", "--branches", "8", "--max-bp", "20", "--device", "cpu", "--no-preflight"]
    data = ["--table", str(files / "table.tsv"), "--metadata", str(files / "samples.tsv")]
    assert cli.main(["train", *data, *asked, *size, "--output-dir", str(files / "run")]) == 0
    return files / "run"


def predicted(model: Path, table: Path, out: Path, *options: str) -> pd.DataFrame:
    assert cli.main(["predict", "--model", str(model), "--table", str(table), *options, "-o", str(out)]) == 0
    return pd.read_csv(out, sep="\t", dtype={"sample-id": str}).set_index("sample-id")


def test_ids_of_samples_stay_text(model: Path):
    table = pd.read_csv(model / "predictions.tsv", sep="\t", dtype={"sample-id": str}).set_index("sample-id")
    assert sorted(table.index) == sorted([*IDS[:1], *IDS[2:-1]])
    assert table.loc["00123", "age_true"] == 1.5 and table.loc["123", "age_true"] == 2.5


def test_overlap_is_counted(model: Path):
    manifest = json.loads((model / "manifest.json").read_text())
    assert manifest["overlap"] == {"table": 20, "metadata": 22, "both": 19, "matching": 19, "labelled": 19}
    assert manifest["dropped"] == {
        "samples that are not in the metadata": 1,
        "samples with fewer reads than the rarefaction depth": 1,
    }


def test_asvs_never_seen_are_normal_and_shallow_samples_are_refused(model: Path, tmp_path: Path):
    strange = write_table(tmp_path / "new.tsv", ["2.10", "2.1", "poor"], asvs(7))
    assert not set(asvs(7)) & set(asvs(0))
    table = predicted(model, strange, tmp_path / "out.tsv")
    assert list(table.index) == ["2.10", "2.1"] and np.isfinite(table.to_numpy()).all()
    refused = pd.read_csv(tmp_path / "out.refused.tsv", sep="\t", dtype=str).set_index("sample-id")
    assert (
        refused.loc["poor", "reason"] == "8 reads, fewer than the 40 drawn of each sample (--rarefy-depth)"
        and len(refused) == 1
    )


def test_draws_are_averaged_and_their_standard_deviation_is_told(model: Path, files: Path, tmp_path: Path):
    """Of the draws a and b: a, then mean (a + b) / 2, so b - mean = mean - a, and that is the deviation of the two."""
    one, two = (
        predicted(model / "fold-1", files / "table.tsv", tmp_path / f"{n}.tsv", "--draws", str(n)) for n in (1, 2)
    )
    assert (one["age_sd"] == 0).all() and (two["age_sd"] > 0).any()
    np.testing.assert_allclose(two["age_sd"], (two["age"] - one["age"]).abs(), atol=2e-5)


def test_intervals_are_those_of_the_out_of_fold_residuals(model: Path, files: Path, tmp_path: Path):
    past = pd.read_csv(model / "predictions.tsv", sep="\t")
    residuals = np.sort((past["age"] - past["age_true"]).abs())
    for coverage in (0.5, 0.8):
        asked = ["--coverage", str(coverage)]
        table = predicted(model, files / "table.tsv", tmp_path / f"{coverage}.tsv", *asked)
        wanted = conformal_margin(residuals, coverage)
        np.testing.assert_allclose(table["age_upper"] - table["age"], wanted, atol=1e-4)
        np.testing.assert_allclose(table["age"] - table["age_lower"], wanted, atol=1e-4)


def test_scores_of_samples_that_were_trained_on_are_called_flattering(model: Path, files: Path, tmp_path: Path, capsys):
    """18 samples are used: 9 tested by either fold. The ensemble has seen all, a fold's model the other 9."""
    known = ["--metadata", str(files / "samples.tsv")]
    for part, seen in ((model, 18), (model / "fold-2", 9), (model / "fold-2" / "last", 9)):
        predicted(part, files / "table.tsv", tmp_path / f"{seen}-{part.name}.tsv", *known)
        assert f"Warning: {seen} of the 18 samples that were scored had been trained on" in capsys.readouterr().err
    shutil.copytree(model / "fold-2" / "last", tmp_path / "elsewhere")
    predicted(tmp_path / "elsewhere", files / "table.tsv", tmp_path / "far.tsv", *known)
    write_table(tmp_path / "new.tsv", [f"new {name}" for name in IDS], asvs(0))
    (tmp_path / "m.tsv").write_text("sample-id\tage\n" + "".join(f"new {name}\t3\n" for name in IDS))
    predicted(model, tmp_path / "new.tsv", tmp_path / "new-out.tsv", "--metadata", str(tmp_path / "m.tsv"))
    told = capsys.readouterr().err
    assert told.count("mae ") == 2 and "trained on" not in told


def test_folds_that_are_not_there_are_missed(model: Path, files: Path, tmp_path: Path, capsys):
    part = shutil.copytree(model, tmp_path / "part", ignore=shutil.ignore_patterns("fold-1"))
    predicted(part, files / "table.tsv", tmp_path / "out.tsv")
    assert f"Warning: {part} holds the models of 1 of its 2 folds" in capsys.readouterr().err
    (part / "fold-2" / "last" / "config.json").unlink()
    assert cli.main(["predict", "--model", str(part), "--example", "-o", str(tmp_path / "none.tsv")]) == 2
    assert "config.json is missing beside model.safetensors; copy the whole" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_begun_with_relative_paths_is_used_from_elsewhere(files: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(files)
    options = ["--target", "age", "--preset", "tiny", "--max-steps", "1", "--no-preflight", "--output-dir"]
    given = ["train", "--table", "table.tsv", "--metadata", "samples.tsv", "--rarefy-depth", str(READS)]
    assert cli.main([*given, *options, str(tmp_path / "run")]) == 0
    monkeypatch.chdir(tmp_path)
    assert cli.main(["baseline", "--model", "run", "--baseline", "constant"]) == 0
    again = ["train", "--resume", "--output-dir", "run", "--table", str(files / ".." / files.name / "table.tsv")]
    assert cli.main([*again, "--max-steps", "2"]) == 0
    assert "cannot be opened" not in (tmp_path / "run" / "report.html").read_text()


def test_reverse_complements_are_warned_of(model: Path, tmp_path: Path, capsys):
    turned = write_table(tmp_path / "turned.tsv", IDS, [reverse_complement(sequence) for sequence in asvs(0)])
    predicted(model, turned, tmp_path / "out.tsv")
    assert "Warning: these ASVs are reverse complements of what the model has" in capsys.readouterr().err


REFUSED = {
    "no value": (["--target", "empty"], "column 'empty' has no value for any of the 19 samples"),
    "no such covariate": (["--target", "age", "--covariate", "sites"], "has no column 'sites'; did you mean 'site'?"),
    "no such group": (["--target", "age", "--group-column", "subject"], "has no column 'subject'"),
    "groups without value": (["--target", "age", "--group-column", "empty"], "has no value for"),
    "constant classes": (["--target", "site", "--task", "classification"], "has one class, 'gut'"),
    "text as numbers": (
        ["--target", "site"],
        "has 19 of 19 values that are not numbers, first 'gut' of sample ",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_columns_are_one_line_and_code_2(options: list[str], message: str, files: Path, tmp_path: Path, capsys):
    data = ["--table", str(files / "table.tsv"), "--metadata", str(files / "samples.tsv"), "--rarefy-depth", "40"]
    assert cli.main(["train", *data, *options, "--output-dir", str(tmp_path / "run")]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "predict"])
def test_metadata_of_another_table_is_one_line_and_code_2(
    command: str, model: Path, files: Path, tmp_path: Path, capsys
):
    other = write_table(tmp_path / "other.tsv", ["a", "b", "c"], asvs(0))
    data = ["--table", str(other), "--metadata", str(files / "samples.tsv")]
    own = ["--target", "age", "--output-dir", str(tmp_path / "run")]
    if command == "predict":
        own = ["--model", str(model), "--rarefy-depth", "none", "-o", str(tmp_path / "p.tsv")]
    assert cli.main([command, *data, *own]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "none of its 22 samples is among the 3 of the table (metadata: '1.10', table: 'a')" in told
