"""The command line: `aam COMMAND ...`.

Each command is a module of this package with an attribute `command`. It is imported only when it runs, because
importing torch takes seconds. Therefore the help lines for `aam --help` are listed here.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from aam import __version__
from aam.cli import streams
from aam.errors import FAILED, REFUSED, ConfigError, Interrupted, error_text, expected_error
from aam.paths import is_utf8, output_path
from aam.stopping import end_on_signals
from aam.text import one_line, quote

COMMAND_GROUPS = {
    "Start": {
        "pretrain": "Pretrain an encoder on a feature table and a tree, without labels.",
        "train": "Train a model that predicts a metadata column, from a pretrained encoder or from scratch.",
        "prepare": "Join feature tables and trees into a corpus on disk, for fast and large pretraining.",
        "reference": "Make a reference of 16S sequences and their tree, on which ASVs are placed.",
        "preflight": "Check that a model can learn from the data, before pretraining starts.",
    },
    "Use a model or a reference": {
        "embed": "Write embeddings of the samples or ASVs of a table.",
        "distance": "Find UniFrac and Faith PD of a table from its sequences, without a tree of them.",
        "place": "Place ASVs on the tree of a reference, and name their taxa.",
        "predict": "Predict the target for the samples of a table, with a model of `aam train`.",
        "explain": "Find the ASVs that drive sample embeddings or predictions.",
        "export": "Write an encoder as a PyTorch program that runs without this package.",
        "models": "List the models that come with aam, your own, and the runs in this folder.",
    },
    "Compare": {
        "baseline": "Score random forest, linear models and nearest neighbours on the folds of a run.",
        "report": "Write the results of a run as one HTML file.",
        "unifrac": "Compute UniFrac between all samples of a table, or Faith PD of each.",
    },
    "Look into a run": {
        "ledger": "Show which samples and ASVs a run lost, or compare two runs.",
        "replay": "Repeat one training step of a run bit for bit, and find its fault.",
        "precision": "Find where the values of a model are out of the range of fp16 and bf16.",
    },
}
"""Heading -> name of each command, which is the name of its module, and its line in `aam --help`."""
COMMANDS = {name: text for commands in COMMAND_GROUPS.values() for name, text in commands.items()}


class LazyGroup(click.Group):
    """Commands by name; each is imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a misspelt name suggest a similar one, and refuse a path that is given twice."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from aam.config import suggest

            ctx.fail(f"No such command {args[0]!r}{suggest(args[0], COMMANDS) or '.'}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            ctx.obj["writes"] = any(getattr(each.type, "rule", None) is output_path for each in command.params)
            refuse_repeated_paths(command, click.Context(command, ctx, name), rest)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click would take any broken pipe for that of stdout, and end without a word."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ConnectionError(one_line(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, commands in COMMAND_GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))


def refuse_repeated_paths(command: click.Command, ctx: click.Context, arguments: Sequence[str]) -> None:
    """Raise `UsageError` if a path option that takes one value is given twice: click would silently use the last.

    Other options may be repeated: scripts append options to a fixed command line.
    """
    _, _, order = command.make_parser(ctx).parse_args(list(arguments))
    for option in order:
        one_path = isinstance(option.type, click.Path) and not option.multiple and isinstance(option, click.Option)
        if one_path and (times := order.count(option)) > 1:
            raise click.UsageError(
                f"{option.opts[-1]} is given {times} times, expected once; leave the others out (`aam prepare` joins "
                "tables).",
                ctx,
            )


@click.group(
    "aam", cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="aam")
@click.option("--debug", is_flag=True, help="Show the full traceback of an error.")
@click.pass_context
def group(ctx: click.Context, debug: bool) -> None:
    """Attention All Microbes: a transformer for microbiome amplicon data.

    \b
    A first look, with the example that comes with aam:
      aam place --example -o placed               # 10 seconds: a tree and a taxonomy
      aam distance --example -o distances.tsv     # 10 seconds: UniFrac
      aam pretrain --example --max-minutes 3      # 4 minutes: a model, and a report
    """
    from aam.config import HealthConfig
    from aam.config.switches import read_switches

    ctx.obj["debug"] = debug
    switches = read_switches(os.environ, HealthConfig())  # a misspelt switch that does nothing costs days
    if debug and switches.ignored:
        click.echo(f"no switches of aam, ignored: {', '.join(switches.ignored)}", err=True)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: that of the process); return the exit code. Errors are one line on stderr."""
    return run(group, arguments, "aam")


def run(command: click.Command, arguments: Sequence[str] | None = None, name: str | None = None) -> int:
    """Run a click command as `main` runs all of `aam`; without a `name` usage names the script."""
    options = {"debug": False, "writes": False}
    with streams.lasting_streams() as stdout, end_on_signals() as signals:
        try:
            refuse_odd_arguments(sys.argv[1:] if arguments is None else arguments)
            with hide_variable("MPLBACKEND"):
                code = command.main(arguments, prog_name=name, standalone_mode=False, obj=options)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - whatever went wrong, one line and a code
            if options["debug"]:
                traceback.print_exc()
            message, code = explain_error(error, signals.name)
            click.echo(message, err=True)
        code = code if isinstance(code, int) else 0
        if stdout is not None and (lost := stdout.lost()) is not None:
            click.echo(f"Error: what was to be printed is lost: {os.strerror(lost)}: standard output", err=True)
            code = code or (0 if options["writes"] else FAILED)
        return code


def refuse_odd_arguments(arguments: Sequence[str]) -> None:
    """Raise ConfigError for arguments that are not text: a name of a file or of a column in another encoding."""
    if (odd := next((text for text in arguments if not is_utf8(text)), None)) is not None:
        raise ConfigError(
            f"argument {quote(odd)} is not text in the encoding of this locale, {sys.getfilesystemencoding()}; give it "
            "in UTF-8 and set PYTHONUTF8=1, or rename what it names"
        )


@contextmanager
def hide_variable(name: str) -> Iterator[None]:
    """Hide an environment variable in this block.

    MPLBACKEND names the display that matplotlib uses. A notebook sets it for its child processes. There the import of
    matplotlib fails if the packages of the notebook are not installed. Commands only write figures to files.
    """
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def explain_error(error: BaseException, signal_name: str = "") -> tuple[str, int]:
    """One line for the user, and the exit code; an unexpected error is reported as a bug of `aam`.

    `signal_name`: the signal that has ended the command, of which any error may be a consequence; empty without one.
    """
    if isinstance(error, click.Abort | KeyboardInterrupt) or (signal_name and not isinstance(error, Interrupted)):
        return f"Error: interrupted{signal_name and ' by '}{signal_name}; start again", Interrupted.exit_code
    assert isinstance(error, Exception)
    if (known := explain_option_error(error) or expected_error(error)) is not None:
        return f"Error: {known[0]}", known[1]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"Error: this is a bug in aam {__version__}: {error_text(error)} ({Path(frame.filename).name}, line "
        f"{frame.lineno}); please report it with the output of `aam --debug ...`"
    ), FAILED


def explain_option_error(error: Exception) -> tuple[str, int] | None:
    """Text and exit code of an error that click raised for options, None for any other error."""
    if not isinstance(error, click.ClickException):
        return None
    if isinstance(error, click.NoSuchOption):  # the nearest one, not all that are somewhat near
        import difflib

        near = difflib.get_close_matches(error.option_name, error.possibilities or (), n=1)
        error = click.NoSuchOption(error.option_name, error.message, near, error.ctx)
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = f" See `{context.command_path} --help`." if context else ""
    if "unexpected extra argument" in error.message:
        where = f"; an option takes one value, repeat it for more (--quantiles 0.1 --quantiles 0.9).{where}"
    return f"{' '.join(error.format_message().split())}{where}", REFUSED
