"""A run whose files are damaged, gone or of another shape: it goes on from what is whole, or is refused by the file.

Nothing is deleted, nothing is silently another number.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aam.cli import main

STEPS = 6
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def wanted(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The last weights of the same run after 6 steps, nothing having happened."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("whole") / "run"))
    assert resume(run) == 0
    return load_file(run / "last" / "model.safetensors")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a run of 4 steps, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def resume(run: Path) -> int:
    return main(["pretrain", "--resume", "--output-dir", str(run), "--max-steps", str(STEPS)])


def flip(file: Path, place: int | None = None, bit: int = 0) -> None:
    """Flip one bit: at this place, or in the last digit of the file."""
    data = bytearray(file.read_bytes())
    place = max(at for at, byte in enumerate(data) if 48 <= byte < 58) if place is None else place
    data[place] ^= 1 << bit
    file.write_bytes(bytes(data))


def change_text(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text, (file, old)
    file.write_text(text.replace(old, new, 1))


def only_error(capsys: Capture) -> str:
    """The error of a refused command, which is one line and the last."""
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("Error: ") for line in lines) == 1 and lines[-1].startswith("Error: ")
    return lines[-1]


def assert_ends_as(run: Path, wanted: dict[str, torch.Tensor]) -> None:
    found = load_file(run / "last" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def damage_option(run: Path) -> None:
    """One bit of the learning rate, which would train on with other weights."""
    change_text(run / "last" / "config.json", '"lr": 0.0', '"lr": 0.1')


def lose_last(run: Path) -> None:
    shutil.rmtree(run / "last")


def lose_both(run: Path) -> None:
    """Then the best one, of step 2 or 4, is the newest."""
    shutil.rmtree(run / "last")
    shutil.rmtree(run / "previous")


def kill_between_renames(run: Path) -> None:
    (run / "last").rename(run / "last.partial")


def lose_manifest(run: Path) -> None:
    (run / "manifest.json").unlink()


def damage_manifest(run: Path) -> None:
    change_text(run / "manifest.json", '"seed": 0', '"seed": 1')


def damage_best(run: Path) -> None:
    flip(run / "best" / "model.safetensors", place=-9)


@pytest.mark.parametrize(
    ("damage", "said", "kept"),
    [
        (damage_option, "last/config.json: it has changed since it was written", "last.damaged"),
        pytest.param(lose_last, "last is missing", None, marks=pytest.mark.slow),
        pytest.param(lose_both, "last is missing", None, marks=pytest.mark.slow),
        (kill_between_renames, "last.partial of step 4 takes its place", None),
        (lose_manifest, "manifest.json is missing; written again", None),
        pytest.param(damage_manifest, "manifest.json is damaged", "manifest.json.damaged", marks=pytest.mark.slow),
        pytest.param(damage_best, "best/model.safetensors: SHA-256 is", "best.damaged", marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_run_goes_on_from_what_is_whole_and_says_so(
    run: Path,
    wanted: dict[str, torch.Tensor],
    capsys: Capture,
    damage: Callable[[Path], None],
    said: str,
    kept: str | None,
):
    damage(run)
    capsys.readouterr()
    assert resume(run) == 0
    err = capsys.readouterr().err
    assert said in err and f"{run} goes on after step " in err and "bug" not in err
    assert kept is None or (run / kept).exists()
    assert_ends_as(run, wanted)
    assert json.loads((run / "metrics.json").read_text())["steps"] == STEPS
    assert main(["embed", "--model", str(run), "--example", "--output", str(run.parent / "out.tsv")]) == 0


@pytest.mark.slow
def test_without_any_checkpoint_it_says_that_it_begins_again(run: Path, capsys: Capture):
    for name in ("last", "previous", "best"):
        shutil.rmtree(run / name)
    assert resume(run) == 0
    assert "has no checkpoint, although it has a log.jsonl; the run begins again at step 0" in capsys.readouterr().err


def test_if_nothing_is_whole_it_is_refused(run: Path, capsys: Capture):
    for name in ("last", "previous", "best"):
        flip(run / name / "training.safetensors", place=-5)
    assert resume(run) == 2
    error = only_error(capsys)
    assert "last/training.safetensors: SHA-256 is" in error and "no other checkpoint" in error
    assert not (run / "last.damaged").exists()


def cut(file: Path) -> None:
    """Without its last line."""
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("log.jsonl", flip),
        pytest.param("log.jsonl", cut, marks=pytest.mark.slow),
        pytest.param("ledger.jsonl", flip, marks=pytest.mark.slow),
        ("ledger.jsonl", cut),
    ],
)
def test_what_grows_is_checked_before_a_run_appends_to_it(
    run: Path, wanted: dict[str, torch.Tensor], capsys: Capture, name: str, damage: Callable[[Path], None]
):
    damage(run / name)
    assert resume(run) == 2
    err = capsys.readouterr().err
    assert name in err and ("has been cut" if damage is cut else "has changed since it was written") in err
    assert main(["report", str(run), "--output", str(run.parent / "page.html")]) == 0
    assert f"{name} has changed since it was written" in capsys.readouterr().err
    (run / name).rename(run / f"{name}.old")  # the remedy that is told
    assert resume(run) == 0
    assert_ends_as(run, wanted)


@pytest.mark.slow
def test_other_metrics_are_not_reported(run: Path, capsys: Capture):
    flip(run / "metrics.json")
    assert main(["report", str(run), "--output", str(run.parent / "page.html")]) == 2
    assert "metrics.json has changed since it was written; restore it, or make it again by" in capsys.readouterr().err
    assert resume(run) == 0 and main(["report", str(run)]) == 0


def test_scales_that_have_changed_give_no_distances(run: Path, capsys: Capture):
    flip(run / "best" / "scales.json")
    asked = ["distance", "--model", str(run), "--example", "--output", str(run.parent / "out.tsv")]
    assert main(asked) == 2
    assert "best/scales.json: SHA-256 is" in capsys.readouterr().err


DEEP = '{"a": ' * 100_000
SHAPES: list[tuple[str, Any, list[str]]] = [
    ("last/state.json", {"train": {"step": "4"}}, ["resume"]),
    ("last/state.json", {"train": []}, ["resume"]),
    ("last/config.json", {"kind": ["pretrain"]}, ["resume"]),
    ("last/config.json", {"sha256": [1]}, ["resume"]),
    ("manifest.json", {"data": {"table": {"path": [], "sha256": 3}}}, ["report"]),
    ("manifest.json", {"files": 3}, ["report"]),
    ("metrics.json", {"unifrac_r2": "high"}, ["report"]),
    *((name, DEEP, ["report"]) for name in ("manifest.json", "metrics.json")),
    *((name, DEEP, ["resume"]) for name in ("last/config.json", "last/state.json", "log.jsonl")),
]


@pytest.mark.parametrize(("name", "content", "asked"), SHAPES, ids=lambda value: str(value)[:40])
def test_records_of_another_shape_are_refused_in_one_line(
    run: Path, capsys: Capture, name: str, content: Any, asked: list[str]
):
    """As of an older version, without seal and fingerprints; no other checkpoint is there."""
    for folder in ("previous", "best"):
        shutil.rmtree(run / folder)
    for file in ("manifest.json", "last/config.json", "last/state.json"):
        record = json.loads((run / file).read_text())
        record = {key: value for key, value in record.items() if key not in ("seal", "sha256", "files")}
        (run / file).write_text(json.dumps(record))
    if isinstance(content, str):
        (run / name).write_text(content + "\n")
    else:
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | content))
    page = ["report", str(run), "--output", str(run.parent / "page.html")]
    capsys.readouterr()
    assert (resume(run) if asked == ["resume"] else main(page)) == 2
    error = only_error(capsys)
    assert Path(name).name in error and "bug" not in error


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_one_flipped_bit_in_any_file_is_told_or_changes_nothing(
    finished: Path, wanted: dict[str, torch.Tensor], tmp_path: Path, capsys: Capture, seed: int
):
    draw = random.Random(seed)
    names = [path.relative_to(finished) for path in sorted(finished.rglob("*")) if path.is_file()]
    for name in names:
        if "tensorboard" in name.parts or name.suffix in (".png", ".html"):  # these are drawn anew
            continue
        run = Path(shutil.copytree(finished, tmp_path / "run"))
        size = (run / name).stat().st_size
        flip(run / name, draw.randrange(size), draw.randrange(8))
        capsys.readouterr()
        code = resume(run)
        err = capsys.readouterr().err
        assert code in (0, 2) and "bug" not in err, (name, err)
        told = name.name in err
        if code == 0:
            assert_ends_as(run, wanted)
        assert told or code == 0, name
        shutil.rmtree(tmp_path / "run")
