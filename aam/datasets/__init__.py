"""Real data that ships with the package, small enough to try everything on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

__all__ = ["Example", "example"]


class Example(NamedTuple):
    """Paths of one data set, as the options --table, --tree and --metadata take them."""

    table: Path
    tree: Path
    metadata: Path


def example() -> Example:
    """190 infant stool samples, 310 ASVs of 100 nt, their tree, and the age in months (6 or 12; four unknown).

    Qiita study 11402; origin and licence stand in ATTRIBUTION.md beside the files, scripts/make_example.py made them.
    """
    folder = Path(str(resources.files(__name__) / "infants"))
    return Example(folder / "table.biom", folder / "tree.nwk", folder / "metadata.tsv")
