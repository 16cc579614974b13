"""Parts of one run in the directory of another: nothing is averaged, calibrated or shown that is not of the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import aam
from aam.cli import main
from aam.errors import InputError

QUICK = ("--preset", "tiny", "--max-steps", "2", "--folds", "2", "--no-preflight", "--device", "cpu")
AGE = ("--example", "--target", "age_months")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of ages (`one`, and `other` of another size) and of classes of age, and ensembles of both."""
    folder = tmp_path_factory.mktemp("runs")
    asked = {
        "one": (*AGE, *QUICK),
        "other": (*AGE, *QUICK, "--head-dim", "8"),
        "classes": (*AGE, *QUICK, "--task", "classification"),
        "clades": (*AGE, "--learner", "clades", "--folds", "2"),
        "clade-classes": (*AGE, "--learner", "clades", "--folds", "2", "--task", "classification"),
    }
    for name, options in asked.items():
        assert main(["train", *options, "--output-dir", str(folder / name)]) == 0
    return folder


@pytest.fixture
def mixed(runs: Path, tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A copy of a run with a file or folder of another one in place of its own."""

    def copy(run: str, part: str, other: str) -> Path:
        folder = shutil.copytree(runs / run, tmp_path / "mixed")
        source, own = runs / other / part, folder / part
        if source.is_dir():
            shutil.rmtree(own)
            shutil.copytree(source, own)
        else:
            shutil.copyfile(source, own)
        return folder

    return copy


NO_MODEL = "no model of the run in"


@pytest.mark.parametrize(
    ("run", "part", "other", "said"),
    [
        ("one", "fold-2", "other", f"fold-2/last: {NO_MODEL} {{run}}: --head-dim is 8, but the run began with 128"),
        ("one", "fold-2", "classes", f"fold-2/last: {NO_MODEL} {{run}}: --task is classification, but the run began"),
        ("clades", "best", "clade-classes", f"best: {NO_MODEL} {{run}}: --task is classification, but the run began"),
        ("one", "calibration.json", "other", "calibration.json has changed since it was written; train again, or"),
        ("classes", "calibration.json", "one", "calibration.json has changed since it was written; train again, or"),
        ("clades", "best/studies.json", "clade-classes", "best/studies.json: SHA-256 is"),
    ],
)
def test_predictions_are_refused(
    run: str, part: str, other: str, said: str, mixed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mixed(run, part, other)
    output = folder.parent / "predicted.tsv"
    assert main(["predict", "--model", str(folder), "--example", "-o", str(output)]) == 2
    assert said.format(run=folder) in capsys.readouterr().err.splitlines()[-1]
    assert not output.exists()


@pytest.mark.parametrize(
    ("run", "part", "other", "said"),
    [
        ("one", "fold-2", "other", "--head-dim is 8, but the run began with 128"),
        ("clades", "ordination.tsv", "clade-classes", "ordination.tsv has changed since it was written; train again"),
    ],
)
def test_the_report_says_so(
    run: str, part: str, other: str, said: str, mixed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mixed(run, part, other)
    if part == "ordination.tsv":  # those of one table and one reference are alike
        (folder / part).write_text((folder / part).read_text().replace("\t0.", "\t1.", 1))
    assert main(["report", str(folder)]) == 0
    assert said in capsys.readouterr().err


def test_a_fold_that_the_run_does_not_have(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(runs / "one", tmp_path / "more")
    shutil.copytree(folder / "fold-2", folder / "fold-3")
    asked = ["--model", str(folder), "--example", "-o", str(tmp_path / "out.tsv")]
    for command in (["predict", *asked], ["embed", *asked]):
        assert main(command) == 2
        assert "3 folders of folds, but the run has 2; take fold-3 away, which is" in capsys.readouterr().err


def test_python_opens_what_these_runs_have(runs: Path) -> None:
    assert aam.Run.open(runs / "clades").history.empty
    with pytest.raises(InputError, match="one: the run has a model in each of its 2 folds; give one, as .*one/fold-1$"):
        aam.open_model(runs / "one")
    with pytest.raises(InputError, match="^folder is None, expected a path$"):
        aam.Run.open(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="^table is None, expected a path$"):
        aam.read_table(None)  # type: ignore[arg-type]


def test_a_lost_record_of_studies_is_told(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(runs / "clades", tmp_path / "lost")
    (folder / "best" / "studies.json").unlink()
    assert main(["predict", "--model", str(folder), "--example", "-o", str(tmp_path / "out.tsv")]) == 2
    assert "best/studies.json is missing; restore it" in capsys.readouterr().err
