"""The feature table of a run: counts of samples x ASVs, their ids and the DNA of each ASV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.config import path_of
from aam.errors import TableError
from aam.io.biom_file import open_biom_hdf5
from aam.io.biom_json import read_biom_json
from aam.io.ids import FEATURE_ID, MAX_FEATURE_ID, SAMPLE_ID, check_ids, pick_texts
from aam.io.kinds import sniff
from aam.io.packed import plain_file
from aam.io.raw_table import RawRows, RawTable, rows_of, whole_counts
from aam.io.sequences import are_columns_dna, sequences_of
from aam.io.totals import drop_totals, may_be_totals
from aam.io.tsv import read_table_tsv
from aam.text import without_annotations

if TYPE_CHECKING:
    import pandas as pd


TABLE_TYPE = "FeatureTable[Frequency]"
"""QIIME 2 type that holds counts."""

UNLIMITED_ENTRIES = 1 << 62
"""Entries of a block that is the whole table."""

STORED_ZEROS = "samples with stored zeros, which were removed"
EMPTY_SAMPLES = "samples without reads"
EMPTY_ASVS = "ASVs without reads"


@dataclass(frozen=True, repr=False)
class Table:
    """Counts [samples, ASVs] without stored zeros, row and column ids in file order, and the ASVs' upper-case DNA.

    The samples are the given `rows` of `stored`, or all if that is None, so that a table that is mapped from disk can
    lose samples without being read. `dropped` has the ids of what was left out by reason: by reading (`STORED_ZEROS`,
    `EMPTY_SAMPLES`, `EMPTY_ASVS`) and by later steps. `originals` are the sequences that the table was read with, if
    they were turned or trimmed since: a tree may have them as tips. `places` [A] are those of the ASVs in the file,
    None if that has their order.
    """

    stored: sparse.csr_array
    sample_ids: Sequence[str]
    asv_ids: Sequence[str]
    sequences: Sequence[str]
    source: Path
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rows: NDArray[np.int64] | None = None
    originals: Sequence[str] | None = None
    places: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        return f"Table({len(self.sample_ids):,} samples, {len(self.asv_ids):,} ASVs, {self.source})"

    @cached_property
    def counts(self) -> sparse.csr_array:
        """Counts of the samples [samples, ASVs]; a copy if they are only some of the stored samples."""
        return self.stored if self.rows is None else self.stored[self.rows]

    def doubts(self) -> list[str]:
        """A warning if all counts are 1; for most tables the first 1,000 counts suffice to exclude this."""
        counts = self.stored.data
        if (counts[:1000] != 1).any() or (counts != 1).any():
            return []
        return [
            f"{self.source}: every count is 1, as in a presence/absence table: rarefaction drops ASVs at "
            "random, and weighted UniFrac and abundances are meaningless; give counts of reads"
        ]

    def to_frame(self) -> pd.DataFrame:
        """Counts as a DataFrame [samples, ASVs] of sparse columns, by sample id and feature id."""
        import pandas as pd

        index = pd.Index(list(self.sample_ids), name=SAMPLE_ID)
        columns = pd.Index(list(self.asv_ids), name=FEATURE_ID)
        return pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(self.counts), index, columns)

    def depths(self) -> NDArray[np.int64]:
        """Reads of each sample [samples]."""
        return np.asarray(self.counts.sum(axis=1), dtype=np.int64).ravel()

    def richness(self) -> NDArray[np.int64]:
        """ASVs in each sample [samples]."""
        asvs = np.diff(self.stored.indptr)
        return asvs if self.rows is None else asvs[self.rows]

    def stored_rows(self, samples: NDArray[np.integer]) -> NDArray[np.int64]:
        """The rows [n] of `stored` that hold these samples, numbers [n]."""
        places = np.asarray(samples, dtype=np.int64)
        return places if self.rows is None else self.rows[places]

    def select(self, samples: NDArray[np.integer] | None = None, asvs: NDArray[np.integer] | None = None) -> Table:
        """The table of some samples and ASVs, given by number, in that order; None keeps all. Empty ones stay.

        Choosing samples copies no counts.
        """
        if samples is not None:
            rows = self.stored_rows(samples)
            return replace(self, rows=rows, sample_ids=pick_texts(self.sample_ids, np.asarray(samples))).select(
                asvs=asvs
            )
        if asvs is None:
            return self
        counts = self.counts[:, np.asarray(asvs, dtype=np.int64)]
        counts.sort_indices()
        places = np.asarray(asvs)
        ids, sequences = (pick_texts(texts, places) for texts in (self.asv_ids, self.sequences))
        originals = None if self.originals is None else pick_texts(self.originals, places)
        in_file = places if self.places is None else self.places[places]
        return replace(
            self, stored=counts, rows=None, asv_ids=ids, sequences=sequences, originals=originals, places=in_file
        )

    def keep(self, kept: NDArray[np.bool_], reason: str) -> Table:
        """The table of the samples that are `kept` [samples]; the ids of the others are in `dropped` under `reason`."""
        if kept.all():
            return self
        gone = pick_texts(self.sample_ids, np.flatnonzero(~kept))
        return replace(self.select(samples=np.flatnonzero(kept)), dropped={**self.dropped, reason: gone})

    def drop_absent_asvs(self) -> Table:
        """The table of the ASVs that at least one sample carries."""
        return self.select(asvs=np.flatnonzero(carriers_of(self.counts)))


def carriers_of(counts: sparse.csr_array) -> NDArray[np.int64]:
    """How many samples carry each ASV, int64 [A], of counts [samples, A]."""
    return np.asarray((counts > 0).sum(axis=0)).ravel()


def relative_abundance(counts: sparse.csr_array) -> sparse.csr_array:
    """Counts [N, A] divided by each sample's sum, sparse float64; a sample without reads has nothing."""
    reads = np.asarray(counts.sum(axis=1), np.float64).ravel()
    return sparse.csr_array(counts.multiply(1.0 / np.maximum(reads, 1.0)[:, None]))


def read_table(path: Path | str, sequences: Path | str | None = None) -> Table:
    """Read BIOM (HDF5 or JSON), a QIIME 2 `FeatureTable[Frequency]`, or classic TSV; the content decides, not the name.

    Feature ids must be DNA, or `sequences` (FASTA or .qza) must hold the sequence of each. Stored zeros, samples and
    ASVs without reads are left out and listed in `dropped`. Raises `TableError` or `SequenceError`, in one line, for
    any other file.
    """
    path, fasta = path_of("table", path), None if sequences is None else path_of("sequences", sequences)
    with open_rows(path, fasta is not None) as rows:
        (raw,) = rows.blocks(UNLIMITED_ENTRIES)
    found = clean_counts(raw, str(path))
    refuse_empty(found.sample_ids, raw.sample_ids, path)
    seen = np.bincount(found.counts.indices, minlength=len(rows.feature_ids)) > 0
    asv_ids = [rows.feature_ids[column] for column in np.flatnonzero(seen)]
    empty = [rows.feature_ids[column] for column in np.flatnonzero(~seen)]
    dropped = {**rows.dropped, **found.dropped, EMPTY_ASVS: empty}
    return Table(
        stored=found.counts if seen.all() else found.counts[:, seen],
        sample_ids=found.sample_ids,
        asv_ids=asv_ids,
        sequences=sequences_of(asv_ids, fasta, str(path)),
        source=path,
        dropped={reason: ids for reason, ids in dropped.items() if ids},
    )


class CleanCounts(NamedTuple):
    """Samples with reads, `counts` int64 [samples, features] without stored zeros, and the ids left out by reason."""

    counts: sparse.csr_array
    sample_ids: list[str]
    dropped: dict[str, list[str]]


def clean_counts(raw: RawTable, name: str) -> CleanCounts:
    """Samples of a table as whole counts (`whole_counts`), without stored zeros and samples without reads."""
    counts = whole_counts(raw, name)
    zero_rows = np.unique(np.searchsorted(counts.indptr, np.flatnonzero(counts.data == 0), side="right") - 1)
    counts.eliminate_zeros()
    reads = np.diff(counts.indptr) > 0
    ids = {
        STORED_ZEROS: [raw.sample_ids[row] for row in zero_rows],
        EMPTY_SAMPLES: [raw.sample_ids[row] for row in np.flatnonzero(~reads)],
    }
    kept = [raw.sample_ids[row] for row in np.flatnonzero(reads)]
    return CleanCounts(counts if reads.all() else counts[reads], kept, ids)


def refuse_empty(kept: Sequence[str], everyone: Sequence[str], path: Path) -> None:
    """Raise `TableError` if no sample has reads."""
    if not kept:
        raise TableError(f"{path}: all {len(everyone)} samples are empty (no count > 0); give a table with reads")


@contextmanager
def open_rows(path: Path, with_sequences: bool) -> Iterator[RawRows]:
    """Open a table file of any known format and check its ids; `with_sequences`: feature ids need not be DNA."""
    with _open_raw(path) as rows:
        check_ids(rows.sample_ids, "sample id", str(path), TableError)
        check_ids(rows.feature_ids, "feature id", str(path), TableError, MAX_FEATURE_ID)
        if not with_sequences and are_columns_dna(rows.sample_ids, rows.feature_ids):
            raise TableError(
                f"{path}: sample ids are DNA and feature ids are not; transpose the table, ASVs are the rows of its "
                "file"
            )
        plain = [without_annotations(text) for text in rows.feature_ids]
        if plain != rows.feature_ids:
            check_ids(plain, "feature id without annotation (such as ;size=12;)", str(path), TableError, MAX_FEATURE_ID)
        yield replace(rows, feature_ids=plain)


@contextmanager
def _open_raw(path: Path) -> Iterator[RawRows]:
    """Content of a table file of any known kind; BIOM 2.1 is read block by block, if no id names a sum of others."""
    with plain_file(path, "--table", TABLE_TYPE) as plain:
        kind, name = sniff(plain), str(path)
        if kind == "hdf5":
            with open_biom_hdf5(plain, name) as rows:
                if may_be_totals(rows.sample_ids).any() or may_be_totals(rows.feature_ids).any():
                    (raw,) = rows.blocks(UNLIMITED_ENTRIES)
                    rows = rows_of(*drop_totals(raw, name))
                yield rows
        else:
            raw = (read_biom_json if kind == "json" else read_table_tsv)(plain, name)
            yield rows_of(*drop_totals(raw, name))
