"""The health commands and switches from real command lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from aam import cli
from aam.checkpoint import load_checkpoint, save_checkpoint

SIZE = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--token-limit", "32", "--max-bp", "50"]
SIZE += ["--device", "cpu"]
BLOCK = "sample_encoder.transformer.blocks.0.feed.0.weight"


def aam(*arguments: str | Path) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps with a bundle of its third, every debug switch from the environment off."""
    folder = tmp_path_factory.mktemp("health") / "run"
    patch = pytest.MonkeyPatch()
    patch.setenv("AAM_NAN_DEBUG", "1")
    done = aam("pretrain", "--example", *SIZE, "--max-steps", 4, "--bundle-step", 3, "--output-dir", folder)
    patch.undo()
    assert done == 0
    return folder


def test_what_a_healthy_run_says_of_its_health(trained: Path):
    manifest, metrics = (json.loads((trained / name).read_text()) for name in ("manifest.json", "metrics.json"))
    assert manifest["switches"]["nan_debug"] == {"value": True, "source": "AAM_NAN_DEBUG=1"}
    assert manifest["switches"]["anomaly_detect"] == {"value": False, "source": "config"}
    assert manifest["config"]["health"]["nan_debug"] is True and manifest["health"]["interventions"] == {}
    assert (metrics["interventions"], metrics["quarantined"]) == (0, 0)
    assert (
        "0 interventions in 4 steps; 0 spikes; 150 samples = 150 kept + 0 quarantined"
        in (trained / "summary.txt").read_text()
    )


def test_the_ledger_of_a_run(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert aam("ledger", "show", trained) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [
        "table sample 190 = 188 kept + 2 lost", "table asv 310 = 310 kept + 0 lost",
        "training sample 150 = 150 kept + 0 lost",
    ]  # fmt: skip
    assert "(asked for)" in lines[3]


def test_replay_of_a_bundle(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert aam("replay", trained / "bundles" / "step-3" / "bundle.safetensors", "--locate") == 0
    found = capsys.readouterr().out
    assert found.count("same bits") == 3 and "all finite in" in found
    assert aam("replay", trained / "best" / "model.safetensors") == 2
    assert "not a readable replay bundle" in capsys.readouterr().err


def test_a_fault_has_an_exit_code_of_its_own(pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A checkpoint with a huge weight, finite as it is, taken up again."""
    run = Path(shutil.copytree(pretrained, tmp_path / "run"))
    stored = load_checkpoint(run / "last")
    stored.model[BLOCK][0] = 3e38
    save_checkpoint(run / "last", stored)
    capsys.readouterr()
    assert aam("pretrain", "--resume", "--max-steps", 4, "--output-dir", run) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("Error: step 3: ") and "sample_encoder.transformer.blocks.0" in lines[-1]
    report = run / "faults" / "step-3" / "report.txt"
    assert str(report) in lines[-1] and "verdict: algorithm" in report.read_text()
    assert aam("replay", report.with_name("bundle.safetensors")) == 0
    assert json.loads((run / "manifest.json").read_text())["health"]["steps"] == 2


@pytest.mark.parametrize("command", [["ledger", "show", "."], ["pretrain", "--example"], ["unifrac", "--example"]])
def test_unknown_switches_are_refused(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AAM_NAN_DEBG", "1")
    assert aam(*command) == 2
    assert "AAM_NAN_DEBG; did you mean 'AAM_NAN_DEBUG'?" in capsys.readouterr().err


def test_preflight(capsys: pytest.CaptureFixture[str]):
    assert aam("preflight", "--example", *SIZE, "--seconds", "4") == 0
    found = capsys.readouterr().out
    assert found.count("\nok ") + found.startswith("ok ") >= 12 and "FAULT" not in found
    assert "of the frequencies + var/2" in found


def test_preflight_refuses_what_cannot_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A learning rate with which no weight moves, and that before anything is written."""
    run = ["--example", *SIZE, "--lr", "1e-12"]
    assert aam("preflight", *run, "--seconds", "3", "--max-steps", 500) == 3
    assert "FAULT    learning rate" in capsys.readouterr().out
    assert aam("pretrain", *run, "--max-steps", 500, "--output-dir", tmp_path / "run") == 3
    assert "--no-preflight starts without them" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--faith-pd-weight", 0, "--count-weight", 0, "--masked-asv-weight", 0], marks=pytest.mark.slow),
        pytest.param(["--nucleotide-weight", 0, "--patristic-weight", 0, "--hidden-asvs", 0], marks=pytest.mark.slow),
        pytest.param(
            ["--asv-encoder", "mlp", "--unifrac-head", "euclidean", "--precision", "bf16"], marks=pytest.mark.slow
        ),
        ["--precision", "fp16", "--unifrac-metric", "weighted", "--dropout", 0],
    ],
)
def test_preflight_raises_no_alarm_at_sound_configurations(
    options: list[str | float], capsys: pytest.CaptureFixture[str]
):
    assert aam("preflight", "--example", *SIZE, "--seconds", "1.5", *options) == 0, capsys.readouterr().out


def test_precision_of_a_run_and_of_a_fresh_model(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert aam("precision", trained) == 0
    found = capsys.readouterr().out
    assert "precision: float16 is fine" in found and "precision: bfloat16 is fine" in found
    assert aam("precision", "--example", *SIZE, "--batch", "2") == 0


def test_a_step_of_a_fine_tuning_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AAM_ANOMALY_DETECT", "1")
    run = tmp_path / "run"
    task = ["--target", "age_months", "--max-steps", 2, "--bundle-step", 2, "--head-dropout", 0.3, "--no-preflight"]
    assert aam("train", "--example", *SIZE, *task, "--output-dir", run) == 0
    assert "147 samples = 147 kept + 0 quarantined" in capsys.readouterr().err
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["switches"]["anomaly_detect"]["source"] == "AAM_ANOMALY_DETECT=1"
    assert manifest["health"]["held-out"]["steps"] == 2
    assert aam("replay", run / "bundles" / "step-2" / "bundle.safetensors") == 0
    assert capsys.readouterr().out.count("same bits") == 3
