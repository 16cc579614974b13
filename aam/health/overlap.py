"""Did two runs lose the same samples? Overlap of two sets, and how likely it is by chance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from aam.errors import InputError
from aam.health.ledger import FILE_NAME, Item, Ledger, read_object


@dataclass(frozen=True)
class Lost:
    """What a run, a ledger or a plain list says was lost."""

    source: Path
    ids: frozenset[str]
    total: int | None  # how many there were; None for a plain list
    nan_counts: dict[str, int] = field(default_factory=dict)  # NaN values seen in an item, where recorded


@dataclass(frozen=True)
class Overlap:
    """Two sets of ids drawn from `total`."""

    size_a: int
    size_b: int
    both: int
    total: int | None
    expected: float | None  # mean size of the overlap if the two were independent
    p: float | None  # probability of an overlap at least this large, hypergeometric

    @property
    def containment(self) -> float:
        """Part of the smaller set that is in the other one; NaN where it is empty."""
        smaller = min(self.size_a, self.size_b)
        return self.both / smaller if smaller else float("nan")

    @property
    def jaccard(self) -> float:
        """Shared over all; NaN where both sets are empty."""
        union = self.size_a + self.size_b - self.both
        return self.both / union if union else float("nan")


def compare(a: frozenset[str] | set[str], b: frozenset[str] | set[str], total: int | None = None) -> Overlap:
    """Overlap of two sets of lost ids out of `total` items that both runs saw; without any there is no p."""
    both = len(a & b)
    if total is not None and len(a | b) > total:
        raise InputError(f"--total {total} is smaller than the {len(a | b)} different ids of the two lists")
    if not total:
        return Overlap(len(a), len(b), both, total, None, None)
    from scipy.stats import hypergeom

    p = float(hypergeom.sf(both - 1, total, len(a), len(b)))
    return Overlap(len(a), len(b), both, total, len(a) * len(b) / total, p)


def read_lost(path: Path, item: Item = "sample") -> Lost:
    """What was lost: from a run directory, a ledger file, or a plain list with one id a line.

    A line of a plain list may carry a count of NaN after a tab. Raises `InputError` naming the file, and the line where
    there is one.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        hint = "this run directory holds no ledger" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {hint}; give a run directory, its {FILE_NAME}, or a list with one id a line")
    with file.open("rb") as lines:
        is_ledger = read_object(lines.readline()) is not None
    if is_ledger:
        ledger = Ledger.read(file)
        counts = {
            loss.id: int(loss.facts["nan"]) for loss in ledger.losses if loss.item == item and "nan" in loss.facts
        }
        return Lost(path, frozenset(ledger.lost(item)), len(ledger.seen(item)), counts)
    return _read_list(file)


def _read_list(file: Path) -> Lost:
    ids: dict[str, int | None] = {}
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text at byte {error.start}; expected a list with one id a line") from error
    for number, line in enumerate(text.splitlines(), 1):
        name, _, count = line.partition("\t")
        name, count = name.strip(), count.strip()
        if not name:
            continue
        if name in ids:
            raise InputError(f"{file}, line {number}: id {name!r} stands twice; a list of lost ids names each once")
        if count and not count.isdecimal():
            raise InputError(f"{file}, line {number}: expected a number of NaN after the tab, found {count!r}")
        ids[name] = int(count) if count else None
    return Lost(file, frozenset(ids), None, {name: count for name, count in ids.items() if count is not None})
