"""What ships: complete, small, without paths of the machine it was made on; and the script that puts it there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from generated_reference import random_reference, save_reference
from loaded_script import load_script
from safetensors.torch import load_file, save_file
from trained_run import save_run

import aam
from aam.checkpoint import open_model
from aam.cli import main
from aam.datasets import example
from aam.encoders import DEFAULT, REFERENCE, shipped_models, shipped_name
from aam.errors import CheckpointError, ReferenceFolderError
from aam.inference.known_asvs import KNOWN
from aam.inference.scales import SCALES
from aam.io.files import digest
from aam.models.placer import Placer
from aam.models.storage import in_half_size
from aam.placement.learned import LearnedPlacer
from aam.placement.placer_file import WEIGHTS, read_placer, write_placer
from aam.placement.store import open_reference
from aam.stored import CONFIG, MODEL

ROOT = Path(__file__).parents[2]
MODELS = shipped_models()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("scripts/ship_encoder.py")


def test_the_default_ships() -> None:
    assert DEFAULT in MODELS
    assert shipped_name(MODELS[DEFAULT] / REFERENCE) == DEFAULT and shipped_name(Path(DEFAULT)) is None


@pytest.mark.parametrize("name", MODELS)
def test_an_encoder_is_complete_and_small(name: str) -> None:
    folder = MODELS[name]
    config = json.loads((folder / CONFIG).read_text())
    assert {file: digest(folder / file) for file in config["sha256"]} == config["sha256"]
    assert config["sha256"].keys() == {MODEL, KNOWN, SCALES}
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) <= 12_000_000
    assert (folder / MODEL).stat().st_size <= 10_000_000
    files = [path for path in (folder / REFERENCE).iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    record = json.loads((folder / REFERENCE / "reference.json").read_text())
    for file, known in record["files"].items():
        assert digest(folder / REFERENCE / file) == known["sha256"]
    assert {path.name for path in files} == {
        *record["files"], "reference.json", "placer.json", WEIGHTS, "ATTRIBUTION.md"
    }  # fmt: skip
    assert "CC BY-SA 3.0" in (folder / REFERENCE / "ATTRIBUTION.md").read_text()


@pytest.mark.parametrize("name", MODELS)
def test_an_encoder_names_no_path(name: str) -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for each in value.values() for text in texts(each)]
        if isinstance(value, list):
            return [text for each in value for text in texts(each)]
        return [value] if isinstance(value, str) else []

    for file in (CONFIG, SCALES):
        found = [text for text in texts(json.loads((MODELS[name] / file).read_text())) if "/" in text]
        assert not found, f"{file}: {found}"


def test_the_whole_way_on_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The true encoder and the true reference, which take seconds to open for the first time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AAM_REFERENCE", raising=False)
    assert main(["embed", "--example", "-o", "samples.tsv"]) == 0
    width = aam.open_model().config.model.dim
    assert pd.read_csv("samples.tsv", sep="\t", index_col=0).shape == (190, width)
    asvs = aam.read_table(example().table).sequences[:5]
    Path("asvs.fasta").write_text("".join(f">{number}\n{asv}\n" for number, asv in enumerate(asvs)))
    assert main(["place", "--sequences", "asvs.fasta", "-o", "placed"]) == 0
    assert f"reference: {DEFAULT}, which comes with aam" in capsys.readouterr().err
    taxa = Path("placed/taxonomy.tsv").read_text().splitlines()[1:]
    assert len(taxa) == 5 and all("k__Bacteria; p__" in line for line in taxa)


def test_matrices_are_halved_and_vectors_are_not() -> None:
    """bfloat16 has 8 bits of mantissa: a rounded number is off by at most 2^-8 of itself."""
    given = {"matrix": torch.randn(40, 30), "bias": torch.randn(30), "steps": torch.tensor([[1, 2]])}
    found = in_half_size(given)
    assert found["matrix"].dtype == torch.bfloat16
    assert ((found["matrix"].float() - given["matrix"]).abs() <= given["matrix"].abs() * 2**-8).all()
    assert torch.equal(found["bias"], given["bias"]) and torch.equal(found["steps"], given["steps"])
    layer = torch.nn.Linear(30, 40)
    layer.load_state_dict({"weight": found["matrix"], "bias": torch.zeros(40)})
    assert layer.weight.dtype == torch.float32 and torch.equal(layer.weight, found["matrix"].float())


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """A reference with a network that has learned nothing."""
    folder = save_reference(tmp_path / "reference", random_reference(20))
    torch.manual_seed(0)
    before = os.umask(0o027)
    write_placer(folder, LearnedPlacer(Placer(1739, 16, 2, 1).eval(), 8))
    os.umask(before)
    return folder


def test_what_was_learned_follows_the_umask(learned: Path) -> None:
    assert (learned / WEIGHTS).stat().st_mode & 0o777 == 0o640


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run with all that its end writes, whose configuration has paths."""
    run = save_run(tmp_path / "run", table=Path("/data/t.biom"), tree=Path("/data/t.nwk"), reference=Path("/data/gg"))
    rows = np.zeros(1, np.dtype([("hash", "<u8"), ("study", "<u4"), ("prevalence", "<f4")]))
    np.save(run / "best" / KNOWN, rows)
    (run / "best" / SCALES).write_text(json.dumps({"faith_pd": 1.5, "lines": {}}))
    return run


def test_a_run_is_put_into_a_folder(script: ModuleType, finished: Path, learned: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ships"
    (folder / REFERENCE).mkdir(parents=True)
    (folder / REFERENCE / "ATTRIBUTION.md").write_text("ours")
    size = script.ship_reference(learned, folder)
    assert size == sum(path.stat().st_size for path in (folder / REFERENCE).iterdir() if path.is_file())
    script.ship_encoder(finished, folder, script.Card({"region": "any"}, "# A card\n"))
    assert {path.name for path in folder.iterdir()} == {
        REFERENCE, MODEL, CONFIG, KNOWN, SCALES, "card.json", "card.md"
    }  # fmt: skip
    config = json.loads((folder / CONFIG).read_text())
    assert config["data"]["table"] is None and config["data"]["tree"] is None and config["tips"]["reference"] is None
    assert config["run"]["output_dir"] == "aam-run" and "/data" not in (folder / CONFIG).read_text()
    assert config["data"]["example"] is True and config["model"]["dim"] == 32
    whole, half = (open_model(path).model.state_dict() for path in (finished, folder))
    for name, tensor in whole.items():
        assert ((half[name] - tensor).abs() <= tensor.abs() * 2**-8).all()
    assert open_reference(folder / REFERENCE).codes.shape == (1739, 20)
    assert read_placer(folder / REFERENCE) is not None
    script.ship_encoder(finished, folder, half=False)
    kept = load_file(folder / MODEL)
    assert all(torch.equal(kept[name], tensor) for name, tensor in whole.items())


def test_what_cannot_ship_is_refused(
    script: ModuleType, finished: Path, learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ReferenceFolderError, match=r"ATTRIBUTION.md is missing; write whose reference it is"):
        script.ship_reference(learned, tmp_path / "ships")
    (tmp_path / "ships" / REFERENCE / "ATTRIBUTION.md").write_text("ours")
    monkeypatch.setattr(script, "MOST_REFERENCE", 1000)
    with pytest.raises(ReferenceFolderError, match=r"bytes, expected at most 1,000"):
        script.ship_reference(learned, tmp_path / "ships")
    monkeypatch.setattr(script, "MOST_WEIGHTS", 1000)
    with pytest.raises(CheckpointError, match=r"model.safetensors has [\d,]+ bytes, expected at most 1,000"):
        script.ship_encoder(finished, tmp_path / "ships")
    (finished / "best" / SCALES).unlink()
    with pytest.raises(CheckpointError, match="has no scales.json, which the end of a run writes"):
        script.ship_encoder(finished, tmp_path / "ships")


def test_a_folder_without_a_known_network_is_told(learned: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(learned, tmp_path / "copy")
    save_file({"other": torch.zeros(1)}, copy / WEIGHTS)
    with pytest.raises(ReferenceFolderError, match=r"its SHA-256 is \w{12}…, expected \w{12}…; remove both placer"):
        read_placer(copy)
