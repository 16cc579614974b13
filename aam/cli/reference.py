"""`aam reference`: sequences and their tree as a folder on which ASVs are placed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, add_options, fields_of, option_values
from aam.config import from_dict
from aam.config.reference import ReferenceConfig
from aam.text import counted


@click.command("reference")
@add_options(fields_of(ReferenceConfig))
@click.option(
    "-o",
    "--output",
    required=True,
    type=OUTPUT,
    help="Folder to write; a reference that was stopped in it is continued.",
)
def command(output: Path, **values: Any) -> None:
    """Make a reference of 16S sequences and their tree, on which ASVs of any primer are placed.

    Each sequence is put on the columns of a profile of the 16S gene; whole genes take some 30 ms each. To continue a
    reference that was stopped, repeat the same command.

    \b
    Example: aam reference --sequences 97_otus.fasta --tree 97_otus.tree --taxonomy 97_otu_taxonomy.txt -o gg-13-8
    """
    from aam.cli.terminal import TERMINAL

    started = time.monotonic()
    config = from_dict(ReferenceConfig, option_values(values))
    with TERMINAL.stage("starting"):
        from aam.workflows.reference import make_reference
    reference = make_reference(config, output, TERMINAL)
    tips = counted(len(reference.tree.tip_names), "tips")
    click.echo(
        f"{tips} on columns {reference.first:,} to {reference.last:,} of the 16S gene: {output} "
        f"({time.monotonic() - started:.1f} s)"
    )
