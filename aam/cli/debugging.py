"""Shared code of the scripts in `debug/`: options, tables of inspections, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aam.cli import run
from aam.cli.options import PATH, add_options
from aam.cli.terminal import TERMINAL
from aam.config import PretrainConfig, group_classes, option_fields
from aam.errors import FAILED
from aam.workflows.workbench import Inspection, Workbench, open_workbench

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
COMMON = ("table", "tree", "sequences", "unifrac_matrix", "batch_size", "preset", "seed", "device")
"""Options of `aam pretrain` that every script takes."""
batches_option = click.option(
    "--batches", type=click.IntRange(1), default=1, show_default=True, help="Training batches to look at."
)


def workbench_options(*names: str) -> Callable[[FunctionT], FunctionT]:
    """Add options to a command: the common ones, those of `aam pretrain` named here, and --model."""

    def decorate(function: FunctionT) -> FunctionT:
        known = {
            name: found
            for group in group_classes(PretrainConfig).values()
            for name, found in option_fields(group).items()
        }
        text = "Trained run to inspect, on its own data unless a table is given (default: a fresh model)."
        function = click.option("--model", type=PATH, help=text)(function)
        return add_options({name: known[name] for name in (*COMMON, *names)})(function)

    return decorate


def script_workbench(model: Path | None, **given: Any) -> Workbench:
    """Open the workbench for the options of a script; without a run and a table, on the embedded example."""
    asked = {name: value for name, value in given.items() if value is not None}
    example = {} if model is not None else {"example": "table" not in asked}
    return open_workbench(model, example | asked, TERMINAL)


def print_inspections(title: str, inspections: Sequence[Inspection], notes: Sequence[str] = ()) -> int:
    """Print inspections as a table, their faults, and the notes; return the exit code: 1 if there is a fault."""
    table = Table(title=title, title_justify="left")
    for column in ("step", "looked at", "found", ""):
        table.add_column(column, overflow="fold")
    for row in inspections:
        cells = [escape(cell) for cell in (row.step, row.what, row.found)]
        table.add_row(*cells, "[bold red]FAULT[/]" if row.fault else "[green]ok[/]")
    console = Console()
    console.print(table)
    faults = [row for row in inspections if row.fault]
    for line in (*(f"{row.step}: {row.fault}" for row in faults), *notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    passed = len(inspections) - len(faults)
    ending = f"; the first fault is in: {faults[0].step}" if faults else ""
    console.print(f"{passed} of {len(inspections)} checks passed{ending}", highlight=False)
    return FAILED if faults else 0


def run_script(command: click.Command) -> NoReturn:
    """Run a script's command and return its exit code: 0 no fault, 1 a fault, 2 unusable input (one line on stderr)."""
    sys.exit(run(command))
