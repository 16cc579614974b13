"""`aam reference` from files to a folder, and what it refuses in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from mutated_genes import fasta, mutated_genes

from aam.cli import main
from aam.placement.store import open_reference

FILES = {"--sequences": "s.fasta", "--tree": "t.nwk", "--taxonomy": "x.tsv"}


@pytest.fixture(scope="module")
def genes():
    """Six V4 fragments of 149 bases."""
    return mutated_genes([f"t{number}" for number in range(6)], first=611, last=759)


@pytest.fixture
def inputs(genes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fragments, their tree and lineages as files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.fasta").write_text(fasta(genes.sequences()))
    (tmp_path / "t.nwk").write_text(genes.tree.to_newick())
    (tmp_path / "x.tsv").write_text("".join(f"{name}\td__A;p__B\n" for name in genes.tree.tip_names))
    return tmp_path


def aam_reference(*options: str, without: str = "") -> int:
    files = [part for pair in FILES.items() if pair[0] not in options and pair[0] != without for part in pair]
    return main(["reference", *files, "--no-learn", *options, *(() if "-o" in options else ("-o", "made"))])


def test_from_packed_files_to_a_folder(genes, inputs: Path, capsys):
    for name in FILES.values():
        (inputs / f"{name}.gz").write_bytes(gzip.compress((inputs / name).read_bytes()))
    packed = [part for option, name in FILES.items() for part in (option, f"{name}.gz")]
    assert aam_reference(*packed, "--region", "v4") == 0
    assert capsys.readouterr().out.startswith("6 tips on columns 611 to 864 of the 16S gene: made (")
    reference = open_reference("made")
    assert list(reference.tree.tip_names) == list(genes.tree.tip_names)
    assert (genes.codes == reference.on(611, 759).T).mean() > 0.95
    record = json.loads((inputs / "made" / "reference.json").read_text())
    assert record["counts"] == {"tips": 6, "columns": 254, "turned": 0} and record["region"] == "611:864"
    assert record["sources"]["tree"]["file"] == "t.nwk.gz"
    assert sorted(path.name for path in (inputs / "made").iterdir()) == [
        "alignment.txt.xz", "cache", "left-out.tsv", "reference.json", "taxonomy.tsv.xz", "tree.nwk.xz",
    ]  # fmt: skip


def test_the_same_command_again_changes_nothing(inputs: Path, capsys):
    assert aam_reference() == 0 and aam_reference() == 0
    assert "made is complete already" in capsys.readouterr().err


REFUSED = {
    "a region by another name": (["--region", "v9"], "--region is 'v9', expected one of v1-v2, "),
    "a region outside of the gene": (["--region", "1:2000"], "expected columns with 1 <= FROM <= TO <= 1,739"),
    "a region that nothing covers": (
        ["--region", "v1-v3"],
        "--region: of 6 sequences 0 have at least 30 bases on columns 21 to 594 (most: ",
    ),
    "another tree": (
        ["--tree", "other.nwk"],
        "other.nwk: none of its 2 tips is among the 6 sequences of s.fasta; tips are e.g. 'x', 'y', sequences e.g. 't",
    ),
    "an unrooted tree": (["--tree", "unrooted.nwk"], "the tree is unrooted: its outermost parentheses hold 3 branches"),
    "a taxonomy of other sequences": (
        ["--taxonomy", "other.tsv"],
        "other.tsv: none of its 1 ids is a tip of the reference; ids are e.g. 'x', tips e.g. 't",
    ),
    "an empty FASTA": (["--sequences", "empty.fasta"], "empty.fasta is an empty file"),
    "a FASTA without records": (["--sequences", "blank.fasta"], "blank.fasta holds no records; expected '>id' lines"),
    "ids that repeat": (["--sequences", "twice.fasta"], "twice.fasta: line 3 repeats the id 't1'; ids must be unique"),
    "protein": (["--sequences", "protein.fasta"], "protein.fasta: the sequence 't1' is not DNA: 'E' at position 2 "),
    "no 16S": (
        ["--sequences", "noise.fasta"],
        "0 of the 6 sequences that are tips of t.nwk fit the profile of the 16S gene, expected at least 2; not so e.g.",
    ),
    "sequences that are too short": (
        ["--sequences", "short.fasta"],
        "short.fasta: all 1 sequences that are tips of t.nwk have fewer than 30 or more than 10,000 bases, e.g. 't1';",
    ),
    "a file that is not there": (["--tree", "none.nwk"], "none.nwk does not exist; check the path given as --tree"),
    "a folder with something else": (["-o", "full"], "--output full is a folder with other files in it; give a new"),
    "a file as output": (["-o", "s.fasta"], "--output s.fasta: s.fasta is a file, expected a folder"),
    "no core": (["--threads", "0"], "--threads is 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case: str, inputs: Path, capsys):
    options, words = REFUSED[case]
    random = np.random.default_rng(0)
    noise = {f"t{number}": "".join(random.choice(list("ACGT"), 200)) for number in range(6)}
    texts = {
        "other.nwk": "(x:1,y:1);", "unrooted.nwk": "(t0:1,t1:1,t2:1);", "other.tsv": "x\td__A\n", "empty.fasta": "",
        "blank.fasta": "\n\n", "twice.fasta": ">t1\nAC\n>t1\nAC\n", "protein.fasta": ">t1\nMEIEI\n",
        "noise.fasta": fasta(noise), "short.fasta": ">t1\nACGT\n",
    }  # fmt: skip
    for name, text in texts.items():
        (inputs / name).write_text(text)
    (inputs / "full").mkdir()
    (inputs / "full" / "notes.txt").write_text("mine")
    assert aam_reference(*options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("Error: ") and words in error, error
    assert not (inputs / "made" / "reference.json").exists()
    assert [path.name for path in (inputs / "full").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("without", "what"), [("--sequences", "no sequences"), ("--tree", "no rooted phylogeny")])
def test_what_must_be_given(without: str, what: str, inputs: Path, capsys):
    assert aam_reference(without=without) == 2
    assert f"Error: {what}" in capsys.readouterr().err
    assert not (inputs / "made").exists()


def test_a_refused_region_leaves_the_alignment_for_another(inputs: Path, capsys):
    assert aam_reference("--region", "v1-v3") == 2
    assert (inputs / "made" / "parts" / "000000.npz").exists()
    assert aam_reference("--region", "v4") == 0
    assert not (inputs / "made" / "parts").exists()
