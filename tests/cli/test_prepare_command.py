"""`aam prepare` and `aam pretrain --corpus` from end to end, and what they refuse in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from generated_samples import community, write_files

from aam import cli
from aam.errors import CorpusError
from aam.io.files import LOCK, lock_folder

SIZE = ["--preset", "tiny", "--branches", "16", "--device", "cpu", "--batch-size", "4", "--rarefy-depth", "none"]
Said = pytest.CaptureFixture[str]


def aam(*words: str | Path) -> int:
    return cli.main([*map(str, words)])


def error(said: Said) -> str:
    """The one line of a refusal."""
    lines = [line for line in said.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("Error: ")


@pytest.fixture
def inputs(tmp_path: Path) -> list[str | Path]:
    """The options of two generated studies, gut of 12 samples and skin of 16, whose sample ids overlap."""
    words: list[str | Path] = []
    for name, samples, seed in (("gut", 12, 1), ("skin", 16, 2)):
        (tmp_path / name).mkdir()
        write_files(community(samples=samples, asvs=30, richness=8, seed=seed), tmp_path / name)
        words += ["--table", tmp_path / name / "table.tsv", "--tree", tmp_path / name / "tree.nwk"]
    return words


def test_two_studies_are_prepared_verified_and_trained_on(inputs: list, tmp_path: Path, capsys: Said):
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    assert aam("prepare", *inputs, "-o", corpus) == 0
    said = capsys.readouterr()
    assert said.out.startswith("28 samples, 58 ASVs, 2 studies, 2 trees: ")
    assert "12 sample ids occur in several tables and begin with the table's name now" in said.err
    assert aam("prepare", "--verify", corpus) == 0
    assert capsys.readouterr().out.rstrip().endswith("files as they were written")
    assert aam("preflight", "--corpus", corpus, *SIZE, "--seconds", "1") == 0  # one study holds out two samples alone
    words = ["--corpus", corpus, "--output-dir", run, "--max-steps", "3", "--no-preflight", *SIZE]
    assert aam("pretrain", *words) == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert set(manifest["data"]) == {"corpus"} and manifest["config"]["data"]["corpus"] == str(corpus)
    kept = (run / "samples_train.txt").read_text().split() + (run / "samples_validation.txt").read_text().split()
    assert len(kept) == 28 and {"gut.s3", "skin.s3", "s15"} <= set(kept)
    assert aam("pretrain", "--resume", *words, "--max-steps", "4") == 0
    assert aam("report", run, "-o", tmp_path / "report.html") == 0


def test_a_damaged_file_is_named(inputs: list, tmp_path: Path, capsys: Said):
    corpus = tmp_path / "corpus"
    assert aam("prepare", *inputs, "-o", corpus) == 0
    path = corpus / "counts.data.npy"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 4
    path.write_bytes(whole)
    capsys.readouterr()
    assert aam("prepare", "--verify", corpus) == 2
    assert "counts.data.npy has SHA-256 " in error(capsys)
    path.write_bytes(whole[:-2])
    assert aam("pretrain", "--corpus", corpus, "--output-dir", tmp_path / "run", *SIZE) == 2
    assert error(capsys).startswith(f"{path} is {len(whole) - 2:,} bytes long, expected {len(whole):,} bytes; remove")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--corpus", "{corpus}", "--table", "t.biom"], "found both --corpus and --table, expected one of them"),
        (["--corpus", "{corpus}", "--tree", "t.nwk"], "found both --corpus and --tree, expected one of them"),
        (["--corpus", "{corpus}", "--example"], "found both --corpus and --example, expected one of them"),
        (["--corpus", "{corpus}", "--unifrac-matrix", "x.npy"], "found both --corpus and --unifrac-matrix, expected"),
        (["--corpus", "{folder}"], "is no prepared corpus (manifest.json is missing); write one with `aam prepare`"),
        (["--corpus", "{corpus}", "--batch-size", "12"], "batch size 12 is larger than the"),
    ],
)
def test_what_pretraining_refuses(inputs: list, tmp_path: Path, capsys: Said, words: list[str], text: str):
    assert aam("prepare", *inputs, "-o", tmp_path / "corpus") == 0
    capsys.readouterr()
    filled = [word.format(corpus=tmp_path / "corpus", folder=tmp_path) for word in words]
    assert aam("pretrain", *SIZE, *filled, "--output-dir", tmp_path / "run") == 2
    assert text in error(capsys)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "give tables, trees and --output FOLDER to prepare, or --verify FOLDER alone to check"),
        (["-o", "x", "--verify", "x"], "or --verify FOLDER alone to check"),
        (["-o", "x"], "no feature table; give --table FILE, once for each study"),
        (
            ["-o", "x", "--table", "absent.biom", "--tree", "t.nwk"],
            "absent.biom does not exist; check the path",
        ),
        (["--verify", "absent"], "absent is no prepared corpus"),
    ],
)
def test_what_preparing_refuses(
    words: list[str], text: str, capsys: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert aam("prepare", *words) == 2
    assert text in error(capsys) and list(tmp_path.iterdir()) == []


def test_a_corpus_is_written_by_one_process(inputs: list, tmp_path: Path, capsys: Said):
    corpus = tmp_path / "corpus"
    with lock_folder(corpus, "--output", CorpusError):
        assert aam("prepare", *inputs, "-o", corpus) == 2
        assert error(capsys).startswith(f"--output {corpus}: another process is writing there")
    assert not corpus.exists()
    assert aam("prepare", *inputs, "-o", corpus) == 0
    assert not (corpus / LOCK).exists()


@pytest.mark.slow
def test_workers_assemble_the_batches_that_one_process_does(inputs: list, tmp_path: Path):
    """Forked workers read the same maps."""
    assert aam("prepare", *inputs, "-o", tmp_path / "corpus") == 0
    logs = []
    for workers in ("0", "2"):
        run = tmp_path / f"run{workers}"
        words = ["--corpus", tmp_path / "corpus", "--num-workers", workers, "--max-steps", "2", "--no-preflight"]
        assert aam("pretrain", *words, *SIZE, "--output-dir", run) == 0
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        logs.append([line["loss"] for line in lines])
    assert logs[0] == logs[1]
