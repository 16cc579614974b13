"""What a finished run can do without never costs it: pictures, report, audit, baselines."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aam import cli
from aam.datasets import example
from aam.training.run_files import remember_files

TINY = ["--preset", "tiny", "--branches", "16", "--patch", "25"]
SMALL = [*TINY, "--max-steps", "2", "--device", "cpu", "--no-preflight"]
COMMANDS = {
    "pretrain": ["pretrain", "--example", *SMALL],
    "train": ["train", "--example", "--target", "age_months", *SMALL],
}
PICTURES = {"pretrain": {"curves.png", "unifrac.png"}, "train": {"curves.png", "predictions.png"}}
LEARNED = {"metrics.json", "summary.txt", "last"}


def names(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()}


def failures(said: str) -> list[str]:
    """The lines on stderr that name an output which could not be made."""
    return [line for line in said.splitlines() if line.startswith("Warning: ") and "could not be made" in line]


def named(lines: list[str]) -> list[str]:
    """What these lines say could not be made."""
    return [line.removeprefix("Warning: ").split(" could")[0] for line in lines]


def run_apart(command: str, run: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, for what libraries read once when they are imported."""
    asked = [sys.executable, "-m", "aam", *COMMANDS[command], "--output-dir", str(run)]
    return subprocess.run(asked, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_backend_of_matplotlib_for_other_programs_is_ignored(tmp_path: Path) -> None:
    """As a notebook names one for its children, whose environment may lack it."""
    done = run_apart("train", tmp_path / "run", MPLBACKEND="module://of_somebody_else.backend")
    assert done.returncode == 0 and not failures(done.stderr), done.stderr
    assert names(tmp_path / "run") >= LEARNED | PICTURES["train"] | {"report.html"}


def test_a_command_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert cli.main(["--version"]) == 0
    assert os.environ["MPLBACKEND"] == "agg"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_without_matplotlib_the_run_and_a_page_without_pictures_remain(command: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_bytes(b"font.family: \xff\xfe\n")  # what ends its import
    run = tmp_path / "run of mine"
    done = run_apart(command, run, MATPLOTLIBRC=str(tmp_path / "matplotlibrc"))
    assert done.returncode == 0, done.stderr
    assert names(run) >= LEARNED | {"report.html"} and not names(run) & PICTURES[command]
    lines = failures(done.stderr)
    assert named(lines) == [*sorted(PICTURES[command]), "the ordination of report.html"]
    assert all(line.endswith(f"; `aam report '{run}'` makes it again") for line in lines)
    page = (run / "report.html").read_text()
    assert "<h2>Not shown</h2>" in page and "data:image/png" not in page
    assert cli.main(["report", str(run)]) == 0  # with a matplotlib that works
    assert names(run) >= PICTURES[command]
    assert "<h2>Not shown</h2>" not in (run / "report.html").read_text()


def test_files_that_cannot_be_written_are_named_with_the_reason(tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    for name in ("curves.png", "report.html"):
        (run / name / "full").mkdir(parents=True)  # a folder that no file can replace
    assert cli.main([*COMMANDS["train"], "--output-dir", str(run)]) == 0
    said = capsys.readouterr()
    lines = failures(said.err)
    assert named(lines) == ["curves.png", "report.html"]
    assert all(f"(Is a directory: {run / name}; " in line for name, line in zip(named(lines), lines, strict=True))
    assert names(run) >= LEARNED and str(run) in said.out


def test_an_audit_that_fails_leaves_the_rest_of_the_page(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)  # not to be imported
    assert cli.main([*COMMANDS["train"], "--output-dir", str(tmp_path / "run")]) == 0
    (line,) = failures(capsys.readouterr().err)
    assert line.startswith("Warning: the audit of report.html could not be made (a package cannot be imported ")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Ordination of the samples" in page and "Audit: what the embeddings reveal" not in page
    assert "sklearn.decomposition" in page  # the reason


@pytest.mark.slow
def test_metadata_of_other_samples_leave_an_ordination_without_colours(tmp_path: Path, capsys) -> None:
    """Without --group-column nobody looks at them before the report."""
    (tmp_path / "others.tsv").write_text("sample-id\tage\nX1\t6\n")
    asked = [*COMMANDS["pretrain"], "--metadata", str(tmp_path / "others.tsv")]
    assert cli.main([*asked, "--output-dir", str(tmp_path / "run")]) == 0
    (line,) = failures(capsys.readouterr().err)
    assert line.startswith("Warning: the colours of report.html could not be made") and "none of its 1 sample" in line
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Ordination of the samples" in page and "coloured by" not in page and "none of its 1 sample" in page


@pytest.mark.slow
def test_baselines_that_fail_are_named_and_made_again_by_resume(tmp_path: Path, capsys, monkeypatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "scipy.cluster.hierarchy", None)  # no UPGMA, and no tree grown for the scales
        assert cli.main([*COMMANDS["pretrain"], "--output-dir", str(run)]) == 0
    again, lines = ["pretrain", "--resume", "--output-dir", str(run)], failures(capsys.readouterr().err)
    assert named(lines) == ["the baselines", "best/scales.json"]
    assert all(line.endswith(f"`aam {' '.join(again)}` makes it again") for line in lines)
    before = json.loads((run / "metrics.json").read_text())
    assert "unifrac_r2" in before and "scipy.cluster.hierarchy" in before["baseline_upgma_skipped"]
    assert "baseline_jaccard_r2" not in before
    assert "not computed: a package cannot be imported" in (run / "summary.txt").read_text()
    assert (
        names(run) >= LEARNED | PICTURES["pretrain"] | {"report.html"} and not (run / "best" / "scales.json").exists()
    )
    assert cli.main(again) == 0
    after = json.loads((run / "metrics.json").read_text())
    assert "baseline_upgma_r2" in after and "baseline_upgma_skipped" not in after
    assert (run / "best" / "scales.json").exists()
    same = ("unifrac_r2", "nucleotide_accuracy", "steps", "samples_train")
    assert [after[name] for name in same] == [before[name] for name in same]


def test_a_picture_of_an_earlier_end_does_not_stay_for_a_later_one(
    pretrained: Path, tmp_path: Path, monkeypatch
) -> None:
    run = shutil.copytree(pretrained, tmp_path / "run")
    assert (run / "curves.png").exists()
    monkeypatch.setitem(sys.modules, "aam.report.curves", None)
    assert cli.main(["pretrain", "--resume", "--max-steps", "3", "--output-dir", str(run)]) == 0
    assert not (run / "curves.png").exists() and (run / "unifrac.png").exists()


@pytest.mark.slow
def test_the_command_that_is_named_can_be_pasted(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("-a b'c$d")
    (run / "curves.png" / "full").mkdir(parents=True)
    assert cli.main([*COMMANDS["train"], f"--output-dir={run}"]) == 0
    (line,) = failures(capsys.readouterr().err)
    pasted = line.split("; `", 1)[1].removesuffix("` makes it again")
    (run / "curves.png" / "full").rmdir()
    (run / "curves.png").rmdir()
    assert cli.main(shlex.split(pasted)[1:]) == 0
    assert (run / "curves.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_report_draws_what_it_can_where_the_data_are_gone(command: str, tmp_path: Path, capsys) -> None:
    for path in example():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    table, tree, metadata = (tmp_path / path.name for path in example())
    run = tmp_path / "run"
    asked = [command, "--table", str(table), "--tree", str(tree), "--metadata", str(metadata), *SMALL]
    asked += ["--target", "age_months"] if command == "train" else []
    assert cli.main([*asked, "--output-dir", str(run)]) == 0
    table.unlink()
    for name in PICTURES[command]:
        (run / name).unlink()
    with (run / "log.jsonl").open("a") as log:
        log.write('{"kind": "tra')  # a killed process wrote no more
    capsys.readouterr()
    assert cli.main(["report", str(run)]) == 0
    assert names(run) & PICTURES[command] == PICTURES[command] - {"unifrac.png"}
    assert "Warning: ordinations, audit and UniFrac: the data or the model" in capsys.readouterr().err
    (run / "log.jsonl").write_bytes(b"\xff\n")
    for reason in ("log.jsonl has changed since it was written; restore it", "log.jsonl: not a line of a log"):
        assert cli.main(["report", str(run)]) == 0
        said = capsys.readouterr().err
        assert "Warning: curves.png could not be made" in said and reason in said
        remember_files(run, ["log.jsonl"])  # as if it had been written so


def test_metrics_that_are_no_mapping_are_refused_by_name(labelled: Path, tmp_path: Path, capsys) -> None:
    run = shutil.copytree(labelled, tmp_path / "run")
    (run / "metrics.json").write_text("[1, 2]")
    for reason in ("metrics.json has changed since it was written; restore it", "metrics.json: found a list, expected"):
        assert cli.main(["report", str(run)]) == 2
        assert reason in capsys.readouterr().err
        remember_files(run, ["metrics.json"])  # as if it had been written so


@pytest.mark.slow
def test_debug_shows_where_it_failed(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.decomposition", None)
    assert cli.main(["--debug", *COMMANDS["train"], "--output-dir", str(tmp_path / "run")]) == 0
    assert "Traceback" in capsys.readouterr().err


def test_a_drawing_that_fails_leaves_the_explanation(pretrained: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "aam.report.target_figures", None)
    asked = ["explain", "--model", str(pretrained), "--table", str(example().table), "--max-samples", "4"]
    assert cli.main([*asked, "-o", str(tmp_path / "drivers.tsv")]) == 0
    said = capsys.readouterr()
    assert "drivers.png could not be made" in said.err and "with another --output makes it again" in said.err
    assert "drivers.json" in said.out and "drivers.png" not in said.out
    assert {"drivers.tsv", "drivers.json"} <= names(tmp_path) and "drivers.png" not in names(tmp_path)
