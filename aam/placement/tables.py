"""Tables of placed ASVs: where each lies on the gene and in the tree, and its taxon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aam.gene.regions import region_text
from aam.placement.insertion import find_hosts
from aam.placement.placements import NOT_16S, NOT_COVERED, PLACED, TOO_FAR, Placements
from aam.placement.reference import Reference
from aam.placement.taxonomy import Taxonomy

if TYPE_CHECKING:
    import pandas as pd

FATES = {
    PLACED: "placed",
    NOT_16S: "not 16S",
    NOT_COVERED: "not covered by the reference",
    TOO_FAR: "far from every reference",
}
"""What became of an ASV, in words."""
STRANDS = {1: "+", -1: "-", 0: ""}
NEAREST = 3
"""Reference tips that are named for an ASV."""
TURNED, ELSEWHERE = "reverse complement", "another region than most"
"""Warnings about an ASV."""
TAXON, CONFIDENCE = "Taxon", "Confidence"
"""Columns of taxonomy.tsv, as q2-feature-classifier writes them."""


def placements_table(placements: Placements, reference: Reference, index: str) -> pd.DataFrame:
    """One row for each ASV by its id; `index` names the ids. Columns that do not apply are empty."""
    import pandas as pd

    reads, placed = placements.reads, placements.fate == PLACED
    on_gene, compared = reads.strand != 0, placements.covered > 0
    columns = {
        "fate": [FATES[fate] for fate in placements.fate.tolist()],
        "strand": [STRANDS[strand] for strand in reads.strand.tolist()],
        "first_column": where(on_gene, reads.begin),
        "last_column": where(on_gene, reads.end),
        "region": region_names(reads.begin, reads.end),
        "bits_per_base": reads.bits.round(3),
        "nearest": nearest_names(placements, reference),
        "differing_columns": where(placed, placements.differing[:, 0].astype(np.int64)),
        "compared_columns": where(compared, placements.covered),
        "distance": np.where(placed, distance_to_nearest(placements, reference), np.nan),
        "expected_error": np.where(placed, placements.error, np.nan),
        "warnings": warnings_of(placements),
    }
    return pd.DataFrame(columns, index=pd.Index(list(placements.ids), name=index))


def where(there: NDArray[np.bool_], values: NDArray[np.int64]) -> pd.api.extensions.ExtensionArray:
    """Whole numbers [A], missing where they do not apply."""
    import pandas as pd

    return pd.arrays.IntegerArray(values.astype(np.int64), ~there)


def region_names(begin: NDArray[np.int64], end: NDArray[np.int64]) -> list[str]:
    """The region of each read [A], such as v4; empty for none and for columns that are no known region."""
    pairs, place = np.unique(np.c_[begin, end], axis=0, return_inverse=True)
    names = ["" if first == 0 else region_text(first, last) for first, last in pairs.tolist()]
    short = ["" if name.startswith("columns") else name.partition(" (")[0] for name in names]
    return [short[number] for number in place.ravel().tolist()]


def nearest_names(placements: Placements, reference: Reference) -> list[str]:
    """Names of the nearest reference tips of each ASV, joined by "; "."""
    names = reference.tree.tip_names
    return ["; ".join(names[tip] for tip in tips if tip >= 0) for tips in placements.candidates[:, :NEAREST].tolist()]


def distance_to_nearest(placements: Placements, reference: Reference) -> NDArray[np.float64]:
    """Length of the path in the tree from each ASV to its first candidate, [A]; 0 for those without a place."""
    hosts, rows, ancestors = find_hosts(placements, reference), placements.placed, reference.ancestors
    found, near = np.zeros(len(placements.fate)), placements.candidates[rows, 0]
    common = np.minimum(hosts.joins, ancestors.common(hosts.tip, near))
    found[rows] = np.maximum(hosts.end + ancestors.tip_depth[near] - 2 * common, 0.0)
    return found


def is_elsewhere(placements: Placements) -> NDArray[np.bool_]:
    """Whether each read of 16S [A] lies for less than half of its columns where most of them lie."""
    reads, there = placements.reads, placements.reads.strand != 0
    if not there.any():
        return there
    first, last = np.median(reads.begin[there]), np.median(reads.end[there])
    common = np.minimum(reads.end, last) - np.maximum(reads.begin, first) + 1
    return there & (common < (reads.end - reads.begin + 1) / 2)


def warnings_of(placements: Placements) -> list[str]:
    """What is unusual about each ASV, joined by "; "."""
    flags = {TURNED: placements.reads.strand == -1, ELSEWHERE: is_elsewhere(placements)}
    found: list[list[str]] = [[] for _ in range(len(placements.fate))]
    for text, which in flags.items():
        for row in np.flatnonzero(which).tolist():
            found[row].append(text)
    return ["; ".join(texts) for texts in found]


def taxonomy_table(ids: Sequence[str], taxonomy: Taxonomy, least: float) -> pd.DataFrame:
    """Taxon and confidence of each ASV, down to the last rank with a confidence of at least `least`."""
    import pandas as pd

    taxa, confidence = taxonomy.reported(least)
    return pd.DataFrame({TAXON: taxa, CONFIDENCE: confidence}, index=pd.Index(list(ids), name="Feature ID"))


def ranks_table(ids: Sequence[str], taxonomy: Taxonomy, index: str) -> pd.DataFrame:
    """The likeliest name of each ASV at each rank and its confidence, however low; no threshold."""
    import pandas as pd

    columns: dict[str, object] = {}
    for place, rank in enumerate(taxonomy.ranks):
        codes = taxonomy.taxon[:, place].tolist()
        columns[rank] = [taxonomy.lineages[code].rpartition("; ")[2] if code >= 0 else "" for code in codes]
        columns[f"{rank}_confidence"] = taxonomy.confidence[:, place]
    return pd.DataFrame(columns, index=pd.Index(list(ids), name=index))
