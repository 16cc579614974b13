"""What `placement.py` measures on: references with tips taken out, and samples of studies with the truth about them."""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.corpus.rarefy import rarefy_table
from aam.gene.profile import BASES, NO_BASE, gene_profile
from aam.io.sequences import read_sequences
from aam.io.table import read_table
from aam.phylogeny.tree import Tree, parse_tree
from aam.placement.reference import Reference

REFERENCE = "reference-gg13-8-v4"
GREENGENES = "qiime_default_reference/gg_13_8_otus"
LETTERS = np.frombuffer(f"{BASES}-".encode(), np.uint8)
ALIGNED_AT_ONCE = 2000
GROUPS = (("herfarth", "american-gut"), ("moving-pictures", "protect"))
"""Tables whose features are taken out together. The second group was chosen before it was ever run."""
FAMILY, GENUS = 4, 5
"""Ranks below the domain."""
FAMILIES, LEAST_TIPS, FAMILY_TABLE = 20, 20, "american-gut"
"""Families that are drawn, of those with so many tips and reads in this table."""
HELD_OUT = 2000
"""Tips whose genus is to be told."""
V4 = (611, 759)
"""Columns of the fragments."""


class Study(NamedTuple):
    """Rarefied counts int64 [samples, ASVs] of named ASVs with their DNA, all of which occur."""

    name: str
    ids: list[str]
    sequences: list[str]
    counts: sparse.csr_array

    def only(self, columns: NDArray[np.int64]) -> Study:
        """Some of the ASVs."""
        ids, sequences = ([texts[column] for column in columns.tolist()] for texts in (self.ids, self.sequences))
        return Study(self.name, ids, sequences, self.counts[:, columns])

    def rarefied(self, depth: int, samples: int | None) -> Study:
        """Samples with at least `depth` reads, rarefied to it; `samples` of them, drawn by a fixed seed, or all."""
        deep = np.flatnonzero(self.counts.sum(axis=1) >= depth)
        deep = np.sort(np.random.default_rng(1).permutation(deep)[:samples])
        study = self._replace(counts=rarefy_table(self.counts[deep], list(map(str, deep)), depth, seed=0))
        return study.only(np.flatnonzero(study.counts.sum(axis=0) > 0))


def open_study(folder: Path, depth: int, samples: int | None) -> Study:
    """Samples with at least `depth` reads, rarefied to it; `samples` of them, drawn by a fixed seed, or all."""
    return read_study(folder).rarefied(depth, samples)


def read_study(folder: Path) -> Study:
    """All samples and reads of a study."""
    table = read_table(folder / "table.biom")
    return Study(folder.name, list(table.asv_ids), list(table.sequences), table.counts)


def features_of(folder: Path) -> list[str]:
    """All ASVs of a study, whatever is drawn of them."""
    return list(read_table(folder / "table.biom").asv_ids)


def without(reference: Reference, tips: Iterable[str]) -> Reference:
    """The reference less some of its tips."""
    gone = set(tips)
    return keep(reference, np.array([name not in gone for name in reference.tree.tip_names]))


def keep(reference: Reference, kept: NDArray[np.bool_]) -> Reference:
    """The tips of a reference where `kept` bool [R]."""
    rows = np.flatnonzero(kept)
    tree = reference.tree.shear([reference.tree.tip_names[row] for row in rows.tolist()])
    lineages = None if reference.lineages is None else [reference.lineages[row] for row in rows.tolist()]
    return Reference(tree, np.ascontiguousarray(reference.codes[:, rows]), reference.first, lineages)


def letters(codes: NDArray[np.uint8]) -> list[str]:
    """Codes [A, W] as aligned text with '-' for no base."""
    return [row.tobytes().decode() for row in LETTERS[codes]]


def merged_reference(tables: Path, work: Path) -> Reference:
    """Greengenes 13.8 with OTUs of one V4 fragment merged, 81,475 tips called by that DNA, each with its whole gene."""
    folder, kept = tables / REFERENCE, work / "merged.npy"
    tree = parse_tree(gzip.decompress((folder / "tree.nwk.gz").read_bytes()), "tree.nwk.gz")
    if not kept.exists():
        whole, otu = whole_reference(work), kept_otus(tables)
        np.save(kept, whole.codes[:, whole.tree.leaves_of([otu[name] for name in tree.tip_names])])
    return Reference(tree, np.load(kept, mmap_mode="r"), 1, lineages_of(tree, folder / "taxonomy.tsv.gz"))


def lineages_of(tree: Tree, path: Path) -> list[str]:
    """The lineage of each tip from a table with a head (gz) or without, of which the first column is the tip."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = csv.reader(text.decode().splitlines(), delimiter="\t")
    lineage = {row[0]: row[-1] for row in rows}
    return [lineage.get(name, "") for name in tree.tip_names]


def greengenes() -> Path:
    """The folder of Greengenes in the package `qiime-default-reference`, which only this benchmark needs."""
    found = [Path(folder) / GREENGENES for folder in sys.path if (Path(folder) / GREENGENES).is_dir()]
    if not found:
        raise click.ClickException("pip install qiime-default-reference==0.1.3, which has the genes of Greengenes")
    return found[0]


def whole_reference(work: Path) -> Reference:
    """Greengenes 13.8, 99,322 whole sequences of the package `qiime-default-reference`; tips are numbers of OTUs.

    Aligned once (an hour of one core), kept in `work`.
    """
    folder = greengenes()
    # The one branch without a length is the root's only child.
    text = (folder / "trees/97_otus.tree").read_bytes().replace(b")'k__Bacteria');", b")'k__Bacteria':0);")
    tree = parse_tree(text, "97_otus.tree")
    tree = tree.shear(tree.tip_names)
    kept = work / "whole.npy"
    if not kept.exists():
        sequences, profile, rows = read_sequences(folder / "rep_set/97_otus.fasta"), gene_profile(), []
        with click.progressbar(range(0, len(tree.tip_names), ALIGNED_AT_ONCE), label="aligning", file=None) as starts:
            for start in starts:
                names = tree.tip_names[start : start + ALIGNED_AT_ONCE]
                rows.append(profile.align([sequences[name] for name in names]))
        np.save(kept, np.concatenate(rows).T.copy())
    lineages = lineages_of(tree, folder / "taxonomy/97_otu_taxonomy.txt")
    return Reference(tree, np.load(kept, mmap_mode="r"), 1, lineages)


def kept_otus(data: Path) -> dict[str, str]:
    """For each fragment of the reference of fragments the number of the OTU that it was cut from."""
    with gzip.open(data / REFERENCE / "taxonomy.tsv.gz", "rt") as file:
        return {row["feature-id"]: row["otu"] for row in csv.DictReader(file, delimiter="\t")}


def otus_of(tables: Path, fragments: Iterable[str]) -> set[str]:
    """Numbers of all OTUs that have one of these fragments."""
    otu = kept_otus(tables)
    kept = {otu[name] for name in fragments}
    with gzip.open(tables / REFERENCE / "otus.tsv.gz", "rt") as file:
        return {row["otu"] for row in csv.DictReader(file, delimiter="\t") if row["kept_otu"] in kept}


def seen_through(study: Study, whole: Reference, first: int, last: int) -> tuple[Study, Study]:
    """A study whose ids are tips of the whole reference, as its ASVs are in a window of columns, twice.

    Once with equal ASVs merged, whose ids are numbers, and once as it is, for the truth, less the ASVs that have fewer
    than half of the usual bases there.
    """
    codes = np.ascontiguousarray(whole.on(first, last)[:, whole.tree.leaves_of(study.ids)].T)
    bases = (codes != NO_BASE).sum(axis=1)
    fits = np.flatnonzero(bases >= np.median(bases) / 2)
    study, texts = study.only(fits), [text.replace("-", "") for text in letters(codes[fits])]
    sequences, group = np.unique(np.array(texts, dtype=object), return_inverse=True)
    merge = sparse.csr_array((np.ones(len(texts), np.int64), (np.arange(len(texts)), group)))
    ids = [f"asv{row}" for row in range(len(sequences))]
    return Study(study.name, ids, sequences.tolist(), sparse.csr_array(study.counts @ merge)), study


def cut_lineage(lineage: str, rank: int) -> str:
    """A lineage down to a rank (0 the domain), "" if that rank has no name ("g__")."""
    parts = [part.strip() for part in lineage.split(";")][: rank + 1]
    return "; ".join(parts) if len(parts) > rank and not parts[rank].endswith("__") else ""


def taxa_of(reference: Reference, rank: int) -> NDArray[np.int64]:
    """Number of the taxon of each tip down to a rank, int64 [R]; -1 where its name is not known."""
    assert reference.lineages is not None
    names = [cut_lineage(lineage, rank) for lineage in reference.lineages]
    number = {name: at for at, name in enumerate(sorted(set(names) - {""}))}
    return np.array([number.get(name, -1) for name in names])


def drawn_families(reference: Reference, tables: Path) -> NDArray[np.bool_]:
    """Tips of families, bool [R], drawn of those that are large enough and have reads in a table."""
    family = taxa_of(reference, FAMILY)
    met = family[reference.tree.leaves_of(features_of(tables / FAMILY_TABLE))]
    large = np.flatnonzero(np.bincount(family[family >= 0]) >= LEAST_TIPS)
    return np.isin(family, np.random.default_rng(0).choice(np.intersect1d(met, large), FAMILIES, replace=False))


def held_tips(reference: Reference) -> NDArray[np.bool_]:
    """Tips with a genus that are drawn to be held out, bool [R]."""
    known = np.flatnonzero(taxa_of(reference, GENUS) >= 0)
    return np.isin(np.arange(len(reference.tree.tip_names)), np.random.default_rng(0).permutation(known)[:HELD_OUT])


def not_learned(tables: Path, work: Path) -> NDArray[np.bool_]:
    """Tips of the whole reference from which nothing is learned, bool [R]: all that any section tests with."""
    full, whole = merged_reference(tables, work), whole_reference(work)
    tested = np.flatnonzero(drawn_families(full, tables) | held_tips(full))
    names = {full.tree.tip_names[tip] for tip in tested.tolist()}
    for table in (name for group in GROUPS for name in group):
        names.update(features_of(tables / table))
    gone = otus_of(tables, names)
    return np.array([name in gone for name in whole.tree.tip_names])


def mutated(reference: Reference, count: int, seed: int) -> Sequence[str]:
    """So many distinct made-up ASVs: V4 of tips of the reference with 0 to 8 random bases changed."""
    rng, found, known = np.random.default_rng(seed), dict[str, None](), reference.on(*V4).T
    while len(found) < count:
        codes = known[rng.integers(0, len(known), count)].copy()
        changed = rng.random(codes.shape) < rng.integers(0, 9, (count, 1)) / codes.shape[1]
        codes[changed & (codes != NO_BASE)] = rng.integers(0, 4, int((changed & (codes != NO_BASE)).sum()))
        found.update(dict.fromkeys(text.replace("-", "") for text in letters(codes)))
    return list(found)[:count]
