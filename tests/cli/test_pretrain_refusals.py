"""What `aam pretrain` refuses: one line that names file, place and remedy, exit code 2, and nothing written."""

from __future__ import annotations

import errno
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import biom
import h5py
import numpy as np
import pytest
from generated_samples import community, write_files

from aam import cli
from aam.errors import CheckpointError
from aam.io.files import lock_folder

OPTIONS = ["--preset", "tiny", "--max-steps", "1", "--batch-size", "4", "--device", "cpu", "--rarefy-depth", "none"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with `table.tsv` and `tree.nwk` that fit each other, and no run."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_files(community(samples=10, asvs=20, richness=12), folder)
    return folder


@pytest.fixture
def refused(data: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`refused(*options)` is the error of a run with these options, once all else about a refusal has been checked."""

    def run(*options: str | Path, table: bool = True, tree: bool = True) -> str:
        before = sorted(data.parent.rglob("*"))
        own = {"--table": data / "table.tsv"} if table else {}
        own |= {"--tree": data / "tree.nwk"} if tree else {}
        files = [part for pair in own.items() if pair[0] not in options for part in pair]
        out = [] if "--output-dir" in options else ["--output-dir", data.parent / "run"]
        code = cli.main(["pretrain", *map(str, [*files, *OPTIONS, *out, *options])])
        said = capsys.readouterr()
        errors = [line for line in said.err.splitlines() if line.startswith("Error: ")]
        assert code == 2 and len(errors) == 1 and said.out == "", said
        assert said.err.splitlines()[-1] == errors[0] and "Traceback" not in said.err and "bug in aam" not in said.err
        assert sorted(data.parent.rglob("*")) == before, "something was written"
        return errors[0].removeprefix("Error: ")

    return run


def cells(data: Path) -> list[list[str]]:
    return [line.split("\t") for line in (data / "table.tsv").read_text().splitlines()]


def rewrite(data: Path, rows: list[list[str]]) -> None:
    (data / "table.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")


def test_missing_files(refused: Callable[..., str], data: Path):
    for option in ("--table", "--tree", "--sequences", "--metadata", "--validation-samples", "--config"):
        more = ["--group-column", "subject"] if option == "--metadata" else []
        error = refused(option, data / "absent", *more)
        assert str(data / "absent") in error and re.search("does not exist|No such file", error), error


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"{}", b"a line of text\n", b"\x89HDF\r\n\x1a\nrubbish"])
def test_not_biom(refused: Callable[..., str], data: Path, content: bytes):
    (data / "table.tsv").write_bytes(content)
    assert str(data / "table.tsv") in refused()


def test_a_table_without_counts(refused: Callable[..., str], data: Path):
    rows = cells(data)
    rewrite(data, [rows[0], *([row[0], *["0"] * (len(row) - 1)] for row in rows[1:])])
    assert re.search(r"table\.tsv: all 10 samples are empty .*; give a table with reads", refused())


@pytest.mark.parametrize(
    ("value", "text"),
    [("nan", "'nan' is not a"), ("-3", "negative"), ("0.5", "fractional"), ("inf", "infinite"), ("x", "'x' is not a")],
)
def test_counts_that_are_no_counts(refused: Callable[..., str], data: Path, value: str, text: str):
    rows = cells(data)
    rows[3][2] = value
    rewrite(data, rows)
    error = refused()
    assert text in error and "table.tsv" in error and ("'s1'" in error or "line 4" in error), error


def test_fractional_counts_in_hdf5(refused: Callable[..., str], data: Path):
    rows = cells(data)
    counts = np.array([row[1:] for row in rows[1:]], dtype=float) / 3
    with h5py.File(data / "table.biom", "w") as file:
        biom.Table(counts, [row[0] for row in rows[1:]], rows[0][1:]).to_hdf5(file, "test")
    error = refused("--table", data / "table.biom")
    assert re.search(r"table\.biom.*counts are fractional, first .* in sample 's\d', feature '[ACGT]+'", error), error


def test_duplicate_ids(refused: Callable[..., str], data: Path):
    rows = cells(data)
    rows[0][2] = rows[0][1]
    rewrite(data, rows)
    assert re.search(r"table\.tsv: .*sample id.*'s0'", refused())
    rows = cells(data)
    rows[0][2], rows[2][0] = "s1", rows[1][0]
    rewrite(data, rows)
    assert re.search(rf"table\.tsv: .*feature id.*'{rows[1][0]}'", refused())


def test_feature_ids_that_are_not_dna(refused: Callable[..., str], data: Path):
    rows = cells(data)
    for number in (2, 5, 7):
        rows[number][0] = f"otu{number}"
    rewrite(data, rows)
    assert re.search(r"table\.tsv.*3 of 20 .*'otu2'.*--sequences", refused())


def test_asvs_missing_from_the_tree(refused: Callable[..., str], data: Path):
    rows = cells(data)
    for number in (1, 2, 3):
        rows[number][0] += "ACGTACGT"
    rewrite(data, rows)
    error = refused()
    assert re.search(r"tree\.nwk: 3 of 20 ASVs \(15\.0%, allowed 10\.0%\) are no tips .*--max-missing", error), error


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda tree: re.sub(r":[0-9.e-]+", "", tree), "no branch lengths"),
        (lambda tree: f"({tree.rstrip(';')},x:1,y:1);", "unrooted: .* 3 branches, expected 2; root it first with"),
        (lambda tree: tree[: len(tree) // 2], "tree.nwk"),
        (lambda tree: "(a:1,b:2);", "none of the 20 ASVs is a tip"),
    ],
)
def test_trees_that_do_not_serve(refused: Callable[..., str], data: Path, change: Callable[[str], str], text: str):
    tree = data / "tree.nwk"
    tree.write_text(change(tree.read_text()))
    error = refused()
    assert str(tree) in error and re.search(text, error), error


def test_a_depth_that_drops_every_sample(refused: Callable[..., str]):
    assert re.search(r"drawing 1,000,000 reads of each drops all 10 samples, the deepest has [\d,]+; give a smaller",
                     refused("--rarefy-depth", "1000000"))  # fmt: skip


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--token-limit", "0"], "--token-limit is 0, expected at least 1"),
        (["--batch-size", "9"], "batch size 9 is larger than the 8 training samples; use --batch-size 8 or less"),
        (["--rarefy-depth", "many"], "--rarefy-depth is 'many', expected a whole number >= 1, 'auto' or 'none'"),
        (["--lr", "nan"], "Invalid value for '--lr': 'nan' is not a valid float"),
        (["--lr", "-1"], "--lr is -1, expected more than 0"),
        (["--warmup-fraction", "1.5"], "--warmup-fraction is 1.5, expected at least 0 and at most 1"),
        (["--dim", "33"], "--dim 33 is not a multiple of --heads 2"),
        (["--device", "cuda:99"], "--device is 'cuda:99', but torch .* finds . CUDA devices; use --device cpu or auto"),
        (["--device", "abacus"], "--device is 'abacus', expected auto, cpu, cuda or cuda:N"),
        (["--device", "meta"], "--device is 'meta', expected auto, cpu, cuda or cuda:N"),
        (["--seed", "99999999999999999999"], "--seed is 99999999999999999999, expected at least 0 and at most"),
        (["--preset", "huge"], "Invalid value for '--preset': 'huge' is not one of"),
        (["--token-limits", "3"], "No such option.*--token-limit"),
        (["--resume"], "--resume: .*run holds no run to go on with; check the path, or leave --resume out"),
        (["--example"], "found both --example and --table, expected one of them"),
        (["--group-column", "subject"], "--group-column names a metadata column, but no --metadata file was given"),
        (["--validation-fraction", "0.95"], "--validation-fraction is 0.95, expected more than 0 and at most 0.9"),
    ],
)
def test_options(refused: Callable[..., str], options: list[str], text: str):
    assert re.search(text, refused(*options))


def test_neither_tree_nor_matrix_and_no_table(refused: Callable[..., str]):
    assert "neither of --tree and --unifrac-matrix, expected one of them" in refused(tree=False)
    assert "no feature table; give --table FILE, or --example" in refused(table=False)


def test_a_matrix_of_other_samples(refused: Callable[..., str], data: Path):
    np.save(data / "distances.npy", np.zeros((2, 2)))
    (data / "distances.ids.txt").write_text("x\ny\n")
    error = refused("--unifrac-matrix", data / "distances.npy", tree=False)
    assert "distances.npy: none of the 10 samples of the table is among its 2 ids (table: s0, matrix: x)" in error


def test_validation_samples_that_are_not_in_the_table(refused: Callable[..., str], data: Path):
    (data / "held-out.txt").write_text("s1\ns2\nS3\n")
    error = refused("--validation-samples", data / "held-out.txt")
    assert re.search(r"held-out\.txt: 1 of 3 ids are not samples of the table, first 'S3'", error), error


def test_an_output_directory_that_holds_another_run(refused: Callable[..., str], data: Path):
    (data / "old").mkdir()
    (data / "old" / "manifest.json").write_text("{}")
    error = refused("--output-dir", data / "old")
    assert error == f"--output-dir {data / 'old'} holds another run; go on with it by --resume, or give another folder"


def test_an_output_directory_inside_another_run(refused: Callable[..., str], data: Path):
    (data / "old" / "last").mkdir(parents=True)
    (data / "old" / "manifest.json").write_text("{}")
    for name in ("fold-1", "deeper/still"):
        error = refused("--output-dir", data / "old" / name)
        assert error == f"--output-dir {data / 'old' / name} is in the run {data / 'old'}; give a folder outside of it"


def test_an_output_directory_that_cannot_be_written_to(refused: Callable[..., str], data: Path, monkeypatch):
    def refuse(dir: Path, **settings: object) -> None:  # noqa: A002 - its name in the standard library
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # permissions mean nothing to root
    error = refused("--output-dir", data / "new" / "run")
    assert (
        error == f"--output-dir {data / 'new' / 'run'}: {data} cannot be written to; check its permissions, or "
        "use another path"
    )


def test_a_run_of_another_command_does_not_go_on(refused: Callable[..., str], data: Path):
    (data / "old").mkdir()
    (data / "old" / "manifest.json").write_text('{"config": {"target": {}}}')
    error = refused("--output-dir", data / "old", "--resume")
    assert error.startswith(f"{data / 'old'}: a run of `aam train`, expected one of `aam pretrain`")


def test_all_samples_of_one_group(refused: Callable[..., str], data: Path):
    lines = ["sample-id\tsubject", *(f"s{row}\tA" for row in range(10))]
    (data / "m.tsv").write_text("\n".join(lines) + "\n")
    error = refused("--metadata", data / "m.tsv", "--group-column", "subject")
    assert (
        error == "--group-column subject: all 10 samples are of one group, 'A', which cannot be on both sides; name "
        "a column with several"
    )


def test_an_output_directory_belongs_to_one_process(refused: Callable[..., str], data: Path):
    folder = data.parent / "two"
    with lock_folder(folder, "--output-dir", CheckpointError):
        error = refused("--output-dir", folder, "--no-preflight", "--max-steps", "1", "--batch-size", "4")
        assert error.startswith(f"--output-dir {folder}: another process is writing there; wait for its end")
    assert not folder.exists()  # nobody wrote to it


def test_an_output_directory_that_is_a_file_or_lies_below_one(refused: Callable[..., str], data: Path):
    for path in (data / "tree.nwk", data / "tree.nwk" / "run"):
        assert f"{data / 'tree.nwk'} is a file, expected a folder" in refused("--output-dir", path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("tokn_limit: 3", "unknown option 'tokn_limit'; did you mean 'token_limit'?"),
        ("token_limit: many", "--token-limit is 'many', expected a whole number"),
        ("resume: maybe", "--resume is 'maybe', expected true or false"),
        ("- a\n- b", "line 1: found a list; expected lines like 'token_limit: 512'"),
        ("a: [", "not YAML"),
        ("x: !!python/object/apply:os.system ['true']", "line 1: found the tag 'tag:yaml.org,2002:python/"),
    ],
)
def test_config_files(refused: Callable[..., str], data: Path, content: str, text: str):
    (data / "run.yaml").write_text(content)
    error = refused("--config", data / "run.yaml")
    assert text in error
    assert "run.yaml" in error or text.startswith("--")
