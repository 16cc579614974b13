"""The ledger of a run from its first line: what was in the files, what was left out and why, who enters training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aam.config import RunnableConfig
from aam.corpus import OF_ASVS
from aam.data.table import STORED_ZEROS, Table
from aam.health.ledger import FILE_NAME, Item, Ledger

TABLE = "table"
"""Stage of the ledger: what the feature table held."""
LISTED = 2_000_000
"""Most samples, or ASVs, that are listed one by one; of larger corpora the manifest that `aam prepare` wrote tells."""


def open_ledger(config: RunnableConfig) -> Ledger:
    """The ledger in the output directory of a run: a new one, or, with `resume`, the one it began with."""
    folder = config.run.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    if not config.run.resume:
        (folder / FILE_NAME).unlink(missing_ok=True)
    return Ledger(folder / FILE_NAME, config.health.quarantine_budget)


def enter_table(ledger: Ledger, table: Table, dropped: Mapping[str, Sequence[str]]) -> None:
    """Account for the samples and ASVs of a table that are used, and for those `dropped` (reason -> ids) before.

    They were left out by options (depth, --max-missing, the ids of a matrix), so they are not charged to the budget.
    """
    items: list[tuple[Item, Sequence[str]]] = [("sample", table.sample_ids), ("asv", table.asv_ids)]
    for item, kept in items:
        if len(kept) > LISTED:
            continue
        lost = {
            reason: ids
            for reason, ids in dropped.items()
            if reason != STORED_ZEROS and (reason in OF_ASVS) == (item == "asv")
        }
        everyone = dict.fromkeys([*kept, *(name for ids in lost.values() for name in ids)])
        ledger.enter(TABLE, item, everyone)
        for reason, ids in lost.items():
            ledger.quarantine(TABLE, item, ids, reason, planned=True)
        ledger.close(TABLE, item, kept)
