"""`aam embed` from files to files: every format reads back, every refusal is one line and leaves nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from skbio import OrdinationResults
from trained_run import save_run

from aam.cli import main

TABLE = "#OTU ID\t1.10\t00123\tc\nACGTACGT\t3\t0\t10\nCCCCGGGG\t1\t1\t0\nGGGGTTTT\t0\t1\t20\n"


@pytest.fixture
def folder(folder: Path) -> Path:
    """With ids that look like numbers."""
    (folder / "table.tsv").write_text(TABLE)
    return folder


def aam_embed(run: Path, *options: str) -> int:
    own = {"--model": str(run), "--table": "table.tsv"}
    return main(["embed", *(part for pair in own.items() if pair[0] not in options for part in pair), *options])


def read_tsv(path: str) -> pd.DataFrame:
    frame = pd.read_csv(path, sep="\t", dtype={0: str})
    return frame.set_index(frame.columns[0])


def test_text_keeps_ids_as_text(run: Path, folder: Path):
    assert aam_embed(run, "-o", "e.tsv") == 0
    frame = read_tsv("e.tsv")
    assert (frame.index.name, list(frame.index)) == ("sample-id", ["1.10", "00123", "c"])
    assert frame.shape == (3, 32) and np.isfinite(frame.to_numpy()).all()


def test_every_format_holds_the_same(run: Path, folder: Path):
    assert [aam_embed(run, "-o", name) for name in ("e.tsv", "e.h5ad", "e.txt")] == [0, 0, 0]
    text = read_tsv("e.tsv").to_numpy(dtype=np.float32)
    with h5py.File("e.h5ad") as file:
        assert np.array_equal(file["X"][:], text)
        assert [name.decode() for name in file["obs/sample-id"][:]] == ["1.10", "00123", "c"]
    ordination = OrdinationResults.read("e.txt").samples
    assert list(ordination.index) == ["1.10", "00123", "c"]
    for a, b in ((0, 1), (1, 2)):
        ours = np.linalg.norm(ordination.iloc[a] - ordination.iloc[b])
        assert ours == pytest.approx(np.linalg.norm(text[a] - text[b]), rel=1e-5)


def test_a_run_without_its_best_checkpoint_is_opened_by_its_last_and_says_so(folder: Path, tmp_path: Path, capsys):
    run = save_run(tmp_path / "unfinished")
    (run / "best").rename(run / "last")
    assert aam_embed(run, "-o", "e.tsv") == 0
    assert (
        f"{run} has no best/, which comes with the first evaluation; opened {run / 'last'}" in capsys.readouterr().err
    )
    assert aam_embed(run / "last", "-o", "asked.tsv") == 0
    assert "best/" not in capsys.readouterr().err


def test_parquet_reads_back(run: Path, folder: Path):
    pytest.importorskip("pyarrow", reason="NOT TESTED: Parquet, because pyarrow is absent")
    assert [aam_embed(run, "-o", name) for name in ("e.tsv", "e.parquet")] == [0, 0]
    frame = pd.read_parquet("e.parquet")
    assert list(frame.index) == ["1.10", "00123", "c"]
    assert np.array_equal(frame.to_numpy(), read_tsv("e.tsv").to_numpy(dtype=np.float32))


def test_anndata_reads_its_format(run: Path, folder: Path):
    anndata = pytest.importorskip("anndata", reason="NOT TESTED: .h5ad read by anndata, which is absent")
    assert aam_embed(run, "-o", "e.h5ad") == 0
    found = anndata.read_h5ad("e.h5ad")
    assert list(found.obs_names) == ["1.10", "00123", "c"] and found.shape == (3, 32)
    assert found.obs.index.name == "sample-id" and list(found.var_names[:2]) == ["e1", "e2"]


@pytest.mark.parametrize(("what", "rows", "columns"), [("asvs", 3, 32), ("branches", 3, 64)])
def test_what_is_embedded(run: Path, folder: Path, what: str, rows: int, columns: int):
    assert aam_embed(run, "--what", what, "-o", "e.tsv") == 0
    assert read_tsv("e.tsv").shape == (rows, columns)


def test_a_cache_changes_nothing_and_knows_other_tables(run: Path, folder: Path, capsys):
    assert aam_embed(run, "-o", "plain.tsv") == 0
    assert aam_embed(run, "--cache", "cache", "-o", "first.tsv") == 0
    (folder / "table.tsv").write_text(TABLE.replace("GGGGTTTT", "GGGGTTTTAA"))
    assert aam_embed(run, "--cache", "cache", "--what", "asvs", "-o", "second.tsv") == 0
    assert (folder / "plain.tsv").read_text() == (folder / "first.tsv").read_text()
    assert read_tsv("second.tsv").index[2] == "GGGGTTTTAA"


def test_in_half_precision_embeddings_are_nearly_the_same(run: Path, folder: Path):
    for precision in ("fp32", "bf16"):
        assert aam_embed(run, "--precision", precision, "--cache", "cache", "-o", f"{precision}.tsv") == 0
    full, half = read_tsv("fp32.tsv").to_numpy(), read_tsv("bf16.tsv").to_numpy()
    error = np.linalg.norm(half - full) / np.linalg.norm(full)
    assert 1e-5 < error < 2e-2
    assert len(list((folder / "cache").iterdir())) == 2  # neither takes the other's ASV embeddings


def test_long_sequences_are_cut_and_counted(folder: Path, tmp_path: Path, capsys):
    short = save_run(tmp_path / "short", max_bp=6)
    assert aam_embed(short, "-o", "e.tsv") == 0
    assert "cut: 3 ASVs to the 6 bases" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "e.xyz"], "found the ending '.xyz', expected .tsv or .parquet or .h5ad or .txt"),
        (["-o", "table.tsv"], "--output table.tsv: the file exists and is not overwritten"),
        (["-o", "no/e.tsv"], "the folder no does not exist"),
        (["-o", "e.tsv", "--model", "."], ".: no checkpoint here"),
        (["-o", "e.tsv", "--model", "nowhere"], "nowhere: no checkpoint here"),
        (["-o", "e.tsv", "--what", "taxa"], "'taxa' is not one of"),
        (["-o", "e.tsv", "--seed", "-1", "--rarefy-depth", "5"], "--seed is -1, expected at least 0 and at most"),
        (["-o", "e.tsv", "--rarefy-depth", "50"], "drawing 50 reads of each drops all 3 samples"),
        (["-o", "e.tsv", "--table", "empty.tsv"], "empty.tsv"),
        (["-o", f"{'x' * 250}.tsv"], "xxx.tsv: the name is too long; give a shorter one"),
        (["-o", "e.tsv", "--table", "x" * 300], f"{'x' * 39}': File name too long; give another path"),
        (["-o", "e.tsv", "--cache", "table.tsv"], "--cache table.tsv: table.tsv is a file, expected a folder"),
        (["-o", "e.tsv", "--cache", "table.tsv/x"], "--cache table.tsv/x: "),
        (["-o", "e.tsv", "--example"], "found both --example and --table"),
    ],
)
def test_refused_with_code_2_and_nothing_written(run: Path, folder: Path, refusal, options: list[str], message: str):
    (folder / "empty.tsv").write_text("#OTU ID\ta\tb\n")
    assert message in refusal("embed", options, model=run, table="table.tsv")


def test_nothing_is_written_into_a_checkpoint(run: Path, folder: Path, refusal):
    inside = str(run / "best" / "e.tsv")
    assert f"--output {run / 'best'}: {run / 'best'} is a checkpoint, which its run" in refusal(
        "embed", ["-o", inside], model=run
    )


def test_branches_need_a_latent_tree(folder: Path, tmp_path: Path, capsys):
    run = save_run(tmp_path / "run", unifrac_head="euclidean")
    assert aam_embed(run, "--what", "branches", "-o", "e.tsv") == 2
    assert "has no latent tree" in capsys.readouterr().err.splitlines()[-1]


def test_parquet_without_pyarrow_says_how_to_get_it(run: Path, folder: Path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert aam_embed(run, "-o", "e.parquet") == 2
    assert "pip install 'aam[parquet]'" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_biom_table_is_embedded_without_what_only_other_commands_need(run: Path, tmp_path: Path):
    """What these take to import, half a second, is a tenth of the time in which a study of 800 samples is embedded."""
    asked = ["embed", "--model", str(run), "--example", "-o", str(tmp_path / "e.tsv")]
    code = f"import sys\nfrom aam.cli import main\nassert main({asked!r}) == 0\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needless = {"pandas", "skbio", "sklearn", "matplotlib", "aam.training"}
    assert not needless & set(done.stdout.split())
