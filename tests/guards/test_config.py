"""A setting exists once: field, option, help line, YAML key, checkpoint record; and names that users hold stay."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections import Counter
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest

from aam import cli, config
from aam.config import (
    PRESETS,
    FinetuneConfig,
    PretrainConfig,
    RunConfig,
    from_dict,
    from_options,
    group_classes,
    option_fields,
    to_dict,
    with_absolute_paths,
)
from aam.errors import ConfigError

WHOLE = [
    cls
    for cls in vars(config).values()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls) and group_classes(cls)
]
"""Configurations of whole commands."""
PARTS = sorted({part for cls in WHOLE for part in group_classes(cls).values()}, key=lambda part: part.__name__)
STAY = {
    "pretrain": (
        "--table --tree --sequences --unifrac-matrix --example --output-dir --preset --token-limit --asv-selection "
        "--rarefy-depth --max-bp --batch-size --accumulate --max-steps --max-minutes --epochs --lr --precision "
        "--unifrac-head --unifrac-metric --validation-fraction --validation-samples --group-column --metadata --seed "
        "--device --num-workers --resume --dry-run --config"
    ),
    "unifrac": "--table --tree --metric --engine -o",
    "place": "--table --sequences --reference --tree --confidence -o",
    "distance": "--model --table --tree --method --reference --metric -o",
}
"""Names that scripts of users hold: none of them may go or change its meaning."""
CHOICES = {
    ("pretrain", "--asv-selection"): ["abundance", "random", "weighted"],
    ("pretrain", "--preset"): ["tiny", "small", "base", "large"],
    ("pretrain", "--precision"): ["fp32", "bf16", "fp16"],
    ("pretrain", "--unifrac-head"): ["latent-tree", "euclidean", "both"],
    ("pretrain", "--unifrac-metric"): ["unweighted", "weighted", "weighted_normalized", "generalized"],
    ("unifrac", "--metric"): ["unweighted", "weighted", "weighted_normalized", "generalized", "faith_pd"],
    ("place", "--tree"): ["asvs", "reference"],
    ("unifrac", "--engine"): ["torch", "unifrac", "skbio"],
}


def command(name: str) -> click.Command:
    return importlib.import_module(f"aam.cli.{name.replace('-', '_')}").command


def parameters(name: str) -> dict[str, click.Option]:
    """The options of a command by each of their spellings."""
    found = [each for each in command(name).params if isinstance(each, click.Option)]
    return {spelling: each for each in found for spelling in each.opts}


@pytest.mark.parametrize("name", STAY)
def test_names_that_stay(name: str):
    assert set(STAY[name].split()) <= set(parameters(name))


@pytest.mark.parametrize(("name", "option"), CHOICES, ids=" ".join)
def test_choices_that_stay(name: str, option: str):
    kind = parameters(name)[option].type
    assert isinstance(kind, click.Choice) and list(kind.choices)[: len(CHOICES[name, option])] == CHOICES[name, option]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_has_one_help_line_and_one_place(name: str):
    found = [each for each in command(name).params if isinstance(each, click.Option)]
    spellings = Counter(spelling for each in found for spelling in each.opts + each.secondary_opts)
    assert [spelling for spelling, times in spellings.items() if times > 1] == []
    for each in found:
        assert len(each.help or "") > 10 and "\n" not in each.help, each.opts


@pytest.mark.parametrize("cls", PARTS, ids=lambda cls: cls.__name__)
def test_every_field_is_an_option_or_derived(cls: type):
    for field in dataclasses.fields(cls):
        assert ("help" in field.metadata) != bool(field.metadata.get("derived")), field.name
        if "help" in field.metadata:
            assert len(field.metadata["help"]) > 10 and "\n" not in field.metadata["help"], field.name


def test_pretraining_has_every_option_of_its_configuration_and_no_other():
    wanted = {
        config.option_flag(name) for group in group_classes(PretrainConfig).values() for name in option_fields(group)
    }
    assert set(parameters("pretrain")) == wanted | {"--config", "-o"}


def test_defaults_of_the_command_line_are_those_of_the_configuration():
    """click has none of its own, so nothing given is the configuration's default; help shows that one."""
    of_name = {
        name: field
        for group in group_classes(PretrainConfig).values()
        for name, (field, _) in option_fields(group).items()
    }
    given = command("pretrain").make_context("pretrain", []).params
    assert set(given.values()) <= {None, ()}
    for each in command("pretrain").params:
        if each.name in of_name and of_name[each.name].default not in (None, True, False, ()):
            assert f"[default: {of_name[each.name].default}]" in each.help, each.name
    assert from_options(PretrainConfig, {}) == PretrainConfig()


@pytest.mark.parametrize("cls", WHOLE, ids=lambda cls: cls.__name__)
def test_a_configuration_survives_json(cls: type):
    start = cls()
    assert from_dict(cls, json.loads(json.dumps(to_dict(start)))) == start


def test_a_configuration_with_everything_given_survives_json():
    given = {"table": "a.biom", "seed": 7, "lr": "1e-4", "max_minutes": 3, "preset": "base", "example": True}
    start = from_options(PretrainConfig, given)
    assert from_dict(PretrainConfig, json.loads(json.dumps(to_dict(start)))) == start
    assert start.optim.lr == 1e-4 and start.run.max_minutes == 3.0 and isinstance(start.run.max_minutes, float)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_start_that_every_option_overrules(preset: str):
    plain = from_options(PretrainConfig, {"preset": preset})
    assert plain.model == PRESETS[preset]()
    changed = from_options(PretrainConfig, {"preset": preset, "dropout": 0.33, "max_bp": 99})
    assert changed.model == dataclasses.replace(plain.model, dropout=0.33, max_bp=99)


def step(bound: float, direction: int, whole: bool) -> float:
    """The next number above or below a bound, or the bound itself."""
    return bound + direction if whole else float(np.nextafter(bound, bound + direction))


@pytest.mark.parametrize(
    ("group", "name"), [(part, name) for part in PARTS for name in option_fields(part)], ids=lambda each: str(each)
)
def test_bounds_are_enforced_at_the_bound(group: type, name: str):
    field, hint = option_fields(group)[name]
    low, high, above = (field.metadata.get(key) for key in ("low", "high", "above"))
    whole = hint in (int, int | None)
    assert not (whole or hint in (float, float | None)) or high is not None, "every number has a largest value"
    inside, outside = [], [] if whole or high is None else [float("nan"), float("inf")]
    for bound, within, beyond in ((low, 0, -1), (high, 0, 1), (above, 1, 0)):
        if bound is not None:
            inside.append(step(bound, within, whole))
            outside.append(step(bound, beyond, whole))
    for value in inside:
        found = getattr(from_dict(group, {name: value}), name)
        assert found in (value, (value,))
    for value in outside:
        with pytest.raises(ConfigError, match=f"^{config.option_flag(name)} is "):
            from_dict(group, {name: value})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tokn_limit": 3}, "unknown option 'tokn_limit'; did you mean 'token_limit'?"),
        ({"zzz": 3}, "unknown option 'zzz'$"),
        ({"token_limit": 1.5}, "--token-limit is 1.5, expected a whole number"),
        ({"token_limit": True}, "--token-limit is True, expected a whole number"),
        ({"lr": "fast"}, "--lr is 'fast', expected a number"),
        ({"example": "maybe"}, "--example is 'maybe', expected true or false"),
        ({"preset": "huge"}, "--preset is 'huge', expected one of tiny, small, base, large"),
        ({"table": 3}, "--table is 3, expected a path"),
        ({"token_limit": None}, "--token-limit is None, expected a whole number"),
        ({"token_limit": [3]}, r"--token-limit is \[3\], expected a whole number"),
        ({"token_limit": np.float32(1.5)}, "--token-limit is .*1.5.*, expected a whole number"),
        ({"seed": np.float32("inf")}, "--seed is .*inf.*, expected a whole number"),
        ({"preset": np.array(["tiny", "base"])}, "--preset is array.*, expected one of tiny, small, base, large"),
        ({"tree": pd.DataFrame({"a": [1]})}, "--tree is a 0 1, expected a path"),
        ({"seed": 10**400}, "--seed is 1000.*, expected at least 0 and at most"),
        ({"dim": 30, "heads": 4}, "--dim 30 is not a multiple of --heads 4; change one of them"),
    ],
)
def test_wrong_values_are_refused_by_name(given: dict[str, Any], text: str):
    with pytest.raises(ConfigError, match=text):
        from_options(PretrainConfig, given)


def test_numbers_and_lists_of_numpy_are_those_of_python():
    given = {"target": np.array(["age", "bmi"]), "token_limit": np.int64(64), "dropout": np.float32(0.25)}
    config = from_options(FinetuneConfig, given)
    assert config.target.target == ("age", "bmi")
    assert json.loads(json.dumps(to_dict(config)))["model"]["dropout"] == 0.25
    assert type(config.data.token_limit) is int


def test_a_path_that_is_read_is_checked_before_it_is_resolved():
    with pytest.raises(ConfigError, match="--table is 5, expected a path"):
        with_absolute_paths(PretrainConfig, {"table": 5})  # as `table: 5` of a config file


def test_nothing_can_be_changed_after_the_check():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 3  # type: ignore[misc]
