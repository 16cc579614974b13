"""The package as a notebook uses it: public names, arguments that are refused, where warnings point to."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import aam
from aam.cli import COMMANDS, group
from aam.config import FinetuneConfig, PretrainConfig, group_classes, option_fields
from aam.errors import CheckpointError, ConfigError
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
    for name in ("baseline", "distance", "embed", "explain", "predict", "pretrain", "train"):
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
