"""`aam place`: the place of each ASV on the tree of a reference, and its taxonomy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.options import OUTPUT, add_options, fields_of, model_option, option_values
from aam.config import DataConfig, from_some
from aam.config.apply import PlaceConfig
from aam.config.reference import InsertionConfig
from aam.text import counted

if TYPE_CHECKING:
    from aam.workflows.place import Placement

INPUT_OPTIONS = ("table", "sequences", "example")
"""The options of `DataConfig` that matter here."""
FILES = TREE, JPLACE, PLACEMENTS, TAXONOMY, RANKS = (
    "insertion-tree.nwk",
    "placements.jplace",
    "placements.tsv",
    "taxonomy.tsv",
    "taxonomy-ranks.tsv",
)
"""Files in the output folder."""


@click.command("place")
@add_options(fields_of(DataConfig, INPUT_OPTIONS) | fields_of(InsertionConfig) | fields_of(PlaceConfig))
@model_option("the reference that comes with aam", "Model whose reference to place on")
@click.option("-o", "--output", required=True, type=OUTPUT, help="Folder to write to.")
def command(model_path: Path | None, output: Path, **values: Any) -> None:
    """Place the ASVs of a table, or of a FASTA file, on the tree of a reference, and name their taxa.

    The folder gets insertion-tree.nwk, a rooted tree that `qiime`, scikit-bio and `aam` read; placements.jplace, with
    several places of each ASV and their weights; placements.tsv, with the region, the nearest references, the
    expected error and warnings for each ASV; taxonomy.tsv, as q2-feature-classifier writes it; and taxonomy-ranks.tsv,
    with a confidence at each rank. Reads of any region of the 16S gene and of either strand are placed. ASVs that
    are no 16S, or far from every reference, are not in the tree.

    \b
    Example: aam place --table table.qza --sequences rep-seqs.qza -o placed
    """
    from aam.cli.terminal import TERMINAL
    from aam.io.output import check_output_files

    started, asked = time.monotonic(), option_values(values)
    config = from_some(PlaceConfig, asked)
    data = from_some(DataConfig, {name: asked[name] for name in INPUT_OPTIONS if name in asked})
    check_output_files(output, FILES)
    with TERMINAL.stage("starting"):
        from aam.workflows.asv_sources import read_inputs
        from aam.workflows.model_names import placing_of
        from aam.workflows.place import place
    chosen = placing_of(model_path, asked, TERMINAL)
    with TERMINAL.stage("reading the data"):
        asvs = read_inputs(data, TERMINAL)
    found = place(asvs, config, chosen, TERMINAL)
    with TERMINAL.stage("writing"):
        write(found, output)
    seconds = f"{time.monotonic() - started:.1f} s"
    lost = f"; {found.summary}" if found.summary else ""
    files = ", ".join(sorted(path.name for path in output.iterdir() if path.name in FILES))
    click.echo(f"{counted(len(found.places.placed), 'ASVs')} placed in {seconds}{lost}; written to {output}: {files}")


def write(found: Placement, folder: Path) -> None:
    """Write the files of a placement to a folder, which is made if it does not exist."""
    from aam.io.frames import write_frame
    from aam.io.output import all_or_none, new_file
    from aam.placement.jplace import write_jplace
    from aam.workflows.place import PROGRAM

    folder.mkdir(parents=True, exist_ok=True)
    with all_or_none():
        with new_file(folder / TREE) as partial:
            partial.write_text(found.newick + "\n", encoding="utf-8")
        with new_file(folder / JPLACE) as partial:
            write_jplace(partial, found.places, found.reference, PROGRAM)
        for name, table in ((PLACEMENTS, found.placements), (TAXONOMY, found.taxonomy), (RANKS, found.ranks)):
            if table is not None:
                with new_file(folder / name) as partial:
                    write_frame(partial, table)
