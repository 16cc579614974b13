"""The quarantine ledger of a run: which ids entered each stage, which were lost, and why. One JSON object per line.

At every stage entered = kept + quarantined holds exactly; otherwise the ledger raises an error. Each entry is appended
and synced to disk at once, so that it survives a crash. A resumed run appends to the same file.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aam.atomic import name_file
from aam.errors import LedgerError, NonFiniteError
from aam.records import refuse_special
from aam.text import name_few

FILE_NAME = "ledger.jsonl"
ENTRIES: tuple[dict[str, type], ...] = (
    {"enter": str, "item": str, "ids": list},
    {"quarantine": str, "item": str, "id": str, "reason": str, "planned": bool},
)
"""Fields of the two kinds of lines; a loss may have more."""
IDS_SHOWN = 5
"""Ids that an error names."""
Item = Literal["sample", "asv"]


@dataclass(frozen=True)
class Loss:
    """One sample or ASV that left a run."""

    stage: str
    item: Item
    id: str
    reason: str
    planned: bool  # asked for by an option, e.g. too few reads for the rarefaction depth; not charged to the budget
    facts: Mapping[str, Any]  # what else is known: step, module, operation, count of NaN, ...


@dataclass(frozen=True)
class Account:
    """One stage: entered = kept + quarantined."""

    stage: str
    item: Item
    entered: int
    quarantined: int

    @property
    def kept(self) -> int:
        return self.entered - self.quarantined


class Ledger:
    """Accounts and losses of one run. `path` None keeps them in memory only."""

    def __init__(self, path: Path | None = None, budget: float = 0.0):
        self.path = path
        self.budget = budget
        self.losses: list[Loss] = []
        self._entered: dict[tuple[str, Item], frozenset[str]] = {}
        if path is not None and path.exists():
            _repair(path)
            self._replay(_records(path))

    @staticmethod
    def read(path: Path) -> Ledger:
        """Read the ledger of another run; the file is not changed, so that run may still be active."""
        ledger = Ledger()
        ledger._replay(_records(path))
        return ledger

    def enter(self, stage: str, item: Item, ids: Iterable[str]) -> None:
        """Open the account of a stage with all ids that enter it; opening it again with the same ids is allowed."""
        entered = list(ids)
        if repeated := [name for name, count in Counter(entered).items() if count > 1]:
            raise LedgerError(f"ledger stage {stage}: {item} {repeated[0]!r} enters twice; ids must be unique")
        key = (stage, item)
        if key in self._entered:
            if self._entered[key] != frozenset(entered):
                raise LedgerError(
                    f"ledger stage {stage}: reopened with other {item}s than before; use a new run directory"
                )
            return
        self._write({"enter": stage, "item": item, "ids": entered})
        self._entered[key] = frozenset(entered)

    def quarantine(
        self, stage: str, item: Item, ids: Iterable[str], reason: str, planned: bool = False, **facts: Any
    ) -> None:
        """Remove samples or ASVs from a stage that they entered; a removed id keeps its first entry."""
        entered, gone = self.entered(stage, item), self.lost(item, stage)
        records: list[dict[str, Any]] = []
        for name in dict.fromkeys(ids):
            if name not in entered:
                raise LedgerError(f"ledger stage {stage}: {item} {name!r} was never there, so it cannot be quarantined")
            if name not in gone:
                record = {"quarantine": stage, "item": item, "id": name, "reason": reason, "planned": planned}
                records.append({**record, **facts})
        self._write(*records)
        self.losses += [Loss(stage, item, record["id"], reason, planned, facts) for record in records]

    def close(self, stage: str, item: Item, kept: Iterable[str]) -> Account:
        """Check that a stage kept exactly the ids that entered it and were not quarantined; return its account."""
        entered = self._entered.get((stage, item))
        if entered is None:
            raise LedgerError(f"ledger stage {stage}: closed before any {item} entered it")
        kept = list(kept)
        expected = entered - self.lost(item, stage)
        if len(kept) != len(set(kept)) or set(kept) != expected:
            wrong = sorted((set(kept) ^ expected) or {name for name in kept if kept.count(name) > 1})
            raise LedgerError(
                f"ledger stage {stage}: {len(entered)} {item}s entered, {len(entered) - len(expected)} quarantined, "
                f"but {len(kept)} are kept; unaccounted: {name_few(wrong, IDS_SHOWN)}"
            )
        return self._account(stage, item)

    def entered(self, stage: str, item: Item = "sample") -> frozenset[str]:
        """Ids of the samples or ASVs that entered a stage."""
        return self._entered.get((stage, item), frozenset())

    def lost(self, item: Item = "sample", stage: str | None = None) -> set[str]:
        """Ids of the samples or ASVs quarantined in one stage, or in any."""
        return {loss.id for loss in self.losses if loss.item == item and stage in (None, loss.stage)}

    def accounts(self) -> list[Account]:
        """All stages, in the order in which they were opened."""
        return [self._account(stage, item) for stage, item in self._entered]

    def seen(self, item: Item = "sample") -> frozenset[str]:
        """Ids of all samples or ASVs that entered the run."""
        return frozenset().union(*(ids for (_, kind), ids in self._entered.items() if kind == item))

    def check(self) -> None:
        """Raise `NonFiniteError` (exit code 3) if more samples were lost, unplanned, than the budget allows."""
        charged = {loss.id for loss in self.losses if loss.item == "sample" and not loss.planned}
        total = len(self.seen())
        if len(charged) > self.budget * total:
            raise NonFiniteError(
                f"{len(charged)} of {total} samples are quarantined, above the budget of {self.budget:.2%}: "
                f"{name_few(sorted(charged), IDS_SHOWN)}; see `aam ledger show`, or raise the quarantine budget"
            )

    def state_dict(self) -> dict[str, Any]:
        """Numbers for the manifest."""
        return {
            "accounts": [vars(account) | {"kept": account.kept} for account in self.accounts()],
            "reasons": dict(Counter(loss.reason for loss in self.losses)),
        }

    def _account(self, stage: str, item: Item) -> Account:
        return Account(stage, item, len(self._entered[stage, item]), len(self.lost(item, stage)))

    def _write(self, *records: dict[str, Any]) -> None:
        if self.path is None or not records:
            return
        with name_file(self.path), self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())

    def _replay(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            item = record.pop("item")
            if "enter" in record:
                self._entered[record["enter"], item] = frozenset(record["ids"])
            else:
                stage, name, reason = record.pop("quarantine"), record.pop("id"), record.pop("reason")
                self.losses.append(Loss(stage, item, name, reason, record.pop("planned"), record))


def nan_counts(losses: Iterable[Loss]) -> dict[str, int]:
    """Number of NaN values in each lost sample or ASV, by id, if the fault recorded it."""
    return {loss.id: int(loss.facts["nan"]) for loss in losses if "nan" in loss.facts}


def _repair(path: Path) -> None:
    """Remove an incomplete last line, left by a crash, so that the next entry starts on a new line."""
    data = _content(path)
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)


def _content(path: Path) -> bytes:
    """The bytes of a ledger file; raises LedgerError for a pipe or a device."""
    try:
        refuse_special(path)
    except ValueError as error:
        raise LedgerError(f"{path}: {error}; restore it, or move it away") from error
    return path.read_bytes()


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Entries of a ledger file, without an incomplete last line."""
    *lines, _ = _content(path).split(b"\n")
    for number, line in enumerate(lines, 1):
        if (record := read_object(line)) is None or not any(_fits(record, fields) for fields in ENTRIES):
            raise LedgerError(f"{path}, line {number}: not an entry of a ledger; expected one JSON object a line")
        yield record


def read_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object on a line; None for anything else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _fits(record: Mapping[str, Any], fields: Mapping[str, type]) -> bool:
    return all(isinstance(record.get(name), kind) for name, kind in fields.items())
