"""`aam ledger`: the samples and ASVs that a run lost, and whether two runs lost the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.options import PATH
from aam.text import name_few

if TYPE_CHECKING:
    from aam.health.ledger import Ledger, Loss
    from aam.health.lost_samples import ColumnBias

LINES_SHOWN = 8
"""Ids of one reason, and counts of NaN of one run, that are listed."""
ITEM = click.option(
    "--item",
    type=click.Choice(["sample", "asv"]),
    default="sample",
    show_default=True,
    help="What to compare: lost samples or lost ASVs.",
)


class ShowUnlessNamed(click.Group):
    """A group that runs `show` if no command is named: `aam ledger RUN`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        named = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if named else ["show", *args])


@click.group("ledger", cls=ShowUnlessNamed, no_args_is_help=False)
def command() -> None:
    """Show which samples and ASVs a run lost, or compare two runs."""


@command.command("show", short_help="Show what a run kept and lost at each stage, and why.")
@click.argument("run", type=PATH)
@click.option("--table", type=PATH, help="Feature table; tests whether depth or richness of the lost samples differ.")
@click.option("--metadata", type=PATH, help="Sample metadata; tests for each column whether the lost samples differ.")
def show(run: Path, table: Path | None, metadata: Path | None) -> None:
    """Show how many samples and ASVs each stage of RUN kept and lost and why, and test whether the lost ones differ.

    \b
    Example: aam ledger show aam-run --table table.biom --metadata metadata.tsv
    """
    from aam.workflows.ledger import bias_of_losses, read_ledgers, sample_columns

    ledgers, columns = read_ledgers(run), sample_columns(table, metadata)
    for name, ledger in ledgers.items():
        if len(ledgers) > 1:
            click.echo(name)
        for row in ledger.accounts():
            click.echo(
                f"{row.stage:<12} {row.item:<7} {row.entered:>8,} = {row.kept:,} kept + {row.quarantined:,} lost"
            )
        _show_reasons(ledger)
        if table is not None or metadata is not None:
            _show_bias(bias_of_losses(ledger, columns))


@command.command("compare")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option(
    "--total",
    type=click.IntRange(min=0),
    help="Number of samples or ASVs that entered both runs; needed for p if A and B are lists.",
)
@ITEM
def compare_command(a: Path, b: Path, total: int | None, item: Any) -> None:
    """Count the samples or ASVs that both A and B lost, and the probability of so many by chance.

    A and B are run directories, ledger files, or text files with one id per line, optionally a tab and a count of NaN.

    \b
    Example: aam ledger compare run-12b run-27b.txt --total 100
    """
    from aam.health.lost_samples import common_total, compare_losses, read_lost

    lost_a, lost_b = read_lost(a, item), read_lost(b, item)
    result = compare_losses(lost_a.ids, lost_b.ids, common_total(lost_a, lost_b, total))
    for name, lost in (("A", lost_a), ("B", lost_b)):
        of = f" of {lost.total:,}" if lost.total is not None else ""
        click.echo(f"{name}: {len(lost.ids):,} {item}s lost{of} ({lost.source})")
    expected = "" if result.expected is None else f" ({result.expected:.1f} expected by chance)"
    click.echo(f"overlap: {result.both:,}{expected}")
    click.echo(f"containment: {result.containment:.0%} of the smaller set".replace("%", " %"))
    click.echo(f"Jaccard: {result.jaccard:.2f}")
    if result.p is None:
        click.echo("hypergeometric p: unknown; say with --total how many items both runs saw")
    else:
        click.echo(f"hypergeometric p: {result.p:.1e} (chance of an overlap at least this large)")
    for name, lost in (("A", lost_a), ("B", lost_b)):
        _show_nan(f"NaN in {name}", lost.nan_counts)


def _show_reasons(ledger: Ledger) -> None:
    from aam.health.ledger import nan_counts

    by_reason: dict[tuple[str, str, str], list[Loss]] = defaultdict(list)
    for loss in ledger.losses:
        by_reason[loss.stage, loss.item, loss.reason].append(loss)
    for (stage, item, reason), losses in by_reason.items():
        planned = " (asked for)" if losses[0].planned else ""
        click.echo(
            f"{stage}: {len(losses):,} {item}s: {reason}{planned}: "
            f"{name_few([loss.id for loss in losses], LINES_SHOWN)}"
        )
        _show_nan("  NaN", nan_counts(losses))


def _show_nan(title: str, counts: Mapping[str, int]) -> None:
    """Print the counts of NaN; where possible each as a number of whole tensor rows, e.g. of the hidden size."""
    from aam.health.stats import explain_count

    for name, count in list(counts.items())[:LINES_SHOWN]:
        click.echo(f"{title}: {name}: {count:,} = {explain_count(count, counts.values())}")
    if len(counts) > LINES_SHOWN:
        click.echo(f"{title}: and {len(counts) - LINES_SHOWN:,} more")


def _show_bias(rows: Sequence[ColumnBias]) -> None:
    if not rows:
        click.echo("bias: nothing to compare (no sample was lost, or no column has values on both sides)")
    for row in rows:
        verdict = "BIASED" if row.significant else "no sign of a bias"
        click.echo(
            f"bias: {row.column:<20} effect {row.effect:+.2f}  p {row.p:.2g}, adjusted {row.adjusted:.2g}  "
            f"({row.test}, {row.lost} lost, {row.kept} kept)  {verdict}"
        )
