"""Lineages of sequences: tables of an id and its ranks, as Greengenes, SILVA, GTDB and QIIME 2 write them."""

from __future__ import annotations

from pathlib import Path

from aam.errors import TaxonomyError
from aam.io.files import read_lines
from aam.io.packed import plain_file
from aam.text import quote

TAXONOMY_TYPE = "FeatureData[Taxonomy]"
"""QIIME 2 type that holds lineages."""
BETWEEN_RANKS = "; "
"""What stands between the ranks of a lineage in this package."""
HEADERS = {"feature id", "feature-id", "featureid", "#otu id", "#otuid", "otu id", "otu_id", "id", "name", "accession"}
"""First cells, in lower case, of lines that name the columns."""
DIRECTIVE = "#q2:types"


def read_taxonomy(path: Path) -> dict[str, str]:
    """Lineage of each id, ranks joined by `BETWEEN_RANKS`: of tab-separated text, as it is or in gzip, or of a .qza.

    The first column is the id, the second the ranks between semicolons, with blanks or without; others, such as a
    confidence, are ignored. Empty ranks at the end are cut off. Raises `TaxonomyError` for files without such columns
    and ids that repeat.
    """
    path = Path(path)
    with plain_file(path, "--taxonomy", TAXONOMY_TYPE) as plain:
        found = _parse(plain, str(path))
    if not found:
        raise TaxonomyError(f"{path} holds no lineages; expected lines of an id, a tab and ranks between ';'")
    return found


def _parse(path: Path, name: str) -> dict[str, str]:
    """Lineages of a tab-separated text; `name` stands for it in messages."""
    found: dict[str, str] = {}
    known: dict[str, str] = {}  # many ids have one lineage: each text exists once
    for number, line in read_lines(path, name, TaxonomyError):
        cells = line.split("\t")
        identifier = cells[0].strip()
        if not line.strip() or identifier == DIRECTIVE or (not found and identifier.lower() in HEADERS):
            continue
        if len(cells) < 2 or not identifier:
            raise TaxonomyError(
                f"{name}: line {number} is {quote(line)}, expected an id, a tab and ranks between ';'; give a table of "
                "lineages"
            )
        if identifier in found:
            raise TaxonomyError(f"{name}: line {number} repeats the id {quote(identifier)}; keep one lineage of each")
        text = known.get(cells[1])
        if text is None:
            text = known[cells[1]] = join_ranks(cells[1])
        found[identifier] = text
    return found


def join_ranks(text: str) -> str:
    """A lineage as this package writes it, from ranks between semicolons: "d__A;p__B;" becomes "d__A; p__B"."""
    return BETWEEN_RANKS.join(" ".join(rank.split()) for rank in text.split(";")).rstrip("; ")
