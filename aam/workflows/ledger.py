"""Open the ledgers of a run, and test whether the samples it lost differ from those it kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aam.checkpoint import fold_folders
from aam.errors import InputError
from aam.health.ledger import FILE_NAME, Ledger
from aam.health.lost_samples import ColumnBias, find_bias
from aam.io.metadata import read_metadata
from aam.io.table import read_table
from aam.training.run_files import check_recorded


def read_ledgers(run: Path) -> dict[str, Ledger]:
    """Ledgers by folder name: of a run (or a ledger file) or of its folds; raises `InputError` if there is none."""
    files = [folder / FILE_NAME for folder in fold_folders(run) or [run]] if run.is_dir() else [run]
    for file in files:
        if not file.is_file():
            raise InputError(f"{run}: no {FILE_NAME} here; give the output directory of a run, or the ledger itself")
        for folder in (file.parent, file.parent.parent):
            check_recorded(folder, str(file.relative_to(folder)), "restore it")
    return {file.parent.name: Ledger.read(file) for file in files}


def bias_of_losses(ledger: Ledger, columns: Mapping[str, Mapping[str, Any]]) -> list[ColumnBias]:
    """Compare the samples a run lost with those it kept in each of these columns."""
    lost = ledger.lost()
    return find_bias(lost, set(ledger.seen() - lost), columns)


def sample_columns(table: Path | None, metadata: Path | None) -> dict[str, Mapping[str, Any]]:
    """Depth and richness of each sample of a table, and each column of metadata, by sample id."""
    columns: dict[str, Mapping[str, Any]] = {}
    if table is not None:
        read = read_table(table)
        columns["depth"] = dict(zip(read.sample_ids, read.counts.sum(axis=1).tolist(), strict=True))
        columns["richness"] = dict(zip(read.sample_ids, (read.counts > 0).sum(axis=1).tolist(), strict=True))
    if metadata is not None:
        frame = read_metadata(metadata)
        columns |= {str(name): frame[name].to_dict() for name in frame.columns}
    return columns
