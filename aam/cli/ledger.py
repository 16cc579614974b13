"""`aam ledger`: what a run lost, and whether two runs lost the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.options import PATH
from aam.errors import InputError
from aam.text import few

if TYPE_CHECKING:
    from aam.health.ledger import Ledger, Loss
    from aam.health.lost_samples import Lost

SHOWN = 8
"""Ids of one reason, and counts of NaN of one run, that are listed."""
SIGNIFICANT = 0.05
"""Adjusted p below which a column is called biased."""
ITEM = click.option(
    "--item",
    type=click.Choice(["sample", "asv"]),
    default="sample",
    show_default=True,
    help="What to compare: lost samples or lost ASVs.",
)


class ShowUnlessNamed(click.Group):
    """Commands of which `show` is meant where none is named: `aam ledger RUN`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        named = args[0] in self.commands or args[0].startswith("-")
        return super().resolve_command(ctx, args if named else ["show", *args])


@click.group("ledger", cls=ShowUnlessNamed, no_args_is_help=False)
def command() -> None:
    """Show which samples and ASVs a run lost, or compare two runs."""


@command.command("show")
@click.argument("run", type=PATH)
@click.option("--table", type=PATH, help="Feature table; tests whether depth or richness of the lost samples differ.")
@click.option("--metadata", type=PATH, help="Sample metadata; tests for each column whether the lost samples differ.")
def show(run: Path, table: Path | None, metadata: Path | None) -> None:
    """Show how many samples and ASVs each stage of RUN kept and lost and why, and test whether the lost ones differ.

    \b
    Example: aam ledger show aam-run --table table.biom --metadata metadata.tsv
    """
    from aam.health.ledger import Ledger

    files = ledger_files(run)
    for file in files:
        if len(files) > 1:
            click.echo(file.parent.name)
        ledger = Ledger.read(file)
        for row in ledger.accounts():
            click.echo(
                f"{row.stage:<12} {row.item:<7} {row.entered:>8,} = {row.kept:,} kept + {row.quarantined:,} lost"
            )
        _show_reasons(ledger)
        if table is not None or metadata is not None:
            _show_bias(ledger, covariates(table, metadata))


def ledger_files(run: Path) -> list[Path]:
    """The ledger of a run, or those of its folds; raises `InputError` where there is none."""
    from aam.checkpoint import fold_folders
    from aam.health.ledger import FILE_NAME

    files = [folder / FILE_NAME for folder in fold_folders(run) or [run]] if run.is_dir() else [run]
    for file in files:
        if not file.is_file():
            raise InputError(f"{run}: no {FILE_NAME} here; give the output directory of a run, or the ledger itself")
    return files


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
    from aam.health.lost_samples import compare, read_lost

    lost_a, lost_b = read_lost(a, item), read_lost(b, item)
    result = compare(lost_a.ids, lost_b.ids, common_total(lost_a, lost_b, total))
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


def common_total(a: Lost, b: Lost, total: int | None) -> int | None:
    """The number of items that both runs saw: as told, or as both ledgers agree; `InputError` where they do not."""
    known = {lost.total for lost in (a, b) if lost.total is not None}
    if total is None and len(known) > 1:
        raise InputError(f"{a.source} saw {a.total} items and {b.source} {b.total}; say with --total how many both saw")
    return total if total is not None else next(iter(known), None)


def covariates(table: Path | None, metadata: Path | None) -> dict[str, Mapping[str, Any]]:
    """Depth and richness of each sample of a table, and each column of metadata, by sample id."""
    columns: dict[str, Mapping[str, Any]] = {}
    if table is not None:
        from aam.io.table import read_table

        read = read_table(table)
        columns["depth"] = dict(zip(read.sample_ids, read.counts.sum(axis=1).tolist(), strict=True))
        columns["richness"] = dict(zip(read.sample_ids, (read.counts > 0).sum(axis=1).tolist(), strict=True))
    if metadata is not None:
        from aam.io.metadata import read_metadata

        frame = read_metadata(metadata)
        columns |= {str(name): frame[name].to_dict() for name in frame.columns}
    return columns


def _show_reasons(ledger: Ledger) -> None:
    by_reason: dict[tuple[str, str, str], list[Loss]] = defaultdict(list)
    for loss in ledger.losses:
        by_reason[loss.stage, loss.item, loss.reason].append(loss)
    for (stage, item, reason), losses in by_reason.items():
        planned = " (asked for)" if losses[0].planned else ""
        click.echo(f"{stage}: {len(losses):,} {item}s: {reason}{planned}: {few([loss.id for loss in losses], SHOWN)}")
        _show_nan("  NaN", {loss.id: int(loss.facts["nan"]) for loss in losses if "nan" in loss.facts})


def _show_nan(title: str, counts: Mapping[str, int]) -> None:
    """What a count of NaN amounts to, e.g. whole rows of the hidden size."""
    from aam.health.stats import explain_count

    for name, count in list(counts.items())[:SHOWN]:
        click.echo(f"{title}: {name}: {count:,} = {explain_count(count, counts.values())}")
    if len(counts) > SHOWN:
        click.echo(f"{title}: and {len(counts) - SHOWN:,} more")


def _show_bias(ledger: Ledger, columns: dict[str, Mapping[str, Any]]) -> None:
    from aam.health.lost_samples import bias

    lost = {loss.id for loss in ledger.losses if loss.item == "sample"}
    rows = bias(lost, set(ledger.seen() - lost), columns)
    if not rows:
        click.echo("bias: nothing to compare (no sample was lost, or no column has values on both sides)")
    for row in rows:
        verdict = "BIASED" if row.adjusted < SIGNIFICANT else "no sign of a bias"
        click.echo(
            f"bias: {row.column:<20} effect {row.effect:+.2f}  p {row.p:.2g}, adjusted {row.adjusted:.2g}  "
            f"({row.test}, {row.lost} lost, {row.kept} kept)  {verdict}"
        )
