"""Conversion of config fields to click options and back; no other module does this."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from aam import config as settings
from aam.config.apply import ApplyConfig
from aam.errors import ConfigError
from aam.paths import input_path, output_path
from aam.spelling import number_of

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
WRITTEN = ("output_dir", "cache")
"""Options of config classes that are written to."""
SHORT = {"output_dir": ("-o",)}
"""Short spellings of options of config classes."""
TRAINING_ONLY = ("output_dir", "resume", "dry_run", "preflight", "num_workers", "max_memory", "bundle_step")
"""Options of a run that mean nothing where nothing is trained."""
LONGEST_CONFIG = 1_000_000
"""Characters of a config file."""
Fields = dict[str, tuple[dataclasses.Field, Any]]


class PathOption(click.Path):
    """The type of every option that is a path: `rule`, with its name, checks the path before any work begins."""

    def __init__(self, rule: Callable[[str, str | Path], Path]):
        super().__init__(path_type=Path)
        self.rule = rule

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if param is None:
            return self.rule("path", value)
        return self.rule(param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name, value)


PATH, OUTPUT = PathOption(input_path), PathOption(output_path)
"""Types of options: a path that is read, and one that is written."""


class Number(click.ParamType):
    """A number by the rule of `aam.spelling`: click alone reads digits of all scripts, `1_000` and `nan`."""

    def __init__(self, kind: click.ParamType):
        self.kind, self.name = kind, kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and math.isnan(number_of(value)):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return self.kind.convert(value, param, ctx)


class Headed(click.Option):
    """An option with the heading under which the help lists it."""

    def __init__(self, *declarations: Any, heading: str, **attributes: Any):
        super().__init__(*declarations, **attributes)
        self.heading = heading


class HeadedCommand(click.Command):
    """A command with many options: `--help` lists those in `common`, `--help-all` all, by heading.

    Options without a heading are always listed, and come first.
    """

    def __init__(self, *arguments: Any, common: Collection[str] = (), **attributes: Any):
        super().__init__(*arguments, **attributes)
        self.common = frozenset(common)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), HELP_ALL]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        hidden = 0
        for heading, options in group_by_heading(self, ctx).items():
            listed = [each for each in options if self.is_listed(each, ctx)]
            hidden += len(options) - len(listed)
            if listed:
                with formatter.section(heading):
                    formatter.write_dl([record for option in listed if (record := option.get_help_record(ctx))])
        if hidden:
            formatter.write_paragraph()
            formatter.write_text(f"{hidden} more options: {ctx.command_path} --help-all")

    def is_listed(self, option: click.Option, ctx: click.Context) -> bool:
        """Whether the help that was asked for lists an option."""
        return ctx.meta.get(HELP_ALL.name, False) or not isinstance(option, Headed) or option.name in self.common


def show_all_help(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    """Print the help with every option, and exit, where the option is given."""
    if given:
        ctx.meta[HELP_ALL.name] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


HELP_ALL = click.Option(
    ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show_all_help, help="Show every option."
)


def group_by_heading(command: click.Command, ctx: click.Context) -> dict[str, list[click.Option]]:
    """Heading -> options of a command, in the order of its help."""
    found: dict[str, list[click.Option]] = {"Options": []}
    for option in command.get_params(ctx):
        if isinstance(option, click.Option):
            found.setdefault(option.heading if isinstance(option, Headed) else "Options", []).append(option)
    return found


def config_options(cls: type, without: Collection[str] = ()) -> Callable[[FunctionT], FunctionT]:
    """Decorate a command with one option for every option field of a whole-run config class, and --config.

    Options named in `without` are left out: the command does not use them.
    """

    def decorate(function: FunctionT) -> FunctionT:
        headings = settings.group_titles(cls)
        for part, group in reversed(settings.group_classes(cls).items()):
            known = {name: field for name, field in fields_of(group).items() if name not in without}
            function = add_options(known, headings.get(part, ""))(function)
        text = "YAML file with options as keys; options on the command line override it."
        return click.option("--config", "config_file", type=PATH, help=text)(function)

    return decorate


def fields_of(cls: type, names: Collection[str] | None = None) -> Fields:
    """Option fields of a config class, all or those named, with their types."""
    known = settings.option_fields(cls)
    return {name: known[name] for name in (known if names is None else names)}


def add_options(known: Fields, heading: str = "Options") -> Callable[[FunctionT], FunctionT]:
    """Decorate a command with one option for each of these fields."""

    def decorate(function: FunctionT) -> FunctionT:
        for name, (field, hint) in reversed(known.items()):
            function = build_option(name, field, hint, heading)(function)
        return function

    return decorate


def build_option(name: str, field: dataclasses.Field, hint: Any, heading: str) -> Callable[[FunctionT], FunctionT]:
    """The click option of one field; its value is None if the user did not give it."""
    shown = describe_default(field.default)
    text = field.metadata["help"] + shown
    if isinstance(hint, types.UnionType):
        hint = next(choice for choice in typing.get_args(hint) if choice is not types.NoneType)
    if hint is bool:
        spelling = (
            settings.option_flag(name)
            if field.default is False
            else f"{settings.option_flag(name)}/--no-{name.replace('_', '-')}"
        )
        return click.option(spelling, name, cls=Headed, heading=heading, is_flag=True, default=None, help=text)
    several = typing.get_origin(hint) is tuple
    if several:
        hint = typing.get_args(hint)[0]
    paths = OUTPUT if name in WRITTEN else PATH
    kind: Any = {int: Number(click.INT), float: Number(click.FLOAT), str: str, Path: paths}.get(hint)
    if typing.get_origin(hint) is Literal:
        kind = click.Choice(typing.get_args(hint))
    looks: dict[str, Any] = {"cls": Headed, "heading": heading, "default": None, "help": text}
    if words := field.metadata.get("words"):  # the config refuses other texts
        kind, looks["metavar"] = str, "|".join(["INTEGER", *words])
    return click.option(*SHORT.get(name, ()), settings.option_flag(name), name, type=kind, multiple=several, **looks)


def describe_default(default: Any) -> str:
    if isinstance(default, tuple):
        default = " ".join(map(str, default)) or None
    return "" if default is None or isinstance(default, bool) else f"  [default: {default}]"


def read_config_file(path: Path) -> dict[str, Any]:
    """Option values of a YAML file; raises ConfigError for a file that is missing, broken or not a mapping."""
    from aam.io.files import check_file, read_lines

    check_file(path, "--config", ConfigError)
    text = ""
    for _, line in read_lines(path, f"--config {path}", ConfigError):
        text += f"{line}\n"
        if len(text) > LONGEST_CONFIG:
            raise ConfigError(f"--config {path}: longer than {LONGEST_CONFIG:,} characters; give a file of options")
    return settings.parse_yaml(text, f"--config {path}")


def with_flags(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a config file, with those of flags of the command as booleans; raises ConfigError for others."""
    context = click.get_current_context(silent=True)
    known = [] if context is None else context.command.params
    flags = {option.name for option in known if isinstance(option, click.Option) and option.is_flag}
    return {name: settings.convert(name, value, bool) if name in flags else value for name, value in values.items()}


def option_values(options: dict[str, Any], config_file: Path | None = None) -> dict[str, Any]:
    """The option values that the user gave: those of the config file, overridden by the command line."""
    from_file = {} if config_file is None else with_flags(read_config_file(config_file))
    for name in from_file:
        if name not in options:
            raise ConfigError(f"--config {config_file}: unknown option {name!r}{settings.suggest(name, options)}")
    checked = {name: check_paths(name, value) for name, value in from_file.items()}
    return checked | {name: value for name, value in options.items() if value is not None and value != ()}


def check_paths(name: str, value: Any) -> Any:
    """The value of an option in a config file; paths are checked by the rule of the option."""
    options = {option.name: option.type for option in click.get_current_context().command.params}
    if not isinstance(kind := options[name], PathOption):
        return value

    def checked(path: Any) -> Any:
        return kind.rule(settings.option_flag(name), path) if isinstance(path, str) else path

    return [checked(each) for each in value] if isinstance(value, list) else checked(value)


READS = ("trim", "orient")
"""Options of `DataConfig` that line up the reads of a table."""
TREE_INPUTS = ("tree", "max_missing")
"""Options of `DataConfig` for a tree, where a command can do without one."""


USUAL_MODEL = "the encoder that comes with aam"


def model_option(default: str = USUAL_MODEL, what: str = "Model") -> Callable[[FunctionT], FunctionT]:
    """Decorate a command with --model; `default` says what is done without it."""
    text = (
        f"{what}: a run directory, a checkpoint in it, a name that `aam models` lists, or OWNER/NAME of the hub of "
        f"Hugging Face (default: {default})."
    )
    return click.option("--model", "model_path", type=PATH, metavar="MODEL", help=text)


def model_command(extra: Fields, default: str = USUAL_MODEL) -> Callable[[FunctionT], FunctionT]:
    """Decorate a command with --model, the options that all commands with --model share, and the `extra` ones."""
    known = fields_of(settings.DataConfig, ("table", "sequences", "example", *READS))
    known |= extra | fields_of(ApplyConfig) | fields_of(settings.RunConfig, ("seed", "device"))
    return lambda function: model_option(default)(add_options(known)(function))
