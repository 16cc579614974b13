"""What lining up reads is worth: ASVs and reads that studies share, and the error of a model carried over.

    python benchmarks/lineup.py --study ../shared/data/ecam-infants [--with ../shared/data/ibd-2538 --with ...]

The study is divided by subject. A model learns the age from one half; the samples of the other half are predicted as
they are, and as another laboratory would have sequenced them: reads that begin --shift bases later and are shorter.
Between real studies, of reads of several lengths, the shares of ASVs and reads in common are told.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import biom
import click
import numpy as np
import pandas as pd
from biom.util import biom_open

import aam
from aam.corpus.lineup import Rules, line_up
from aam.gene.layout import common_window, summarise_reads
from aam.io.metadata import read_text
from aam.io.table import Table, read_table
from aam.text import table_text

TARGET, SUBJECT = "month_of_life", "host_subject_id"


def write(table: Table, sequences: Sequence[str], rows: np.ndarray, path: Path) -> Path:
    """Write some samples of a table with other sequences of its ASVs; equal ones are merged, absent ones left out."""
    counts = pd.DataFrame(table.counts[rows].toarray().T, index=list(sequences)).groupby(level=0, sort=False).sum()
    counts = counts[counts.sum(axis=1) > 0]
    ids = [table.sample_ids[row] for row in rows.tolist()]
    with biom_open(str(path), "w") as file:
        biom.Table(counts.to_numpy(), list(counts.index), ids).to_hdf5(file, "benchmark")
    return path


def shared(one: Table, other: Table) -> tuple[float, float]:
    """Share of the ASVs of `other` that `one` has too, and of its reads."""
    known = set(one.sequences)
    common = np.array([text in known for text in other.sequences])
    reads = np.asarray(other.counts.sum(axis=0)).ravel()
    return float(common.mean()), float(reads[common].sum() / reads.sum())


def shares_row(name: str, one: Table, other: Table) -> list[str]:
    """ASVs and reads in common before and after `--trim auto`."""
    window = common_window([record for table in (one, other) if (record := summarise_reads(table.sequences))])
    rules = Rules(str(window), "auto")
    cells = [f"{share:.1%}" for share in shared(one, other)]
    cells += [f"{share:.1%}" for share in shared(line_up(one, rules).table, line_up(other, rules).table)]
    return [name, *cells, str(window)]


def errors_row(name: str, model: Path, table: Path, metadata: Path, trim: str) -> list[str]:
    """Error of a model on a table."""
    with contextlib.redirect_stderr(io.StringIO()):
        found = aam.predict(table, model=model, trim=trim, seed=0)[TARGET]
    truth = pd.to_numeric(read_text(metadata).loc[found.index, TARGET])
    error = float((found - truth).abs().mean())
    r2 = 1 - float(((found - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    return [name, f"{error:.2f}", f"{r2:.3f}"]


@click.command()
@click.option(
    "--study", required=True, type=click.Path(path_type=Path), help="Folder with table.biom and metadata.tsv."
)
@click.option("--with", "others", multiple=True, type=click.Path(path_type=Path), help="Folder of another study.")
@click.option("--shift", default=10, help="Bases by which the reads of the second half begin later.")
@click.option("--bases", default=130, help="Length of the reads of the second half.")
@click.option("--max-steps", default=300, help="Steps to train each model.")
@click.option("--pretrained", type=click.Path(path_type=Path), help="Encoder that the models begin with.")
def main(
    study: Path, others: tuple[Path, ...], shift: int, bases: int, max_steps: int, pretrained: Path | None
) -> None:
    table, metadata = read_table(study / "table.biom"), study / "metadata.tsv"
    frame = read_text(metadata).reindex(table.sample_ids)
    usable = np.flatnonzero((frame["mom_child"] == "C").to_numpy() & frame[TARGET].notna().to_numpy())
    subjects = frame[SUBJECT].to_numpy()[usable]
    second = np.isin(subjects, np.random.default_rng(0).permutation(np.unique(subjects))[::2])
    moved = [sequence[shift : shift + bases] for sequence in table.sequences]
    with tempfile.TemporaryDirectory(prefix="aam-lineup-") as name:
        folder = Path(name)
        own = write(table, table.sequences, usable[~second], folder / "first.biom")
        same = write(table, table.sequences, usable[second], folder / "same.biom")
        other = write(table, moved, usable[second], folder / "moved.biom")
        rows = [["reads in common", "ASVs", "reads", "ASVs lined up", "reads lined up", "window"]]
        rows.append(shares_row("both halves as they are", read_table(own), read_table(same)))
        rows.append(shares_row(f"second half moved {shift}, cut to {bases}", read_table(own), read_table(other)))
        for place in others:
            rows.append(shares_row(f"{place.name} among {study.name}", table, read_table(place / "table.biom")))
        click.echo(table_text(rows))
        record = summarise_reads(moved)
        assert record is not None  # they are 16S
        window = f"{record.start}:{bases}"
        models = {}
        for trim in ("none", window):
            models[trim] = folder / trim.replace(":", "-")
            options: dict[str, Any] = {
                "task": "regression",
                "where": "mom_child=C",
                "preset": "tiny",
                "trim": trim,
                "seed": 0,
            }
            options |= {} if pretrained is None else {"pretrained": pretrained, "freeze": True}
            aam.train(own, metadata, TARGET, models[trim], group_column=SUBJECT, max_steps=max_steps,
                      validation_fraction=0.1, **options)  # fmt: skip
        rows = [["error of a model of the first half on the second", "MAE, months", "R2"]]
        rows.append(errors_row("as they are", models["none"], same, metadata, "none"))
        rows.append(errors_row("moved", models["none"], other, metadata, "none"))
        rows.append(errors_row("moved, --trim auto (N for what is missing)", models["none"], other, metadata, "auto"))
        rows.append(errors_row(f"moved, model trained with --trim {window}", models[window], other, metadata, "auto"))
        rows.append(errors_row("as they are, that model, --trim auto", models[window], same, metadata, "auto"))
        click.echo(table_text(rows))


if __name__ == "__main__":
    main()
