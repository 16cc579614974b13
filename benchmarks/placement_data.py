"""What `placement.py` measures on: references with tips taken out, and samples of studies with the truth about them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.corpus.rarefy import rarefy_table
from aam.gene.profile import BASES, NO_BASE, gene_profile
from aam.gene.reads import place_reads
from aam.io.sequences import read_sequences
from aam.io.table import read_table
from aam.phylogeny.tree import Tree, parse_tree
from aam.placement.reference import Reference

REFERENCE = "reference-gg13-8-v4"
GREENGENES = "qiime_default_reference/gg_13_8_otus"
LETTERS = np.frombuffer(f"{BASES}-".encode(), np.uint8)
ALIGNED_AT_ONCE = 2000


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
        study = self._replace(counts=rarefy_table(self.counts[deep], depth, seed=0))
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


def window(reference: Reference, first: int, last: int) -> Reference:
    """The reference on some of its columns."""
    return replace(reference, codes=reference.on(first, last), first=first)


def letters(codes: NDArray[np.uint8]) -> list[str]:
    """Codes [A, W] as aligned text with '-' for no base."""
    return [row.tobytes().decode() for row in LETTERS[codes]]


def fragments_reference(data: Path, work: Path) -> Reference:
    """Greengenes 13.8 as 81,475 fragments of V4, tips and ids are the DNA; aligned once (a minute), kept in `work`."""
    folder = data / REFERENCE
    tree = parse_tree(gzip.decompress((folder / "tree.nwk.gz").read_bytes()), "tree.nwk.gz")
    kept = work / "fragments.npz"
    if not kept.exists():
        reads = place_reads(tree.tip_names)
        first, last = int(np.percentile(reads.begin, 1)), int(np.percentile(reads.end, 99))
        np.savez(kept, codes=reads.on(first, last).T.copy(), first=first)
    saved = np.load(kept)
    return Reference(tree, saved["codes"], int(saved["first"]), lineages_of(tree, folder / "taxonomy.tsv.gz"))


def lineages_of(tree: Tree, path: Path) -> list[str]:
    """The lineage of each tip from a table with a head (gz) or without, of which the first column is the tip."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = csv.reader(text.decode().splitlines(), delimiter="\t")
    lineage = {row[0]: row[-1] for row in rows}
    return [lineage.get(name, "") for name in tree.tip_names]


def whole_reference(work: Path) -> Reference:
    """Greengenes 13.8, 99,322 whole sequences of the package `qiime-default-reference`; tips are numbers of OTUs.

    Aligned once (an hour of one core), kept in `work`.
    """
    import qiime_default_reference

    folder = Path(qiime_default_reference.__file__).parents[1] / GREENGENES
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


def families_of(reference: Reference, rank: int) -> NDArray[np.int64]:
    """Number of the taxon of each tip down to a rank (0 the domain), int64 [R]; -1 where its name is not known."""
    assert reference.lineages is not None
    names = [cut_lineage(lineage, rank) for lineage in reference.lineages]
    number = {name: at for at, name in enumerate(sorted(set(names) - {""}))}
    return np.array([number.get(name, -1) for name in names])


def cut_lineage(lineage: str, rank: int) -> str:
    """A lineage down to a rank, "" if that rank has no name ("g__")."""
    parts = [part.strip() for part in lineage.split(";")][: rank + 1]
    return "; ".join(parts) if len(parts) > rank and not parts[rank].endswith("__") else ""


def mutated(reference: Reference, count: int, seed: int) -> Sequence[str]:
    """So many distinct made-up ASVs: tips of the reference with 0 to 8 random bases changed."""
    rng, found = np.random.default_rng(seed), dict[str, None]()
    while len(found) < count:
        rows = rng.integers(0, reference.codes.shape[1], count)
        codes = reference.codes[:, rows].T.copy()
        changed = rng.random(codes.shape) < rng.integers(0, 9, (count, 1)) / codes.shape[1]
        codes[changed & (codes != NO_BASE)] = rng.integers(0, 4, int((changed & (codes != NO_BASE)).sum()))
        found.update(dict.fromkeys(text.replace("-", "") for text in letters(codes)))
    return list(found)[:count]
