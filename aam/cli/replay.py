"""`aam replay`: make a step of a run again, to the last bit, and look into it."""

from __future__ import annotations

from pathlib import Path

import click

from aam.cli.options import PATH


@click.command("replay")
@click.argument("bundle", type=PATH)
@click.option("--locate", is_flag=True, help="Trace every operation and ask for the cause of what is not finite.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N; only a CPU gives the same bits.")
def command(bundle: Path, locate: bool, device: str) -> int:
    """Make the step in BUNDLE again and compare loss, gradient norm and weights with those of the run, bit by bit.

    BUNDLE is a file that a run wrote at a fault, faults/step-N/bundle.safetensors in its output directory, or for a
    step that --bundle-step named. Exit code 0 where all is the same, 1 where something differs.

    \b
    Example: aam replay aam-run/faults/step-12/bundle.safetensors --locate
    """
    from aam.models.devices import resolve_device
    from aam.training.bundles import compare_outcomes, open_bundle, replay, runtime_versions
    from aam.training.diagnosis import diagnose, full_text

    found = open_bundle(bundle, resolve_device(device))
    samples = sum(len(batch.sample_ids) for batch in found.attempt.microbatches)
    click.echo(f"step {found.attempt.number + 1}: {samples} samples, {found.config.optim.precision}")
    here = runtime_versions(found.learner.device)
    for name, text in found.versions.items():
        if here[name] != text:
            click.echo(f"{name} is {here[name]} here, {text} in the run: the last bits may differ")
    if locate:
        click.echo(full_text(diagnose(found.learner, found.attempt, found.names), found.names, {}), nl=False)
    again = replay(found)
    if found.outcome is None:
        click.echo(
            f"loss {again.terms[0]:.9g}, gradient norm {again.grad_norm:.9g}; the run recorded nothing to compare"
        )
        return 0
    rows = list(compare_outcomes(found.outcome, again))
    click.echo(f"{'':<15}{'recorded':<18}{'again':<18}")
    for row in rows:
        click.echo(f"{row.name:<15}{row.recorded:<18}{row.again:<18}{'same bits' if row.same else 'DIFFERENT'}")
    click.echo("the weights were not updated, then and now" if not again.updated else "the weights were updated")
    return 0 if all(row.same for row in rows) else 1
