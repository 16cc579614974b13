"""Studies whose reads begin elsewhere, are shorter or turned: what the command line says of them, and does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from trained_run import save_run

from aam import cli
from aam.corpus.lineup import Rules, line_up
from aam.corpus.store import open_store
from aam.datasets import example
from aam.folders import BEST
from aam.gene.profile import reverse_complement
from aam.io.table import read_table
from aam.phylogeny.tree import read_tree
from aam.stored import read_stored

SIZE = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--device", "cpu"]
SIZE += ["--rarefy-depth", "none", "--batch-size", "8"]
QUICK = [*SIZE, "--max-steps", "2", "--no-preflight"]
Said = pytest.CaptureFixture[str]
Written = Callable[[str, Callable[[str], str]], list[str]]


def aam(*words: str | Path) -> int:
    return cli.main([*map(str, words)])


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """`studies(name, change)` gives the options of a study whose ASVs are `change`d, in ids, tree and all.

    The ASVs are 60 of the example, all of which begin at 515F, in 40 of its samples.
    """
    table, tree, folder = read_table(example().table), read_tree(example().tree), tmp_path_factory.mktemp("studies")
    whole = [row for row, text in enumerate(table.sequences) if text.startswith("TACG")][:60]
    own, counts = [table.sequences[row] for row in whole], table.counts.toarray()[:, whole]
    rows = np.flatnonzero((counts > 0).sum(axis=1) > 3)[:40]
    sheared = tree.shear(own)

    def write(name: str, change: Callable[[str], str]) -> list[str]:
        changed = list(map(change, own))
        assert len(set(changed)) == len(own)
        frame = pd.DataFrame(counts[rows].T, index=changed, columns=[f"{name}{row}" for row in rows])
        frame[frame.sum(axis=1) > 0].rename_axis("#OTU ID").to_csv(folder / f"{name}.tsv", sep="\t")
        (folder / f"{name}.nwk").write_text(sheared.to_newick([change(tip) for tip in sheared.tip_names]))
        return ["--table", str(folder / f"{name}.tsv"), "--tree", str(folder / f"{name}.nwk")]

    return write


def plain(text: str) -> str:
    return text


def moved(text: str) -> str:
    """As of another laboratory: ten bases later, and shorter."""
    return text[10:98]


@pytest.fixture(scope="module")
def run(studies: Written, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    assert aam("pretrain", *studies("plain", plain), *QUICK, "--output-dir", folder) == 0
    return folder


@pytest.fixture(scope="module")
def ages(studies: Written, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of `aam train` besides the table."""
    path = tmp_path_factory.mktemp("ages") / "ages.tsv"
    names = [f"{name}{row}" for name in ("plain", "moved") for row in range(190)]
    pd.DataFrame({"age": np.arange(len(names)) % 17}, pd.Index(names, name="sample-id")).to_csv(path, sep="\t")
    return ["--metadata", str(path), "--target", "age"]


def table(words: Sequence[str]) -> list[str]:
    return list(words[:2])


def test_prepare_warns_of_tables_that_share_nothing_and_trims_them_to_what_they_share(
    studies: Written, tmp_path: Path, capsys: Said
):
    words = [*studies("plain", plain), *studies("moved", moved)]
    assert aam("prepare", *words, "-o", tmp_path / "apart") == 0
    said = capsys.readouterr()
    assert "plain: reads begin at 515F, 100 bases, plus strand (column 611 of the gene)\n" in said.err
    assert "moved: reads begin at 515F + 10, 88 bases, plus strand (column 621 of the gene)\n" in said.err
    assert "Warning: the reads of 1 of 2 tables differ" in said.err and "common window, 621:88" in said.err
    assert aam("prepare", *words, "--trim", "auto", "-o", tmp_path / "joined") == 0
    said = capsys.readouterr()
    assert "plain: trimmed to 88 bases from column 621 on: " in said.err and "Warning" not in said.err
    apart, joined = (open_store(tmp_path / name).manifest for name in ("apart", "joined"))
    assert apart["counts"]["ASVs"] == sum(part["asvs"] for part in apart["parts"])
    assert joined["parts"][1]["new"] == 0 and joined["counts"]["ASVs"] == apart["counts"]["ASVs"] / 2
    assert joined["config"]["trim"] == "621:88"
    assert aam("prepare", *words, "--trim", "auto", "-o", tmp_path / "joined") == 0  # is complete already
    assert aam("prepare", *words, "-o", tmp_path / "joined") == 2
    assert "Error: --trim is none, but " in capsys.readouterr().err


def test_pretraining_on_a_corpus_says_how_its_tables_lie(studies: Written, tmp_path: Path, capsys: Said):
    corpus = tmp_path / "corpus"
    assert aam("prepare", *studies("plain", plain), *studies("moved", moved), "-o", corpus) == 0
    capsys.readouterr()
    assert aam("pretrain", "--corpus", corpus, *SIZE, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "region            1 table: reads begin at 515F + 10, 88 bases" in said
    assert "warning           the reads of 1 of 2 tables differ" in said
    assert aam("pretrain", "--corpus", corpus, "--trim", "auto", *QUICK, "--output-dir", tmp_path / "no") == 2
    assert "Error: --trim trims tables, and --corpus" in capsys.readouterr().err


def test_a_turned_table_makes_the_same_corpus(studies: Written, tmp_path: Path, capsys: Said):
    for name, words in (("a", studies("same", plain)), ("b", studies("same-turned", reverse_complement))):
        assert aam("prepare", *words, "-o", tmp_path / name) == 0
    assert "ASVs of the minus strand" in capsys.readouterr().err
    one, other = (open_store(tmp_path / name) for name in "ab")
    for array in one.manifest["arrays"]:
        if not array.startswith("samples."):  # named after their tables
            assert np.array_equal(one[array], other[array]), array
    turned = studies("left", reverse_complement)
    assert aam("prepare", *turned, "--orient", "none", "-o", tmp_path / "c") == 0
    assert not np.array_equal(open_store(tmp_path / "c")["tokens"], one["tokens"])


@pytest.mark.slow
def test_max_bp_auto_takes_the_length_of_the_reads(studies: Written, tmp_path: Path, capsys: Said):
    assert aam("prepare", *studies("plain", plain), "--max-bp", "auto", "-o", tmp_path / "corpus") == 0
    store = open_store(tmp_path / "corpus")
    assert store["tokens"].shape[1] == 101 and store.manifest["max_bp"] == 100
    assert aam("prepare", *studies("plain", plain), "--max-bp", "20", "-o", tmp_path / "short") == 0
    assert " ASVs to 20 bases (--max-bp); " in capsys.readouterr().err
    words = ["pretrain", *studies("moved", moved), *QUICK, "--max-bp", "auto", "--output-dir", tmp_path / "run"]
    assert aam(*words) == 0
    assert read_stored(tmp_path / "run" / BEST).config.model.max_bp == 88
    assert aam(*words, "--resume", "--max-steps", "3") == 0  # the same words again
    capsys.readouterr()
    assert aam("pretrain", *studies("plain", plain), *SIZE, "--max-bp", "long", "--dry-run") == 2
    assert "Error: --max-bp is 'long', expected a whole number" in capsys.readouterr().err


def test_a_run_records_its_reads_and_a_table_unlike_them_is_warned_of(
    run: Path, studies: Written, tmp_path: Path, capsys: Said
):
    (record,) = read_stored(run / BEST).config.data.reads
    assert (record.begin, record.bases, record.minus) == (611, 100, 0)
    assert json.loads((run / "manifest.json").read_text())["config"]["data"]["reads"][0]["begin"] == 611
    capsys.readouterr()
    assert aam("embed", "--model", run, *table(studies("plain", plain)), "-o", tmp_path / "a.tsv") == 0
    said = capsys.readouterr().err
    assert "reads begin at 515F, 100 bases, plus strand (column 611 of the gene)\n" in said and "Warning" not in said
    assert "100% of the " in said  # ASVs were in training
    assert aam("embed", "--model", run, *table(studies("moved", moved)), "-o", tmp_path / "b.tsv") == 0
    said = capsys.readouterr().err
    assert (
        "Warning: reads begin at 515F + 10, 88 bases, plus strand (column 621 of the gene), but those that the model"
        in said
    )
    assert "--trim auto" in said and "--trim 621:88" in said and "0% of the " in said


def test_a_turned_table_has_the_same_embeddings(run: Path, studies: Written, tmp_path: Path):
    frames = []
    for change in (plain, reverse_complement):
        words = table(studies("same", change))
        assert aam("embed", "--model", run, *words, "-o", tmp_path / f"{change.__name__}.tsv") == 0
        assert aam("distance", "--model", run, *words, "-o", tmp_path / f"{change.__name__}.d.tsv") == 0
        for ending in (".tsv", ".d.tsv"):
            frames.append(pd.read_csv(tmp_path / f"{change.__name__}{ending}", sep="\t", index_col=0))
    pd.testing.assert_frame_equal(frames[0], frames[2])
    pd.testing.assert_frame_equal(frames[1], frames[3])


def test_longer_reads_trimmed_to_the_window_of_training_are_known_to_the_model(
    studies: Written, ages: list[str], tmp_path: Path, capsys: Said
):
    """Hashes and identities of the head, which are of trimmed reads, agree with those of a table trimmed alike."""
    run, frames = tmp_path / "run", []
    words = [*table(studies("moved", moved)), *ages]
    assert aam("train", *words, *QUICK, "--output-dir", run) == 0
    capsys.readouterr()
    for name, trim, change in (("moved", "none", moved), ("plain", "auto", plain), ("plain", "none", plain)):
        found = tmp_path / f"{name}-{trim}.tsv"
        words = [*table(studies(name, change)), "--trim", trim, "-o", found]
        assert aam("predict", "--model", run, *words) == 0
        frames.append(pd.read_csv(found, sep="\t", index_col=0).reset_index(drop=True))
        said = capsys.readouterr().err
        assert ("100% of the " in said) == (trim == "auto" or name == "moved")
        assert ("Warning: reads begin at 515F, 100 bases" in said) == ((name, trim) == ("plain", "none"))
    pd.testing.assert_frame_equal(frames[0], frames[1])
    assert not np.allclose(frames[0]["age"], frames[2]["age"])


@pytest.mark.slow
def test_training_says_and_plans_the_same_lineup_and_records_it(
    studies: Written, ages: list[str], tmp_path: Path, capsys: Said
):
    words = [
        "train",
        *table(studies("plain", plain)),
        *ages,
        *QUICK,
        "--trim",
        "621:60",
        "--output-dir",
        tmp_path / "r",
    ]
    assert aam(*words, "--dry-run") == 0
    assert "region            trimmed to 60 bases from column 621 on: " in capsys.readouterr().out
    assert aam(*words) == 0
    assert "trimmed to 60 bases from column 621 on: " in capsys.readouterr().err
    assert aam("baseline", "--model", tmp_path / "r", "--baseline", "constant") == 0  # opens the same data again
    assert aam("train", *words[1:], "--resume", "--max-steps", "3") == 0


def test_an_encoder_lends_its_window_to_a_fine_tuning(
    run: Path, studies: Written, ages: list[str], tmp_path: Path, capsys: Said
):
    words = [*table(studies("moved", moved)), *ages, "--pretrained", run, "--freeze", "--trim", "auto"]
    assert aam("train", *words, "--max-steps", "2", "--no-preflight", "--output-dir", tmp_path / "r") == 0
    assert "10 bases before and 2 behind them are unknown (N)" in capsys.readouterr().err
    assert read_stored(tmp_path / "r" / "last").config.data.trim == "611:100"
    assert aam("baseline", "--model", tmp_path / "r", "--baseline", "constant") == 0


def test_a_model_that_does_not_know_its_reads_gets_them_as_they_are(studies: Written, tmp_path: Path, capsys: Said):
    old, turned = save_run(tmp_path / "old"), table(studies("same", reverse_complement))
    assert aam("embed", "--model", old, *turned, "-o", tmp_path / "a.tsv") == 0
    said = capsys.readouterr().err
    assert "minus strand" in said and "turned" not in said
    assert aam("embed", "--model", old, *turned, "--trim", "auto", "-o", tmp_path / "b.tsv") == 2
    assert f"Error: --trim auto, but {old} does not record reads of 16S" in capsys.readouterr().err


def test_asvs_keep_their_ids(run: Path, studies: Written, tmp_path: Path):
    words = table(studies("same", reverse_complement))
    assert aam("embed", "--model", run, *words, "--what", "asvs", "-o", tmp_path / "a.tsv") == 0
    ids = pd.read_csv(tmp_path / "a.tsv", sep="\t", index_col=0).index
    assert set(ids) == set(read_table(words[1]).asv_ids)


def test_a_wrong_window_is_refused_in_one_line(studies: Written, run: Path, tmp_path: Path, capsys: Said):
    for trim, text in (("621", "--trim is '621', expected auto, none or START:LENGTH"), ("1200:90", "none of the")):
        assert aam("pretrain", *studies("plain", plain), *SIZE, "--trim", trim, "--dry-run") == 2
        said = capsys.readouterr().err
        assert f"Error: {text}" in said or f"Error: --trim {trim}: {text}" in said


@pytest.mark.parametrize(
    "name", ["ecam-infants", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ibd-2538", "udca-gut"))]
)
def test_real_studies_are_trimmed_once(name: str, study: Callable[[str], Path]):
    found = read_table(study(name) / "table.biom")
    some = found.select(asvs=np.arange(0, len(found.asv_ids), 10)).keep(np.ones(len(found.sample_ids), bool), "")
    once = line_up(some, Rules("625:70", "auto")).table
    again = line_up(once, Rules("625:70", "auto")).table
    changed = set(once.sequences) ^ set(again.sequences)
    assert len(changed) <= 0.005 * len(once.sequences)
