"""`aam models`: the models that can be asked for by name, and the runs in the current folder."""

from __future__ import annotations

import json

import click


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a list of objects, in place of the table.")
def command(as_json: bool) -> None:
    """List the models: those that come with aam, your own, and the runs in the current folder.

    The table names the region of the 16S gene that a model was trained on, the length of its embeddings (width), and
    its metrics of held-out samples. `--model NAME` and `--pretrained NAME` take the names. Your own models are folders
    in ~/.local/share/aam/models, or where the environment variable AAM_MODELS says.

    \b
    Example: aam models
    """
    from aam.cli.terminal import TERMINAL
    from aam.text import table_text

    with TERMINAL.stage("starting"):
        from aam.workflows.models import list_models, rows_of, total_text
    models = list_models(TERMINAL)
    if as_json:
        click.echo(json.dumps([one.record for one in models], indent=2))
        return
    click.echo(table_text(rows_of(models), indent=0))
    click.echo(total_text(models), err=True)
