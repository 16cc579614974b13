"""Models by name: the one that ships is the default, folders win, and what is not there is told in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from generated_reference import random_reference, read_of, save_reference
from shipped_home import ship_small
from skbio import DistanceMatrix
from trained_run import save_run

import aam
from aam.atomic import read_json, write_record
from aam.cli import main
from aam.config.fields import SHIPPED
from aam.encoders import DEFAULT, REFERENCE
from aam.sklearn import AAMClassifier, AAMEncoder
from aam.workflows.model_names import VARIABLE, user_models

SAID = f"model: {DEFAULT}, which comes with aam"
TABLE = ("--table", "table.tsv")


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the encoder that ships; the current folder has a table of reads that its reference knows."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # another test may have left this reference there
    monkeypatch.delenv("AAM_REFERENCE", raising=False)
    counts = pd.DataFrame(
        np.random.default_rng(0).integers(1, 20, (12, 8)),
        index=[read_of(random_reference(40), 3 * row) for row in range(12)],
        columns=[f"s{column}" for column in range(8)],
    )
    counts.to_csv("table.tsv", sep="\t", index_label="#OTU ID")
    return ship_small(tmp_path / "home", monkeypatch)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The error, one line, of a call that ends with code 2."""

    def call(*options: str | Path) -> str:
        capsys.readouterr()
        assert main(list(map(str, options))) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error:")]
        assert len(errors) == 1
        return errors[0]

    return call


def run(*options: str | Path) -> None:
    assert main(list(map(str, options))) == 0


def test_without_a_model_the_shipped_encoder_is_used_and_named(shipped: Path, capsys):
    run("embed", *TABLE, "-o", "default.tsv")
    assert SAID in capsys.readouterr().err
    for name in (SHIPPED, DEFAULT, str(shipped)):
        run("embed", *TABLE, "--model", name, "-o", "asked.tsv")
        assert Path("asked.tsv").read_text() == Path("default.tsv").read_text()
        Path("asked.tsv").unlink()
    capsys.readouterr()
    run("distance", *TABLE, "--method", "latent-tree", "-o", "d.tsv")
    run("explain", *TABLE, "--max-samples", "2", "-o", "drivers.tsv")
    run("export", "-o", "asvs.pt2")
    assert capsys.readouterr().err.count(SAID) == 3


def test_without_a_model_distances_are_those_on_the_shipped_reference(shipped: Path, capsys):
    run("distance", *TABLE, "--metric", "weighted", "-o", "default.tsv")
    told = capsys.readouterr().err
    assert f"reference: {DEFAULT}, which comes with aam" in told and SAID not in told
    assert f"in units of the tree of the reference {DEFAULT} (40 tips)" in told
    for number, asked in enumerate((DEFAULT, SHIPPED, shipped / REFERENCE)):
        run("distance", *TABLE, "--metric", "weighted", "--reference", asked, "-o", f"{number}.tsv")
        assert DistanceMatrix.read(f"{number}.tsv") == DistanceMatrix.read("default.tsv")
    run("distance", *TABLE, "--model", DEFAULT, "-o", "learned.tsv")
    assert SAID in capsys.readouterr().err


def test_a_model_brings_its_reference(tmp_path: Path, refused, capsys):
    """The reference of the model `own` has 20 tips; placing on it is placing on its folder."""
    own = save_run(tmp_path / "mine" / "own")
    save_reference(own / REFERENCE, random_reference(20, seed=1))
    run("place", *TABLE, "--model", "own", "-o", "by-model")
    run("place", *TABLE, "--reference", own / REFERENCE, "-o", "by-folder")
    run("place", *TABLE, "-o", "by-default")
    texts = [(Path(name) / "placements.tsv").read_text() for name in ("by-model", "by-folder", "by-default")]
    assert texts[0] == texts[1] != texts[2]
    capsys.readouterr()
    run("distance", *TABLE, "--model", "own", "--method", "placement", "-o", "d.tsv")
    assert f"the reference {own / REFERENCE} (20 tips)" in capsys.readouterr().err
    said = refused("place", *TABLE, "--model", "own", "--reference", DEFAULT, "-o", "no")
    assert "--model and --reference both name a reference; leave one of them out" in said
    shutil.rmtree(own / REFERENCE)
    assert "--model own has no reference/ to place on; give --reference" in refused(
        "place", *TABLE, "--model", "own", "-o", "no"
    )


def test_a_folder_with_a_checkpoint_wins_over_a_name_and_one_without_does_not(capsys):
    Path(DEFAULT).mkdir()
    run("embed", *TABLE, "--model", DEFAULT, "-o", "a.tsv")
    run("place", *TABLE, "--reference", DEFAULT, "-o", "placed")
    told = capsys.readouterr().err
    assert SAID in told and f"reference: {DEFAULT}" in told
    Path(DEFAULT).rmdir()
    save_run(Path(DEFAULT), dim=64)
    run("embed", *TABLE, "--model", DEFAULT, "-o", "b.tsv")
    assert SAID not in capsys.readouterr().err
    assert [pd.read_csv(name, sep="\t").shape[1] - 1 for name in ("a.tsv", "b.tsv")] == [32, 64]


def test_names_of_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_run(tmp_path / "mine" / "own", dim=64)
    run("embed", *TABLE, "--model", "own", "-o", "e.tsv")
    assert pd.read_csv("e.tsv", sep="\t").shape == (8, 65)
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert user_models() == tmp_path / "data" / "aam" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_models() == tmp_path / ".local" / "share" / "aam" / "models"


def test_a_name_that_does_not_exist_suggests_the_near_one(tmp_path: Path, refused):
    save_run(tmp_path / "mine" / "own")
    said = refused("embed", *TABLE, "--model", "gg-13-9", "-o", "e.tsv")
    assert said == (
        "Error: gg-13-9: no checkpoint here, and no model of this name; did you mean 'gg-13-8'? (there are gg-13-8, "
        "own; `aam models` lists them)"
    )
    train = ("train", *TABLE, "--metadata", "table.tsv", "--target", "x")
    assert "did you mean 'gg-13-8'?" in refused(*train, "--pretrained", "gg138", "--output-dir", "no")
    assert "did you mean 'shipped'?" in refused(*train, "--pretrained", "shiped", "--output-dir", "no")
    assert "did you mean 'own'?" in refused("predict", *TABLE, "--model", "owm", "-o", "p.tsv")
    assert "no model of this name (there are" in refused("pretrain", "--example", "--pretrained", "x", "--dry-run")


def test_a_path_that_holds_no_model_is_no_name(refused):
    Path("empty").mkdir()
    for path in ("empty", ".", "../none", "empty/run", "/nowhere/run"):
        said = refused("embed", *TABLE, "--model", path, "-o", "e.tsv")
        assert f"{path}: no checkpoint here, expected a run directory with best/ or last/; check the path" in said


def test_changed_files_of_the_package_say_to_install_it_again(shipped: Path, refused):
    def spoil(name: str) -> Path:
        content = (shipped / name).read_bytes()
        (shipped / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        return shipped / name

    again = "it has changed since it was written; install aam again: pip install"
    weights, alignment = spoil("model.safetensors"), spoil("reference/alignment.txt.xz")
    said = refused("embed", *TABLE, "-o", "e.tsv")
    assert f"{weights}: SHA-256 is " in said and "…, expected " in said and again in said
    said = refused("place", *TABLE, "-o", "placed")
    assert f"{alignment} has SHA-256 " in said and "…, expected " in said and again in said
    weights.write_bytes(b"")
    assert again in refused("embed", *TABLE, "-o", "e.tsv")
    weights.unlink()
    assert f"{weights} is missing; install aam again" in refused("embed", *TABLE, "-o", "e.tsv")


@pytest.mark.slow
def test_training_starts_from_it(shipped: Path, capsys):
    pd.DataFrame({"y": range(8)}, index=pd.Index([f"s{row}" for row in range(8)], name="sample-id")).to_csv(
        "metadata.tsv", sep="\t"
    )
    asked = ("train", *TABLE, "--metadata", "metadata.tsv", "--target", "y", "--max-steps", "2", "--no-preflight")
    run(*asked, "--pretrained", SHIPPED, "--freeze", "--output-dir", "labels")
    assert SAID in capsys.readouterr().err
    manifest = json.loads(Path("labels/manifest.json").read_text())
    assert manifest["config"]["head"]["pretrained"] == str(shipped) and manifest["config"]["model"]["dim"] == 32
    asked = ("pretrain", "--pretrained", DEFAULT, "--reference", SHIPPED, "--no-preflight", "--output-dir", "tips")
    run(*asked, "--max-steps", "2", "--reference-tips", "16")
    run(*asked, "--max-steps", "3", "--reference-tips", "16", "--resume")
    told = capsys.readouterr().err
    assert told.count(SAID) == told.count(f"reference: {DEFAULT}, which comes with aam") == 2


def test_models_lists_what_ships_what_is_the_users_and_runs_here(tmp_path: Path, shipped: Path, capsys):
    (shipped / "card.json").write_text(json.dumps({"metrics": {"unifrac_r2": 0.5, "steps": 9}}))
    save_run(tmp_path / "mine" / "own", dim=64)
    (save_run(Path("run")) / "metrics.json").write_text('{"faith_pd_r2": 0.25, "unifrac_r2": NaN}')
    Path("folder").mkdir()
    run("models")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["name", "where", "kind"],
        [DEFAULT, "shipped", "encoder"],
        ["own", "yours", "encoder"],
        ["run", "here", "encoder"],
    ]
    assert "unifrac_r2 0.500" in lines[1] and "steps" not in lines[1]
    assert "not recorded" in lines[2] and " 64 " in lines[2] and "faith_pd_r2 0.250" in lines[3]
    run("models", "--json")
    records = json.loads(capsys.readouterr().out)
    assert [record["folder"] for record in records] == [str(shipped), str(tmp_path / "mine" / "own"), "run"]
    weights = torch.nn.utils.parameters_to_vector(aam.open_model("own").model.parameters())
    assert records[1]["parameters"] == len(weights) + buffers(aam.open_model("own").model)


def buffers(model: torch.nn.Module) -> int:
    """Numbers that a file of weights has besides the parameters."""
    return sum(tensor.numel() for tensor in model.state_dict().values()) - sum(p.numel() for p in model.parameters())


def test_a_model_that_cannot_be_read_is_left_out_of_the_list(capsys):
    broken = save_run(Path("broken")) / "best" / "config.json"
    about = read_json(broken)
    about["model"]["dimm"] = about["model"].pop("dim")
    write_record(broken, about)
    run("models")
    told = capsys.readouterr()
    assert "broken" not in told.out and DEFAULT in told.out
    assert "Warning: broken is left out: " in told.err and "unknown key 'dimm'; did you mean 'dim'?" in told.err


def test_from_python(tmp_path: Path, shipped: Path):
    save_run(tmp_path / "mine" / "own", dim=64)
    assert aam.open_model().config.model.dim == 32 and aam.open_model("own").config.model.dim == 64
    listed = aam.list_models()
    assert list(listed.index) == [DEFAULT, "own"] and list(listed["place"]) == ["shipped", "yours"]
    assert list(listed["width"]) == [32, 64]
    embedded = aam.embed("table.tsv")
    pd.testing.assert_frame_equal(embedded, aam.embed("table.tsv", model=shipped))
    placed = aam.place("table.tsv", model=DEFAULT).placements
    pd.testing.assert_frame_equal(placed, aam.place("table.tsv").placements)
    assert aam.distance("table.tsv", model="own").shape == (8, 8)


def test_in_scikit_learn(shipped: Path):
    counts = aam.read_table(Path("table.tsv")).to_frame()
    found = AAMEncoder().fit_transform(counts)
    np.testing.assert_allclose(found, aam.embed("table.tsv").loc[counts.index], atol=1e-5)
    labels = np.array(["a", "b"] * 4)
    classifier = AAMClassifier(SHIPPED, freeze=True, max_steps=2).fit(counts, labels)
    assert classifier.pretrained == SHIPPED and classifier.config_.model.dim == 32
