"""Conversion of option values, YAML and checkpoint records to config objects and back, with checks of every value."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aam.config.fields import GENE_COLUMNS, Preset, option_flag
from aam.config.finetune import FinetuneConfig, RunnableT
from aam.config.pretrain import PRESETS, PretrainConfig
from aam.config.run import RunConfig
from aam.config.sizes import check_sizes
from aam.errors import ConfigError
from aam.paths import plain_path
from aam.spelling import number_of, whole_of
from aam.text import QUOTED, one_line, python_words, shorten

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""Words of a config file, in lower case."""
NAMED = {"pretrained", "reference"}
"""Options that take the name of a model or reference in place of its path."""
ConfigT = TypeVar("ConfigT", bound="DataclassInstance")


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Name -> type of every field of a config class; kept, since a class has its annotations compiled each time."""
    return typing.get_type_hints(cls)


def option_fields(cls: type) -> dict[str, tuple[dataclasses.Field, Any]]:
    """Name -> (field, type) of every user option of a config class."""
    hints = field_types(cls)
    return {f.name: (f, hints[f.name]) for f in fields(cls) if "help" in f.metadata}


def group_titles(cls: type) -> dict[str, str]:
    """Heading of each option group of a whole-run config, by field name."""
    return {f.name: f.metadata["title"] for f in fields(cls) if "title" in f.metadata}


def group_classes(cls: type) -> dict[str, type]:
    """Config class of each option group of a whole-run config, by field name."""
    hints = field_types(cls)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and dataclasses.is_dataclass(hint)}


def from_options(cls: type[RunnableT], given: dict[str, Any]) -> RunnableT:
    """Build a whole-run config from flat option values. Other options get their defaults, those of the model by preset.

    Raises ConfigError for an unknown option, a wrong type or a value out of bounds.
    """
    parts = group_classes(cls)
    known = [name for group in parts.values() for name in option_fields(group)]
    for name in given:
        if name not in known:
            raise ConfigError(f"unknown option {name!r}{suggest(name, known)}")
    preset = convert("preset", given.get("preset", RunConfig.preset), Preset)
    built: dict[str, Any] = {part: from_some(group, given) for part, group in parts.items() if part != "model"}
    data = built["data"]
    bases = GENE_COLUMNS if data.positions == "gene" else data.max_bp
    start = dataclasses.asdict(PRESETS[preset]()) | {"max_bp": bases, "positions": data.positions}
    built["model"] = from_dict(parts["model"], start | select_options(parts["model"], given))
    config = cls(**built)
    check_sizes(config)
    return config


def with_options(config: RunnableT, given: dict[str, Any]) -> RunnableT:
    """Replace the values of some options; values that were derived from the data stay."""
    parts: dict[str, Any] = {
        part: from_dict(group, to_dict(getattr(config, part)) | select_options(group, given))
        for part, group in group_classes(type(config)).items()
    }
    changed = type(config)(**parts)
    check_sizes(changed)
    return changed


def from_dict(cls: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """Build a config object from JSON values and check them; inverse of `to_dict`. Raises ConfigError naming the key."""
    if not isinstance(values, dict):
        raise ConfigError(f"found {values!r}, expected a mapping with the options of {cls.__name__}")
    hints = field_types(cls)
    bounds = {f.name: f.metadata for f in fields(cls)}
    found = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"unknown key {name!r}{suggest(name, hints)}")
        words = bounds[name].get("words", {})
        if isinstance(value, str) and value in words:
            found[name] = words[value]
            continue
        found[name] = convert(name, value, hints[name])
        for each in found[name] if isinstance(found[name], tuple) else (found[name],):
            check_bounds(name, each, bounds[name])
    config = cls(**found)
    if isinstance(config, PretrainConfig | FinetuneConfig):  # of a run that was read back
        check_sizes(config, stored=True)
    return config


def from_some(cls: type[ConfigT], given: dict[str, Any]) -> ConfigT:
    """As `from_dict`, but ignore values that are options of other classes."""
    return from_dict(cls, select_options(cls, given))


def with_absolute_paths(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Make the input paths among the option values absolute, but for names of models and references.

    A run records them, and is opened later from other folders."""
    known = [option for group in group_classes(cls).values() for option in option_fields(group).items()]
    read = {name: hint for name, (_, hint) in known if Path in typing.get_args(hint)}  # what is written is not optional
    given = {name: value for name, value in values.items() if name in read and value is not None and value != ""}
    paths = {name: convert(name, value, read[name]) for name, value in given.items()}

    def absolute(name: str, path: Path) -> Path:
        return path if name in NAMED and not path.exists() else path.resolve()

    return values | {
        name: tuple(absolute(name, each) for each in path) if isinstance(path, tuple) else absolute(name, path)
        for name, path in paths.items()
    }


def path_of(name: str, value: Any) -> Path:
    """A path that a program gives, with `~` expanded; raises ConfigError for what is no path, such as a table."""
    try:
        return plain_path(option_flag(name), convert(name, value, Path))
    except ConfigError as error:
        raise ConfigError(python_words(str(error))) from error


def select_options(cls: type, given: dict[str, Any]) -> dict[str, Any]:
    """Select the values that are options of a config class."""
    return {name: value for name, value in given.items() if name in option_fields(cls)}


def to_dict(config: Any) -> dict[str, Any]:
    """JSON values of a config object."""
    return {f.name: word_of(f, to_json_value(getattr(config, f.name))) for f in fields(config)}


def word_of(field: dataclasses.Field, value: Any) -> Any:
    """The word for a value of a field that stands for one, such as auto; else the value."""
    words = {number: word for word, number in field.metadata.get("words", {}).items()}
    return words.get(value, value) if words else value


def to_json_value(value: Any) -> Any:
    """Convert the value of a field to JSON."""
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return [to_json_value(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Text `; did you mean …?` with the closest known name; empty if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def convert(name: str, value: Any, hint: Any) -> Any:
    """Convert a value to the type of its field; accepts numbers and booleans as text, as config files give them."""
    choices = typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_dict(hint, value)
    if typing.get_origin(hint) is tuple:  # one value, as YAML may have it, is a list of one; null, of none
        if value is None:
            return ()
        several = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
        return tuple(convert(name, each, choices[0]) for each in (value if several else [value]))
    if isinstance(hint, types.UnionType):
        return None if value is None else convert(name, value, next(c for c in choices if c is not types.NoneType))
    if typing.get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(f"{option_flag(name)} is {shown(value)}, expected one of {', '.join(choices)}")
        return value
    if hint is bool:
        known = value if isinstance(value, bool) else BOOLEANS.get(value.lower()) if isinstance(value, str) else None
        if known is None:
            raise ConfigError(f"{option_flag(name)} is {shown(value)}, expected true or false")
        return known
    try:
        return convert_plain(value, hint)
    except (TypeError, ValueError, OverflowError):
        expected = {int: "a whole number", float: "a number", Path: "a path", str: "text"}[hint]
        raise ConfigError(f"{option_flag(name)} is {shown(value)}, expected {expected}") from None


def convert_plain(value: Any, hint: type) -> Any:
    """Convert to a number, a path or text; raises ValueError or TypeError for what is none, such as a table."""
    if isinstance(value, bool) or (hint is str and not isinstance(value, str | Real)):
        raise ValueError
    if isinstance(value, str) and hint in (int, float):
        number = whole_of(value) if hint is int else number_of(value)
        if number is None or math.isnan(number):
            raise ValueError
        return number
    converted = hint(value)
    if hint is int and converted != value:
        raise ValueError
    return converted


def shown(value: Any) -> str:
    """A refused value as a message shows it: of a table or an array the beginning, in one line."""
    try:
        return shorten(one_line(repr(value)), QUOTED)
    except RecursionError:
        return f"a nested {type(value).__name__}"


def check_bounds(name: str, value: Any, bounds: typing.Mapping[str, Any]) -> None:
    """Raise ConfigError for a number that is not finite or out of the bounds of its field."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high, above = (bounds.get(key) for key in ("low", "high", "above"))
    finite = isinstance(value, int) or math.isfinite(value)
    inside = (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above)
    if not (finite and inside):
        words = {"at least": low, "more than": above, "at most": high}
        limits = [f"{word} {said(bound)}" for word, bound in words.items() if bound is not None]
        raise ConfigError(f"{option_flag(name)} is {said(value)}, expected {' and '.join(limits) or 'a finite number'}")


def said(number: float) -> str:
    """A number as a message shows it: whole ones in full."""
    return str(number) if isinstance(number, int) else f"{number:g}"
