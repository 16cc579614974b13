"""`aam replay`: repeat a training step of a run bit for bit, and find its fault."""

from __future__ import annotations

from pathlib import Path

import click

from aam.cli.options import PATH


@click.command("replay")
@click.argument("bundle", type=PATH)
@click.option(
    "--locate", is_flag=True, help="Also trace every operation and find the cause of a value that is not finite."
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Device to compute on: cpu, cuda or cuda:N; only a CPU gives the same bits.",
)
def command(bundle: Path, locate: bool, device: str) -> int:
    """Repeat the training step in BUNDLE and compare loss, gradient norm and weights with the run's, bit for bit.

    A run writes BUNDLE at a fault (faults/step-N/bundle.safetensors in the run directory) or at the step of
    --bundle-step. Exit code 0: all bits are the same; 1: something differs.

    \b
    Example: aam replay aam-run/faults/step-12/bundle.safetensors --locate
    """
    from aam.cli.terminal import TERMINAL
    from aam.workflows.checks import replay

    found = replay(bundle, device, locate, TERMINAL)
    attempt, again = found.bundle.attempt, found.again
    samples = sum(len(batch.sample_ids) for batch in attempt.microbatches)
    click.echo(f"step {attempt.number + 1}: {samples} samples, {found.bundle.config.optim.precision}")
    for name, (here, there) in found.changed.items():
        click.echo(f"{name} is {here} here, {there} in the run: the last bits may differ")
    click.echo(found.trace, nl=False)
    if not found.rows:
        click.echo(
            f"loss {again.terms[0]:.9g}, gradient norm {again.grad_norm:.9g}; the run recorded nothing to compare"
        )
        return 0
    click.echo(f"{'':<15}{'recorded':<18}{'again':<18}")
    for row in found.rows:
        click.echo(f"{row.name:<15}{row.recorded:<18}{row.again:<18}{'same bits' if row.same else 'DIFFERENT'}")
    click.echo("the weights were not updated, then and now" if not again.updated else "the weights were updated")
    return 0 if found.is_identical else 1
