"""Sizes that no machine has are refused before anything is allocated: one number by its bound, several by their sum."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from aam import config
from aam.cli.pretrain import command
from aam.config import (
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    check_sizes,
    from_dict,
    from_options,
    option_fields,
    option_flag,
    sizes,
    to_dict,
)
from aam.errors import ConfigError
from aam.models.pretrain_model import PretrainModel

BEYOND = [
    ("--branches", "1000000000"),
    ("--dim", "1000000"),
    ("--heads", "100000"),
    ("--max-bp", "1000000000"),
    ("--pool-queries", "100000000"),
    ("--asv-layers", "10000"),
    ("--sample-layers", "10000"),
    ("--mean-features", "1000000000"),
    ("--patch", "1000000000"),
    ("--ffn-ratio", "1000000"),
    ("--accumulate", "1000000"),
    ("--batch-size", "1000000000"),
    ("--token-limit", "1000000000"),
    ("--num-workers", "10000"),
    ("--max-steps", "1000000000000000000"),
    ("--epochs", "1000000000000000000"),
    ("--max-minutes", "1e300"),
    ("--lr", "1e30"),
    ("--clip-norm", "1e300"),
    ("--unifrac-weight", "1e30"),
    ("--patristic-asvs", "100000000"),
]


def config_classes() -> list[type]:
    """Every dataclass of the rooms of `aam.config`."""
    modules = [importlib.import_module(f"aam.config.{found.name}") for found in pkgutil.iter_modules(config.__path__)]
    found = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    return sorted((each for each in found if dataclasses.is_dataclass(each)), key=lambda each: each.__name__)


@pytest.mark.parametrize("cls", config_classes(), ids=lambda cls: cls.__name__)
def test_every_number_among_the_options_has_a_largest_value(cls: type):
    for name, (field, hint) in option_fields(cls).items():
        if hint in (int, int | None, float, float | None):
            assert field.metadata["high"] is not None, name


@pytest.mark.parametrize(("option", "value"), BEYOND, ids=lambda each: each)
def test_a_size_beyond_its_bound_is_refused_by_name(option: str, value: str):
    found = CliRunner().invoke(command, ["--example", "--dry-run", option, value])
    assert isinstance(found.exception, ConfigError)
    assert str(found.exception).startswith(f"{option} is ") and "at most" in str(found.exception)


@pytest.mark.parametrize("preset", config.PRESETS)
@pytest.mark.parametrize(
    "options", [{}, {"asv_encoder": "mlp"}, {"mean_features": 64}, {"pool_queries": 32}], ids=lambda each: str(each)
)
def test_the_estimate_is_the_size_of_the_model(preset: str, options: dict[str, Any]):
    model = from_options(PretrainConfig, {"preset": preset} | options).model
    with torch.device("meta"):  # which has no memory to fill
        built = sum(each.numel() for each in PretrainModel(model).parameters())
    assert sizes.model_parameters(model) == pytest.approx(built, rel=0.1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dim": 16384}, "dim"),
        ({"asv_layers": 256, "dim": 1024}, "asv_layers"),
        ({"branches": 65536, "dim": 1024}, "branches"),
    ],
    ids=str,
)
def test_what_does_not_fit_into_memory_names_an_option_and_what_does(options: dict[str, Any], named: str):
    """What is said to fit does, and the next value does not."""
    memory = 2 * 2**30

    def of(**changed: Any) -> PretrainConfig:
        return PretrainConfig(model=ModelConfig(**options | changed))

    with pytest.raises(
        ConfigError, match=f"^{option_flag(named)} is .*at least .* GB, this machine has 2; at most [0-9]+ fits$"
    ) as no:
        check_sizes(of(), memory=memory)
    fits = int(str(no.value).split("at most ")[1].split()[0])
    check_sizes(of(**{named: fits}), memory=memory)
    with pytest.raises(ConfigError, match="GB"):
        check_sizes(of(**{named: fits + (of().model.heads if named == "dim" else 1)}), memory=memory)


def test_a_configuration_that_is_read_back_is_checked_as_well():
    record = to_dict(PretrainConfig())
    record["model"] |= {"dim": 16384, "asv_layers": 256, "pool_queries": 1024}
    with pytest.raises(ConfigError, match="GB"):
        from_dict(PretrainConfig, record)
    with pytest.raises(ConfigError, match="--dim 128 is not a multiple of --heads 3"):
        from_dict(PretrainConfig, {"model": {"heads": 3}})
    with pytest.raises(ConfigError, match="--identities is 1000000000000"):
        from_dict(FinetuneConfig, {"schema": {"identities": 10**12}})


def test_usual_sizes_fit_into_a_small_laptop():
    for preset in config.PRESETS:
        check_sizes(from_options(PretrainConfig, {"preset": preset}), memory=2 * 2**30)
        check_sizes(from_options(FinetuneConfig, {"preset": preset, "target": ("age",)}), memory=2 * 2**30)


def test_memory_is_the_least_that_a_cgroup_leaves(tmp_path: Path):
    """As SLURM and containers limit a job: its own cgroup has no limit here, the one that holds it has 3 GB."""
    own, job = tmp_path / "own", tmp_path / "slurm" / "job_7"
    (job / "step_0").mkdir(parents=True)
    own.write_text("0::/slurm/job_7/step_0\n")
    whole = sizes.machine_memory(tmp_path, own)
    assert whole == sizes.machine_memory(tmp_path, tmp_path / "absent") > 3 * 2**30
    (job / "step_0" / "memory.max").write_text("max\n")
    assert sizes.machine_memory(tmp_path, own) == whole
    (job / "memory.max").write_text(f"{3 * 2**30}\n")
    assert sizes.machine_memory(tmp_path, own) == 3 * 2**30
    (tmp_path / "slurm" / "memory.max").write_text(f"{2**30}\n")
    assert sizes.machine_memory(tmp_path, own) == 2**30
    own.write_text("0::/elsewhere\n")  # as a container sees it: its own cgroup is mounted as the root
    (tmp_path / "memory.max").write_text(f"{2**29}\n")
    assert sizes.machine_memory(tmp_path, own) == 2**29


def test_memory_is_the_least_that_a_cgroup_of_the_first_version_leaves(tmp_path: Path):
    own, job = tmp_path / "own", tmp_path / "memory" / "job_7"
    job.mkdir(parents=True)
    own.write_text("9:name=systemd:/\n4:memory:/job_7\n1:cpu:/job_7\n0::/\n")
    whole = sizes.machine_memory(tmp_path, own)
    (job / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # as no limit is written
    assert sizes.machine_memory(tmp_path, own) == whole
    (job / "memory.limit_in_bytes").write_text(f"{2**31}\n")
    assert sizes.machine_memory(tmp_path, own) == 2**31
