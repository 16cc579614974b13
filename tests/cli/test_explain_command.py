"""`aam explain` from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam.cli import main


def test_table_figure_and_check(run: Path, folder: Path, capsys):
    (folder / "tree.nwk").write_text("((TTTT:1,CCCC:2):1,(GGGG:4,AAAA:5):3):0.5;")
    options = ["--model", str(run), "--table", "table.tsv", "--tree", "tree.nwk", "-o", "drivers.tsv"]
    assert main(["explain", *options]) == 0
    frame = pd.read_csv("drivers.tsv", sep="\t", index_col="feature-id")
    assert list(frame["rank"]) == [1, 2, 3, 4] and frame["share"].is_monotonic_decreasing
    assert frame["share"].sum() == pytest.approx(1, abs=1e-4)
    assert frame["samples"].to_dict() == {"AAAA": 2, "CCCC": 2, "GGGG": 2, "TTTT": 1}
    assert frame["tree_position"].sort_values().index.tolist() == ["TTTT", "CCCC", "GGGG", "AAAA"]
    assert Path("drivers.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(Path("drivers.json").read_text())
    assert list(found["deletion"]) == ["1", "2"] and found["deletion"]["2"]["samples"] == 1
    assert "leading ASVs" in capsys.readouterr().out


def test_lineages_of_a_taxonomy_name_the_asvs(run: Path, folder: Path, capsys):
    taxa = {"AAAA": "k__B; p__F; c__; o__; f__; g__Blautia; s__obeum", "CCCC": "k__B; p__F", "TTTT": "Unassigned"}
    (folder / "taxonomy.tsv").write_text(
        "Feature ID\tTaxon\n" + "".join(f"{asv}\t{name}\n" for asv, name in taxa.items())
    )
    given = ["--model", str(run), "--table", "table.tsv", "--taxonomy", "taxonomy.tsv", "-o", "drivers.tsv"]
    assert main(["explain", *given]) == 0
    frame = pd.read_csv("drivers.tsv", sep="\t", index_col="feature-id", keep_default_na=False)
    assert frame["taxon"].to_dict() == taxa | {"GGGG": ""}
    told = capsys.readouterr()
    assert "without a lineage in taxonomy.tsv: 1 ASV of 4" in told.err
    leading = told.out.split("\n\n")[1]
    named = ("  g__Blautia s__obeum AAAA ", "  p__F CCCC ", "  GGGG ")
    assert [name for name in named if name not in leading] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "d.tsv", "--taxonomy", "other.tsv"], "other.tsv: none of the 4 ASVs has a lineage, e.g. 'CCCC'"),
        (["-o", "d.csv"], "found the ending '.csv', expected .tsv"),
        (["-o", "there.tsv"], "--output there.png: the file exists"),
        (["-o", "d.tsv", "--max-samples", "0"], "--max-samples is 0, expected at least 1"),
        (["-o", "d.tsv", "--of", "age"], "is a pretrained encoder; leave it out"),
    ],
)
def test_refused_with_code_2_and_nothing_written(run: Path, folder: Path, refusal, options: list[str], message: str):
    (folder / "there.png").write_text("x")
    (folder / "other.tsv").write_text("x\tk__B; p__F\n")
    assert message in refusal("explain", options, model=run, table="table.tsv")


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on labels that one ASV decides: 2 folds of 60 samples with 5 of 11 ASVs each, `ill` where the first is in.

    It sits beside its table, whose first feature is that ASV.
    """
    folder, rng = tmp_path_factory.mktemp("decided"), np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(12)]
    counts = np.zeros((60, 12), dtype=int)
    for row in range(60):
        carried = np.r_[np.zeros(row % 2, dtype=int), rng.permutation(np.arange(1, 12))[:5]]
        counts[row, carried] = rng.integers(20, 60, len(carried))
    ids = [f"s{row}" for row in range(60)]
    pd.DataFrame(counts.T, index=pd.Index(sequences, name="#OTU ID"), columns=ids).to_csv(folder / "t.tsv", sep="\t")
    state = pd.Series(["well", "ill"] * 30, index=pd.Index(ids, name="sample-id"), name="state")
    state.to_csv(folder / "m.tsv", sep="\t")
    size = ["--preset", "tiny", "--max-bp", "40", "--head-dim", "16", "--device", "cpu", "--rarefy-depth", "none"]
    asked = ["--table", str(folder / "t.tsv"), "--metadata", str(folder / "m.tsv"), "--target", "state", "--folds", "2"]
    asked += ["--task", "classification", "--max-steps", "40", "--epochs", "40", "--lr", "0.003", *size]
    assert main(["train", *asked, "--output-dir", str(folder / "run")]) == 0
    return folder / "run"


def test_the_asv_that_decides_the_class_leads(decided: Path, tmp_path: Path, capsys):
    table = decided.parent / "t.tsv"
    first = pd.read_csv(table, sep="\t", index_col=0).index[0]
    asked = ["explain", "--model", str(decided), "--table", str(table)]
    assert main([*asked, "--of", "ill", "-o", str(tmp_path / "ill.tsv")]) == 0
    frame = pd.read_csv(tmp_path / "ill.tsv", sep="\t", index_col="feature-id")
    assert frame.index[0] == first and frame["share"].iloc[0] > 3 * frame["share"].iloc[1]
    assert frame.loc[first, "attribution"] > 0 and frame.loc[first, "samples"] == 30
    found = json.loads((tmp_path / "ill.json").read_text())
    assert found["explained"] == "log-odds of state being ill" and found["models"] == 2
    changes = found["deletion"]["1"]["mean_change"]
    assert changes["integrated gradients"] > 1.5 * changes["random"]
    assert "log-odds of state being ill" in capsys.readouterr().out
    one_fold = ["explain", "--model", str(decided / "fold-2"), "--table", str(table), "-o", str(tmp_path / "well.tsv")]
    assert main(one_fold) == 0  # by default the last class
    frame = pd.read_csv(tmp_path / "well.tsv", sep="\t", index_col="feature-id")
    assert frame.index[0] == first and frame.loc[first, "attribution"] < 0


def test_samples_that_the_run_left_out_are_not_explained(decided: Path, tmp_path: Path, capsys):
    """Ten samples of the run among 40 others, whose ASVs are the same; and of these at most four."""
    frame = pd.read_csv(decided.parent / "t.tsv", sep="\t", index_col=0)
    frame = frame[[f"s{row}" for row in range(50)]].rename(columns={f"s{row}": f"other{row}" for row in range(10, 50)})
    frame.to_csv(tmp_path / "some.tsv", sep="\t")
    asked = ["explain", "--model", str(decided), "--table", str(tmp_path / "some.tsv"), "--max-samples", "4"]
    assert main([*asked, "-o", str(tmp_path / "drivers.tsv")]) == 0
    said = capsys.readouterr()
    assert "explains the 10 samples of the run, of 50 in the table\n" in said.err
    assert "explains 4 of 10 samples, drawn by --seed; --max-samples takes more\n" in said.err
    assert json.loads((tmp_path / "drivers.json").read_text())["explained_samples"] == 4
    assert "effect" in said.out and "lowers" in said.out
    strange = frame.rename(columns={f"s{row}": f"new{row}" for row in range(10)})
    strange.to_csv(tmp_path / "strange.tsv", sep="\t")
    asked[4] = str(tmp_path / "strange.tsv")
    assert main([*asked, "-o", str(tmp_path / "others.tsv")]) == 0
    assert "explains 4 of 50 samples" in capsys.readouterr().err


def test_what_the_other_commands_make_of_a_model_of_labels(decided: Path, tmp_path: Path, capsys):
    asked = ["--model", str(decided), "--table", str(decided.parent / "t.tsv"), "-o", str(tmp_path / "x.tsv")]
    assert main(["embed", *asked]) == 0
    assert "embedded by the model of fold-1, one of 2" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "x.tsv", sep="\t").shape == (60, 33)
    (tmp_path / "x.tsv").unlink()
    for command in (["distance"], ["embed", "--what", "branches"]):
        assert main([*command, *asked]) == 2
        assert "a model of `aam train`, which has learned state and no longer UniFrac" in capsys.readouterr().err
    assert main(["explain", *asked, "--of", "dead"]) == 2
    assert "--of is 'dead', but the classes of this model are 'ill', 'well'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
