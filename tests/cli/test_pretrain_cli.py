"""`aam pretrain` from end to end: what a run leaves behind, how it goes on, and how it stops."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from generated_samples import community, write_files
from processes import wait_for

from aam import cli
from aam.checkpoint import open_model
from aam.config import DataConfig, PretrainConfig, RunConfig
from aam.corpus.dataset import Draw
from aam.corpus.pretraining import open_corpus
from aam.inference.known_asvs import KNOWN
from aam.inference.scales import SCALES
from aam.training.manifest import read_config

SIZE = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--token-limit", "64", "--device", "cpu"]
METRICS = {
    "nucleotide_accuracy", "nucleotide_cross_entropy", "nucleotide_consensus_accuracy", "unifrac_r2", "unifrac_mae",
    "unifrac_pearson", "baseline_jaccard_r2", "baseline_upgma_r2", "baseline_upgma_mae", "samples_train",
    "samples_validation", "steps", "seconds", "samples_per_second", "peak_memory_bytes",
}  # fmt: skip
"""Names that scripts of users read."""
WHOLE = Draw(depth=None, token_limit=None, selection="abundance", seed=0)
FILES = {
    "best", "last", "metrics.json", "curves.png", "unifrac.png", "manifest.json", "log.jsonl", "samples_train.txt",
    "samples_validation.txt", "summary.txt", "tensorboard",
}  # fmt: skip


def pretrain(*options: str | Path) -> int:
    return cli.main(["pretrain", *map(str, options)])


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., int]:
    """`small(folder, *options)` pretrains two steps on a generated table; its files lie in tmp_path."""
    write_files(community(samples=12, asvs=30, richness=8), tmp_path)

    def run(folder: str, *options: str | Path) -> int:
        data = ["--table", tmp_path / "table.tsv", "--batch-size", "4", "--max-steps", "2", *SIZE, "--no-preflight"]
        return pretrain(*data, "--output-dir", tmp_path / folder, *options)

    return run


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_is_promised(finished: Path):
    assert {path.name for path in finished.iterdir()} >= FILES
    for name in ("curves.png", "unifrac.png"):
        assert (finished / name).read_bytes().startswith(b"\x89PNG") and (finished / name).stat().st_size > 5000
    best, last = ({path.name for path in (finished / name).iterdir()} for name in ("best", "last"))
    assert best == last | {KNOWN, SCALES}
    assert not list(finished.rglob("*partial*")) and not list(finished.rglob("*.old"))


def test_metrics_hold_every_promised_name_and_numbers(finished: Path):
    metrics = read(finished / "metrics.json")
    assert set(metrics) >= METRICS
    assert all(np.isfinite(metrics[name]) for name in METRICS)
    assert metrics["steps"] == 4 and metrics["samples_train"] + metrics["samples_validation"] <= 190
    assert 0 <= metrics["nucleotide_accuracy"] <= 1 and metrics["peak_memory_bytes"] > 50e6


def test_the_log_has_every_loss_term_by_itself(finished: Path):
    lines = log(finished)
    terms = {"loss", "nucleotide", "unifrac", "euclidean", "patristic", "faith_pd", "masked_asv", "count"}
    train = [line for line in lines if line["kind"] == "train"]
    held_out = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in held_out] == [2, 4] and train[-1]["step"] == 4
    assert set(train[0]) >= terms | {"grad_norm", "learning_rate", "samples_per_second", "asvs_per_second"}
    assert set(held_out[0]) >= terms | {"unifrac_r2", "nucleotide_accuracy"}


def test_the_manifest_says_what_the_run_was(finished: Path):
    manifest = read(finished / "manifest.json")
    config = read_config(PretrainConfig, finished)
    assert config.run.max_steps == 4 and config.model.branches == 16 and manifest["seed"] == 0
    assert {"aam", "python", "torch", "numpy", "scikit-bio"} <= set(manifest["versions"])
    assert {"table", "tree"} <= set(manifest["data"]) and len(manifest["data"]["table"]["sha256"]) == 64
    assert config == open_model(finished)[1]


def test_the_split_is_written_down_and_can_be_given(finished: Path):
    train, validation = ((finished / f"samples_{side}.txt").read_text().split() for side in ("train", "validation"))
    metrics = read(finished / "metrics.json")
    assert (len(train), len(validation)) == (metrics["samples_train"], metrics["samples_validation"])
    assert set(train).isdisjoint(validation)
    data = DataConfig(example=True, validation_samples=finished / "samples_validation.txt")
    again = open_corpus(PretrainConfig(data=data, run=RunConfig(seed=5))).split
    assert (again.train, again.validation) == (train, validation)


def test_the_summary_is_the_last_thing_said(small: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture):
    assert small("run", "--tree", tmp_path / "tree.nwk") == 0
    said = capsys.readouterr()
    assert said.out.strip() == (tmp_path / "run" / "summary.txt").read_text().strip()
    for word in ("calibrated Jaccard", "calibrated UPGMA", "consensus", "best", "curves.png", "metrics.json"):
        assert word in said.out
    assert "Traceback" not in said.err


def test_a_finished_run_goes_on(finished: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    assert pretrain("--resume", "--output-dir", folder, "--max-steps", "6") == 0
    assert read(folder / "metrics.json")["steps"] == 6
    assert [line["step"] for line in log(folder) if line["kind"] == "validation"] == [2, 4, 6]
    began, now = (read(path / "manifest.json") | {"health": None, "seal": None} for path in (finished, folder))
    files = [manifest.pop("files") for manifest in (began, now)]
    assert now == began
    changed = {name for name in files[0] | files[1] if files[0].get(name) != files[1].get(name)}
    assert changed <= {"metrics.json", "summary.txt", "log.jsonl", "ledger.jsonl"}, "the split and what was given stay"
    for name in files[1]:
        assert files[1][name]["sha256"] == sha256((folder / name).read_bytes()).hexdigest()


def test_a_run_that_ended_before_its_first_checkpoint_is_taken_up_from_its_start(finished: Path, tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(finished / "manifest.json", folder)
    assert pretrain("--resume", "--output-dir", folder) == 0
    assert (folder / "last/model.safetensors").read_bytes() == (finished / "last/model.safetensors").read_bytes()


def test_a_run_on_data_that_has_changed_does_not_go_on(
    small: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert small("run", "--tree", tmp_path / "tree.nwk") == 0
    table = tmp_path / "table.tsv"
    table.write_text(table.read_text().replace("\t9\t", "\t8\t"))
    capsys.readouterr()
    assert pretrain("--resume", "--output-dir", tmp_path / "run", "--max-steps", "4") == 2
    assert f"Error: --resume: --table {table} has changed since the run in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("precision", "head"),
    [
        ("fp32", "euclidean"),
        pytest.param("bf16", "euclidean", marks=pytest.mark.slow),
        pytest.param("fp32", "latent-tree", marks=pytest.mark.slow),
        ("bf16", "latent-tree"),
    ],
)
def test_each_head_alone(small: Callable[..., int], tmp_path: Path, head: str, precision: str):
    options = ["--unifrac-head", head, "--precision", precision, "--unifrac-metric", "generalized"]
    assert small("run", "--tree", tmp_path / "tree.nwk", *options) == 0
    assert np.isfinite(read(tmp_path / "run" / "metrics.json")["unifrac_r2"])


def test_a_matrix_instead_of_a_tree(small: Callable[..., int], tmp_path: Path):
    corpus = open_corpus(PretrainConfig(data=DataConfig(table=tmp_path / "table.tsv", tree=tmp_path / "tree.nwk")))
    ids, samples = corpus.table.sample_ids, corpus.samples(np.arange(len(corpus.table.sample_ids)), WHOLE)
    drawn = [samples[row] for row in range(len(ids))]
    values = corpus.targets(ids, [one.asvs for one in drawn], [one.counts for one in drawn]).unifrac
    np.save(tmp_path / "distances.npy", values)
    (tmp_path / "distances.ids.txt").write_text("\n".join(ids))
    assert small("run", "--unifrac-matrix", tmp_path / "distances.npy", "--asv-encoder", "mlp") == 0
    metrics = read(tmp_path / "run" / "metrics.json")
    assert np.isfinite(metrics["unifrac_r2"]) and metrics["steps"] == 2


def test_a_dry_run_tells_the_plan_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    assert pretrain("--example", "--dry-run", *SIZE, "--batch-size", "8", "--epochs", "2") == 0
    plan = {line[:18].strip(): line[18:] for line in capsys.readouterr().out.splitlines()}
    assert {"samples", "ASVs", "parameters", "steps", "memory", "time"} <= set(plan)
    train = int(plan["samples"].split("kept: ")[1].split()[0])
    assert plan["steps"].startswith(
        f"{2 * (train // 8)}; an epoch, one pass over the training samples, has {train // 8}"
    )
    assert re.match(r"\d+ samples of 188 have more than 64 ASVs; ", plan["token limit"])
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_run_that_goes_on(finished: Path, capsys: pytest.CaptureFixture):
    before = sorted(finished.rglob("*"))
    assert pretrain("--resume", "--dry-run", "--output-dir", finished, "--max-steps", "50") == 0
    assert "steps             50; " in capsys.readouterr().out
    assert sorted(finished.rglob("*")) == before


def test_another_size_is_another_run(finished: Path, capsys: pytest.CaptureFixture):
    assert pretrain("--resume", "--preset", "base", "--output-dir", finished) == 2
    assert "--resume: --preset is base, but the run in" in capsys.readouterr().err


def test_a_config_file_is_overruled_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    file = tmp_path / "run.yaml"
    file.write_text("example: true\ntoken-limit: 7\nlr: 1e-3\nbatch_size: 4\npreset: tiny\ndevice: cpu\n")
    assert pretrain("--config", file, "--dry-run", "--token-limit", "9", "--output-dir", tmp_path / "run") == 0
    plan = capsys.readouterr().out
    assert "of 188 have more than 9 ASVs; " in plan and "batch             4 samples" in plan and "(tiny)" in plan
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_terminated_run_leaves_a_checkpoint_and_goes_on(tmp_path: Path):
    """SLURM sends SIGTERM to all processes of a job, the workers too."""
    folder, words = tmp_path / "run", [*SIZE, "--batch-size", "8", "--num-workers", "1", "--eval-every", "3"]
    command = [sys.executable, "-m", "aam", "pretrain", "--example", *words, "--max-steps", "1000000"]
    process = subprocess.Popen(
        [*command, "--output-dir", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for((folder / "last").exists, process)
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 4, said
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and "interrupted by SIGTERM after step" in errors[0] and "--resume" in errors[0]
    assert "Traceback" not in said
    step = read(folder / "last" / "state.json")["train"]["step"]
    assert f"after step {step};" in errors[0]
    assert pretrain("--resume", "--output-dir", folder, "--max-steps", step + 2, "--num-workers", 0) == 0
    assert read(folder / "metrics.json")["steps"] == step + 2
