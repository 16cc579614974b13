"""The package as a notebook uses it: public names, arguments that are refused, where warnings point to."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from trained_run import save_run

import aam
from aam.api import given_options
from aam.cli import COMMANDS, group
from aam.cli.terminal import TERMINAL
from aam.config import FinetuneConfig, PretrainConfig, group_classes, option_fields
from aam.errors import CheckpointError, ConfigError, InputError, SequenceError
from aam.observer import Observer


def test_the_package_shows_its_public_names_alone() -> None:
    assert dir(aam) == sorted(aam.__all__)
    assert all(getattr(aam, name) is not None for name in aam.__all__)


def test_every_function_is_a_command_and_takes_its_options() -> None:
    """What has a parameter of its own has the name of an option, or of the click parameter that stands for one."""
    known = {
        name
        for cls in (PretrainConfig, FinetuneConfig)
        for part in group_classes(cls).values()
        for name in option_fields(part)
    }
    for name in ("baseline", "distance", "embed", "explain", "place", "predict", "pretrain", "train"):
        assert name in COMMANDS
        parameters = set(inspect.signature(getattr(aam, name)).parameters) - {"verbose", "options"}
        command = group.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert parameters <= known | {option.name for option in command.params} | {"model", "what"}


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, aam; print(sorted({n.split('.')[0] for n in sys.modules} & {'torch', 'numpy', 'pandas', 'click'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_misspelt_option_is_answered_with_its_like(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option 'max_minute'; did you mean 'max_minutes'"):
        aam.pretrain(example=True, max_minute=1, output_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match="unknown option 'presicion'; did you mean 'precision'"):
        aam.embed(example=True, model=tmp_path, presicion="bf16")


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        ("embed", "unifrac_matrix", "aam.embed: unknown option 'unifrac_matrix'; `aam embed --help` lists them"),
        ("embed", "max_steps", "aam.embed: unknown option 'max_steps'"),
        ("embed", "output", "aam.embed: unknown option 'output'; the result is returned"),
        ("distance", "metadata", "aam.distance: unknown option 'metadata'"),
        ("distance", "write_tree", "aam.distance: unknown option 'write_tree'; aam.place returns the tree"),
        ("place", "metadata", "aam.place: unknown option 'metadata'"),
        ("explain", "output_dir", "aam.explain: unknown option 'output_dir'"),
        ("predict", "max_bp", "aam.predict: unknown option 'max_bp'"),
        ("baseline", "fold", "aam.baseline: unknown option 'fold'; did you mean 'folds'?"),
        ("baseline", "lr", "aam.baseline: unknown option 'lr'"),
        ("train", "unifrac_matrix", "aam.train: unknown option 'unifrac_matrix'"),
        ("train", "dry_run", "aam.train: unknown option 'dry_run'; only the command prints a plan"),
        ("pretrain", "dry_run", "aam.pretrain: unknown option 'dry_run'; only the command prints a plan"),
    ],
)
def test_an_option_that_its_command_has_not_is_refused_and_not_ignored(command: str, name: str, text: str) -> None:
    """Many are options of the config classes that a function builds, where they would change nothing."""
    with pytest.raises(ConfigError, match=text):
        given_options(command, {name: None})


def test_options_that_were_not_given_are_left_out() -> None:
    assert given_options("train", {"table": None, "target": (), "folds": 3}) == {"folds": 3}


@pytest.mark.parametrize("value", [pd.DataFrame({"a": [1]}), 5, b"table.biom"])
def test_what_is_no_path_is_refused(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="^table is .*, expected a path"):
        aam.pretrain(table=value, output_dir=tmp_path / "run")
    with pytest.raises(ConfigError, match="^table is .*, expected a path"):
        aam.embed(value, model=tmp_path)
    with pytest.raises(ConfigError, match="^model is .*, expected a path"):
        aam.predict(example=True, model=value)


@pytest.mark.parametrize("value", [None, 5, True, [], {}, b"x", pd.DataFrame(), "a\0b", "\ud800"])
@pytest.mark.parametrize("function", ["read_table", "read_tree", "place"])
def test_what_is_no_file_is_refused_in_words(function: str, value: Any) -> None:
    with pytest.raises(InputError, match=r"^[^\n]+$"):
        getattr(aam, function)(value)


def test_a_column_without_a_name_is_no_asv() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["ACGT", None])
    with pytest.raises(SequenceError, match="column 2 of the DataFrame has no name, expected the DNA"):
        aam.place(frame)


def test_the_home_directory_is_found_as_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_run(tmp_path / "run")
    (tmp_path / "table.tsv").write_text("#OTU ID\ts1\nAAAA\t3\nCCCC\t1\n")
    assert list(aam.embed("~/table.tsv", model="~/run", device="cpu").index) == ["s1"]
    assert given_options("pretrain", {"output_dir": "~/run"}) == {"output_dir": tmp_path / "run"}
    with pytest.raises(ConfigError, match="Give the path without ~"):
        given_options("pretrain", {"output_dir": "~nobody-has-this-name/run"})


def test_runs_to_compare_need_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to compare it with"):
        aam.baseline(example=True, target="age_months", against=tmp_path)
    with pytest.raises(ConfigError, match="^model brings its own data and folds, found folds too"):
        aam.baseline(tmp_path, folds=3)


@pytest.mark.usefixtures("small_work")
def test_a_run_works_from_a_thread_stays_where_it_is_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread as of a widget; a notebook that changes its directory; a cell that is run again, with `resume`."""
    monkeypatch.chdir(tmp_path)
    given = {"example": True, "target": "age_months", "preset": "tiny", "preflight": False, "output_dir": "run"}
    runs: list[aam.Run] = []
    thread = threading.Thread(target=lambda: runs.append(aam.train(max_steps=np.int64(2), **given)))
    thread.start()
    thread.join()
    monkeypatch.chdir("/")
    assert runs[0].folder == tmp_path / "run"
    assert runs[0].metrics["steps"] == 2
    assert aam.Run(str(tmp_path / "run" / "last")) == runs[0]  # type: ignore[arg-type] - as a notebook may
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predicted = aam.predict(example=True, model=runs[0], draws=1)
    assert len(predicted) == 188
    assert any("2 of 190 samples cannot be predicted: 11402.MC051: 2921" in str(one.message) for one in caught)
    on = aam.train(output_dir=runs[0], resume=True, max_steps=3, device="cpu")
    assert on.metrics["steps"] == 3
    (tmp_path / "run" / "metrics.json").unlink()
    with pytest.raises(CheckpointError, match=r"no metrics.json here, the run has not finished"):
        aam.Run.open(tmp_path / "run").metrics  # noqa: B018


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected the output directory of a run"):
        aam.Run.open(tmp_path)


def test_a_table_as_a_frame_has_its_counts_and_ids() -> None:
    from aam.datasets import example

    table = aam.read_table(example().table)
    frame = table.to_frame()
    assert list(frame.index) == list(table.sample_ids) and list(frame.columns) == list(table.asv_ids)
    np.testing.assert_array_equal(frame.to_numpy(), table.counts.toarray())


def test_warnings_point_to_the_line_that_called_the_package() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Observer().warn("a reason to doubt")
    assert [Path(one.filename) for one in caught] == [Path(__file__)]


def test_a_click_program_can_use_the_package_with_messages(capsys: pytest.CaptureFixture[str]) -> None:
    """`verbose=True` inside of a command of somebody else, whose context has no option --debug."""

    @click.command()
    def theirs() -> None:
        with TERMINAL.optional("report.html"):
            raise ValueError("no font")

    assert theirs.main([], standalone_mode=False) is None
    assert "report.html could not be made (ValueError: no font)" in capsys.readouterr().err
