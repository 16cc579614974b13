"""`aam prepare`: join tables and trees into a corpus that opens in milliseconds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, PATH, add_options, fields_of, option_values
from aam.config import PrepareConfig, from_dict
from aam.errors import ConfigError


@click.command("prepare")
@add_options(fields_of(PrepareConfig))
@click.option(
    "-o", "--output", type=OUTPUT, help="Corpus folder to write; a preparation that was stopped in it is continued."
)
@click.option("--verify", type=PATH, help="Corpus folder to verify: compare every file with its checksum, then stop.")
def command(output: Path | None, verify: Path | None, **values: Any) -> None:
    """Join feature tables and their trees into a corpus on disk, for `aam pretrain --corpus FOLDER`.

    ASVs of several tables with the same sequence become one ASV. With one tree per table, each study keeps its tree,
    and UniFrac is learned within studies. To continue a preparation that was stopped, repeat the same command.

    \b
    Examples: aam prepare --table a.biom --tree a.nwk --table b.biom --tree b.nwk -o corpus
              aam prepare --verify corpus
    """
    asked = option_values(values)
    if verify is not None and output is None and not asked:
        verify_corpus(verify)
        return
    if verify is not None or output is None:
        raise ConfigError("give tables, trees and --output FOLDER to prepare, or --verify FOLDER alone to check")
    from aam.cli.terminal import TERMINAL
    from aam.corpus.prepare import prepare

    started = time.monotonic()
    store = prepare(from_dict(PrepareConfig, asked), output, TERMINAL.say, TERMINAL.warn)
    click.echo(f"{describe_corpus(store.manifest['counts'])}: {output} ({time.monotonic() - started:.1f} s)")


def verify_corpus(folder: Path) -> None:
    """Compare every file of a corpus with its digest in the manifest."""
    from aam.corpus.store import open_store

    store = open_store(folder)
    files = sum(1 for _ in store.check())
    click.echo(f"{describe_corpus(store.manifest['counts'])}: {folder}: {files} files as they were written")


def describe_corpus(counts: dict[str, int]) -> str:
    """Describe the content of a corpus in words."""
    return ", ".join(f"{counts[name]:,} {name}" for name in ("samples", "ASVs", "studies", "trees"))
