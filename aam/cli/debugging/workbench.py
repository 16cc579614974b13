"""What looks into a run shares: data, batches and model as `aam pretrain` would have them, and a verdict."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from aam.cli import explain_error
from aam.cli.options import OWN_DATA, PATH, add_options
from aam.config import PretrainConfig, from_options, groups, options, with_options
from aam.errors import FAILED

if TYPE_CHECKING:
    from aam.corpus.batches import TrainingBatches
    from aam.corpus.dataset import Batch
    from aam.corpus.pretraining import Corpus
    from aam.training.places import RowNames
    from aam.training.run import PretrainLearner

F = TypeVar("F", bound=Callable[..., Any])
COMMON = ("table", "tree", "sequences", "unifrac_matrix", "batch_size", "preset", "seed", "device")
"""Options of `aam pretrain` that every such command takes."""


@dataclass(frozen=True)
class Workbench:
    """A run that never starts: its configuration, data, batches by number, and what a step would change."""

    config: PretrainConfig
    corpus: Corpus
    batches: TrainingBatches
    learner: PretrainLearner

    def names(self, batches: Sequence[Batch]) -> RowNames:
        """Names for rows of tensors while these batches pass through the model."""
        from aam.training.places import RowNames

        return RowNames(batches, self.corpus.table.asv_ids, self.learner.model)

    def varied(self, token_limit: int, accumulate: int) -> Workbench:
        """The same with a fresh copy of the model, another token limit and another number of batches a step."""
        config = dataclasses.replace(
            self.config,
            data=dataclasses.replace(self.config.data, token_limit=token_limit),
            optim=dataclasses.replace(self.config.optim, accumulate=accumulate),
        )
        return build_workbench(config, self.corpus, self.learner.model.state_dict())


@dataclass(frozen=True)
class Check:
    """One line of a verdict: a step on the way, what was looked at, what was found, and what is wrong with it."""

    step: str
    what: str
    found: str
    fault: str = ""


batches_option = click.option(
    "--batches", type=click.IntRange(1), default=1, show_default=True, help="Training batches to look at."
)


def workbench_options(*names: str) -> Callable[[F], F]:
    """Options of a command: those all share, further ones of `aam pretrain` by name, and a checkpoint to look into."""

    def decorate(function: F) -> F:
        known = {name: found for group in groups(PretrainConfig).values() for name, found in options(group).items()}
        text = "Look into this trained run, on its own data unless a table is given; without it, into a fresh model."
        function = click.option("--model", type=PATH, help=text)(function)
        return add_options({name: known[name] for name in (*COMMON, *names)})(function)

    return decorate


def open_workbench(model: Path | None, **given: Any) -> Workbench:
    """As `workbench_of`; without a run and without a table, on the embedded example."""
    asked = {name: value for name, value in given.items() if value is not None}
    return workbench_of(model, asked if model is not None else {"example": "table" not in asked} | asked)


def workbench_of(run: Path | None, asked: dict[str, Any]) -> Workbench:
    """Data, batches and model as `aam pretrain` has them with these options, or of a trained run with other options.

    A run is looked at on its own data unless a table is asked for. Raises an InputError for whatever does not fit.
    """
    from aam.checkpoint import Pretrained, open_as
    from aam.cli.terminal import status
    from aam.corpus.pretraining import open_corpus

    with status("opening data and model"):
        if run is None:
            config, weights = from_options(PretrainConfig, asked), None
        else:
            model, stored = open_as(Pretrained, run)
            others = OWN_DATA if "table" in asked else {}
            config, weights = with_options(stored, others | asked | {"compile": False}), model.state_dict()
        return build_workbench(config, open_corpus(config), weights)


def build_workbench(config: PretrainConfig, corpus: Corpus, weights: dict[str, Any] | None = None) -> Workbench:
    """Batches and model of a configuration, a fresh one unless weights are given."""
    from aam.models.devices import resolve_device
    from aam.training.optim import MODEST_SCALE, loss_scaler
    from aam.training.run import build_learner, training_batches

    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(config.run.device), weights)
    learner.scaler = loss_scaler(config.optim, learner.device, MODEST_SCALE)
    return Workbench(config, corpus, batches, learner)


def verdict(title: str, checks: Sequence[Check], notes: Sequence[str] = ()) -> int:
    """Print the checks as a table, what is wrong with them, and the notes; return the exit code, 1 where one failed."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("step", "looked at", "found", ""):
        table.add_column(column, overflow="fold")
    for check in checks:
        cells = [escape(cell) for cell in (check.step, check.what, check.found)]
        table.add_row(*cells, "[bold red]FAULT[/]" if check.fault else "[green]ok[/]")
    console = Console()
    console.print(table)
    faults = [check for check in checks if check.fault]
    for line in (*(f"{check.step}: {check.fault}" for check in faults), *notes):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    passed = len(checks) - len(faults)
    ending = f"; the first fault is in: {faults[0].step}" if faults else ""
    console.print(f"{passed} of {len(checks)} checks passed{ending}", highlight=False)
    return FAILED if faults else 0


def run(command: click.Command) -> NoReturn:
    """Run a script's command: 0 all is well, 1 something is wrong, 2 refused input; an error is one line on stderr."""
    try:
        code = command.main(standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the last resort, as in aam.cli.main
        message, code = explain_error(error)
        click.echo(message, err=True)
    sys.exit(code)
