"""`--positions gene` through the command line: one model reads tables of any region, and says what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from grown_reference import grown_reference

from aam.cli import main
from aam.datasets import example
from aam.gene.profile import reverse_complement
from aam.io.table import read_table
from aam.placement.store import LEFT_OUT, write_reference

SMALL = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--max-steps", "3", "--eval-every", "3",
         "--reference-tips", "32", "--batch-size", "4", "--device", "cpu", "--no-preflight"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the example and a small reference, in random windows; look, but do not touch."""
    folder = tmp_path_factory.mktemp("gene")
    found = grown_reference(120, 421)
    (folder / "reference").mkdir()
    (folder / "reference" / LEFT_OUT).write_text("")
    about = {"region": "none", "counts": {}, "left_out": {}, "sources": {}}
    write_reference(folder / "reference", found, np.ascontiguousarray(found.codes.T), about, 1)
    options = ["--example", "--reference", str(folder / "reference"), "--positions", "gene", "--windows", "random"]
    assert main(["pretrain", *options, *SMALL, "--output-dir", str(folder / "run")]) == 0
    return folder / "run"


def write_cut(path: Path, cut: slice, turned: bool = False) -> Path:
    """The example as TSV with its ASVs cut, and reverse complemented."""
    table = read_table(example().table)
    names = [sequence[cut] for sequence in table.sequences]
    frame = pd.DataFrame(table.counts.toarray().T, index=names, columns=list(table.sample_ids)).groupby(level=0).sum()
    if turned:
        frame.index = [reverse_complement(name) for name in frame.index]
    frame.to_csv(path, sep="\t", index_label="#OTU ID")
    return path


def embed(run: Path, table: Path, output: Path) -> pd.DataFrame:
    assert main(["embed", "--model", str(run), "--table", str(table), "-o", str(output)]) == 0
    return pd.read_csv(output, sep="\t", index_col=0)


def test_the_strand_of_the_reads_does_not_matter(run: Path, tmp_path: Path):
    whole = embed(run, write_cut(tmp_path / "t.tsv", slice(None)), tmp_path / "whole.tsv")
    turned = embed(run, write_cut(tmp_path / "u.tsv", slice(None), turned=True), tmp_path / "turned.tsv")
    np.testing.assert_allclose(turned.loc[whole.index], whole, atol=1e-5)


def test_no_other_region_is_warned_of(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    embed(run, write_cut(tmp_path / "c.tsv", slice(40, None)), tmp_path / "cut.tsv")
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert len(warnings) == 1 and "reads of 60 bases are short" in warnings[0]  # and nothing of another region


def test_what_is_no_16s_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "other.tsv"
    path.write_text("#OTU ID\ts1\ts2\n" + "ACCATG" * 20 + "\t5\t9\n" + "CATTAG" * 20 + "\t5\t9\n")
    assert main(["embed", "--model", str(run), "--table", str(path), "-o", str(tmp_path / "e.tsv")]) == 2
    assert "2 of 2 ASVs are no 16S" in capsys.readouterr().err


def test_options_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Path):
    out = ["--output-dir", str(tmp_path / "run")]
    reference = str(run.parent / "reference")
    assert main(["pretrain", "--example", "--reference", reference, "--windows", "random", *SMALL, *out]) == 2
    assert "--windows random needs --positions gene" in capsys.readouterr().err
    assert main(["pretrain", "--example", "--positions", "gene", "--asv-encoder", "mlp", *SMALL, *out]) == 2
    assert "--asv-encoder mlp has no --positions gene" in capsys.readouterr().err
    start = ["--pretrained", str(run), "--max-steps", "2", "--batch-size", "4", "--device", "cpu"]
    assert main(["pretrain", "--example", "--positions", "read", *start, *out]) == 2
    assert "--positions is fixed by the encoder of --pretrained" in capsys.readouterr().err


@pytest.mark.slow
def test_a_corpus_has_the_positions_that_it_was_prepared_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = example()
    corpus = ["--corpus", str(tmp_path / "corpus"), *SMALL, "--output-dir", str(tmp_path / "run")]
    inputs = ["--table", str(files.table), "--tree", str(files.tree), "--positions", "gene"]
    assert main(["prepare", *inputs, "-o", str(tmp_path / "corpus")]) == 0
    assert main(["pretrain", *corpus]) == 2
    assert "was prepared with --positions gene; give the same here" in capsys.readouterr().err
    assert main(["pretrain", *corpus, "--positions", "gene"]) == 0


@pytest.mark.slow
def test_an_exported_program_reads_columns(run: Path, tmp_path: Path):
    assert main(["export", "--model", str(run), "--what", "asvs", "-o", str(tmp_path / "asvs.pt2")]) == 0
