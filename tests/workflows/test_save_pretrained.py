"""A saved model is the model of the run, without what is private to the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from trained_run import save_run

import aam
from aam.checkpoint import open_model
from aam.encoders import CARD
from aam.errors import CheckpointError, ConfigError
from aam.folders import BEST
from aam.inference.known_asvs import KNOWN
from aam.inference.scales import SCALES
from aam.report.model_card import CardFacts
from aam.stored import MODEL
from aam.workflows.save_pretrained import save_pretrained


def test_a_saved_model_has_the_weights_of_the_run_and_only_what_is_needed(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run")
    (run / BEST / SCALES).write_text("{}")
    (run / BEST / KNOWN).write_bytes(b"as it is")
    folder = aam.save_pretrained(run, tmp_path / "saved")
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", MODEL, KNOWN, SCALES, "card.json", "card.md"}
    before, after = open_model(run).model.state_dict(), aam.from_pretrained(folder).model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert (folder / KNOWN).read_bytes() == b"as it is"


def test_paths_of_this_machine_stay_behind(tmp_path: Path) -> None:
    run = save_run(
        tmp_path / "run",
        example=False,
        table="/data/private/t.biom",
        tree="/data/private/t.nwk",
        output_dir="/data/private/r",
    )
    folder = save_pretrained(run, tmp_path / "saved")
    assert "/data/private" not in "".join(path.read_text() for path in folder.glob("*.json"))
    data = json.loads((folder / "config.json").read_text())["data"]
    assert (data["table"], data["tree"]) == ("t.biom", "t.nwk")


def test_bf16_rounds_matrices_to_half_the_space(run: Path, tmp_path: Path) -> None:
    whole, half = (save_pretrained(run, tmp_path / str(bf16), bf16=bf16) for bf16 in (False, True))
    assert (half / MODEL).stat().st_size < 0.6 * (whole / MODEL).stat().st_size
    true, rounded = load_file(whole / MODEL), aam.from_pretrained(half).model.state_dict()
    for name, tensor in true.items():
        expected = tensor.bfloat16().float() if tensor.ndim > 1 else tensor
        assert torch.equal(rounded[name], expected) and rounded[name].dtype == torch.float32, name


def test_a_saved_model_can_be_saved_on_with_its_card(run: Path, tmp_path: Path) -> None:
    first = save_pretrained(run, tmp_path / "first", CardFacts(name="gut", licence="MIT", limits=("18S",)))
    second = save_pretrained(first, tmp_path / "second", CardFacts(licence="CC BY 4.0"))
    cards = [json.loads((folder / CARD).read_text()) for folder in (first, second)]
    assert cards[1] == cards[0] | {"licence": "CC BY 4.0"}


def test_saving_again_replaces_the_model_and_keeps_its_reference(run: Path, tmp_path: Path) -> None:
    folder = save_pretrained(run, tmp_path / "saved")
    (folder / "reference").mkdir()
    (folder / "reference" / "tree.nwk.xz").write_bytes(b"")
    other = save_run(tmp_path / "other", dim=16)
    save_pretrained(other, folder)
    assert open_model(folder).config.model.dim == 16 and (folder / "reference" / "tree.nwk.xz").exists()


def test_the_reference_of_a_model_goes_with_it_without_its_cache(run: Path, tmp_path: Path) -> None:
    folder = save_pretrained(run, tmp_path / "saved")
    (folder / "reference" / "cache").mkdir(parents=True)
    for name in ("reference.json", "tree.nwk.xz", "ATTRIBUTION.md", "cache/codes.npy", "note.pkl"):
        (folder / "reference" / name).write_bytes(b"x")
    second = save_pretrained(folder, tmp_path / "second")
    assert sorted(path.name for path in (second / "reference").iterdir()) == [
        "ATTRIBUTION.md", "reference.json", "tree.nwk.xz",
    ]  # fmt: skip


def test_a_cross_validated_run_keeps_its_models_apart(run: Path, tmp_path: Path) -> None:
    several = tmp_path / "several"
    for seed, fold in enumerate(("fold-1", "fold-2")):
        save_run(several / fold, dim=16 * (seed + 1))
    (several / "calibration.json").write_text("{}")
    folder = save_pretrained(several, tmp_path / "saved")
    assert [open_model(folder / fold).config.model.dim for fold in ("fold-1", "fold-2")] == [16, 32]
    assert json.loads((folder / CARD).read_text())["models"] == 2 and (folder / "calibration.json").exists()
    save_pretrained(run, folder)  # a single model takes their place
    assert not list(folder.glob("fold-*")) and open_model(folder)


def test_a_folder_with_anything_else_is_refused_and_stays_as_it_is(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds thesis\.docx, expected an earlier saved model or nothing"):
        save_pretrained(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]
    with pytest.raises(ConfigError, match=r"holds training\.safetensors"):
        save_pretrained(run, save_run(tmp_path / "other") / BEST)
    saved = save_pretrained(run, tmp_path / "saved")
    with pytest.raises(ConfigError, match="the model itself"):
        save_pretrained(saved, saved)


def test_damaged_weights_are_refused_before_an_earlier_model_is_replaced(run: Path, tmp_path: Path) -> None:
    folder, other = save_pretrained(run, tmp_path / "saved"), save_run(tmp_path / "other")
    weights = other / BEST / MODEL
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7e")
    with pytest.raises(CheckpointError, match="SHA-256"):
        save_pretrained(other, folder)
    assert open_model(folder)
