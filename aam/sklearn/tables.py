"""The input X of the estimators: counts with the DNA of each column.

A DataFrame has the sequences as its columns, a `biom.Table` as its observations. If their names are not sequences,
and for arrays and sparse matrices, `sequences` has the DNA of each name; columns without names, or with numbers for
names, are called x0, x1, …, as everywhere in scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_array

from aam.corpus.equal_asvs import merge_equal_asvs, order_asvs
from aam.errors import EmptySampleError, SequenceError, TableError
from aam.inference.known_asvs import region_mismatch
from aam.io.sequences import GIVE_SEQUENCES, sequences_of
from aam.io.table import Table
from aam.models.chunked_encoder import ChunkedEncoder
from aam.text import counted, quote

SOURCE = "the columns of X"
"""Where ASVs come from, in messages."""


class TakesTables(BaseEstimator):
    """Base of estimators whose X is a table; stores the columns of `fit`.

    Later tables with column names may have other ASVs, which are identified by sequence; later arrays may not.
    """

    sequences: Mapping[str, str] | None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.positive_only = True
        # Counts are whole numbers; "categorical" is the only tag that makes the checks of scikit-learn hand over such.
        tags.input_tags.categorical = True
        return tags

    def _read(self, X: Any, fitting: bool, least: int = 1) -> Table:
        """The samples of X, at least `least`, and the ASVs that any of them carries, in the order of `equal_asvs`.

        Columns of one DNA are added up. Samples are named as in X, or by row number if names repeat, as where samples
        are drawn with replacement.
        Raises an `InputError` or a ValueError of scikit-learn, naming sample or column.
        """
        counts, ids, names, named = read_frame(X, self, least)
        sequences = dna_of(names, self.sequences)
        if fitting:
            self.n_features_in_ = len(names)
            if named:
                self.feature_names_in_ = np.array(names, dtype=object)
            elif "feature_names_in_" in vars(self):  # of an earlier fit
                del self.feature_names_in_
        elif not named and len(names) != self.n_features_in_:
            raise ValueError(
                f"X has {len(names)} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input"
            )
        rows = ids if len(set(ids)) == len(ids) else [f"row {row}" for row in range(len(ids))]
        table = Table(counts, rows, names, sequences, Path(SOURCE)).drop_absent_asvs()
        return order_asvs(merge_equal_asvs(table))


def warn_of_other_region(table: Table, encoder: ChunkedEncoder) -> None:
    """Warn if ASVs seem to be from another region or strand than those of pretraining."""
    if text := region_mismatch(encoder, table.sequences):
        warnings.warn(text, UserWarning, stacklevel=3)


def read_frame(X: Any, asked: BaseEstimator, least: int) -> tuple[sparse.csr_array, list[str], list[str], bool]:
    """Read counts [N, A] of X (at least `least` samples), names of rows and columns, and whether X named its columns.

    `asked` is the estimator to name in messages.
    """
    import pandas as pd
    from biom import Table as BiomTable

    if isinstance(X, pd.DataFrame) and not X.columns.is_unique:
        twice = X.columns[X.columns.duplicated()]
        raise TableError(
            f"X has {counted(twice.nunique(), 'names')} of columns more than once, first {quote(str(twice[0]))}; add "
            "these columns up, as X.T.groupby(level=0).sum().T"
        )
    if isinstance(X, BiomTable):
        values, sample_ids, names = X.matrix_data.T, X.ids(), X.ids(axis="observation")
    else:
        values = check_array(X, accept_sparse="csr", ensure_min_samples=least, input_name="X", estimator=asked)
        sample_ids, names = range(values.shape[0]), range(values.shape[1])
    if isinstance(X, pd.DataFrame):
        sample_ids, names = X.index, X.columns
    named = all(isinstance(name, str) for name in names)
    columns = [name if named else f"x{place}" for place, name in enumerate(names)]
    ids = list(map(str, sample_ids))
    return counts_of(sparse.csr_array(values), ids, type(asked).__name__), ids, columns, named


def counts_of(values: sparse.csr_array, sample_ids: Sequence[str], asked: str) -> sparse.csr_array:
    """Convert to counts [N, A]; raises `TableError` for other numbers, `EmptySampleError` for an empty sample."""
    wrong = np.flatnonzero((values.data < 0) | (values.data != np.floor(values.data)))
    if wrong.size:
        row = int(np.searchsorted(values.indptr, wrong[0], side="right")) - 1
        kind = "Negative values" if values.data[wrong[0]] < 0 else "Fractions"
        raise TableError(
            f"{kind} in data passed to {asked}: sample {quote(sample_ids[row])} holds {values.data[wrong[0]]:g}, "
            "expected counts (whole numbers >= 0); give numbers of reads"
        )
    counts = values.astype(np.int64)
    counts.eliminate_zeros()
    counts.sort_indices()
    empty = np.flatnonzero(np.diff(counts.indptr) == 0)
    if empty.size:
        raise EmptySampleError(sample_ids[empty[0]], 0, 0.0)
    return counts


def dna_of(names: list[str], sequences: Mapping[str, str] | None) -> list[str]:
    """The DNA of each column; raises `SequenceError` if it is missing."""
    if sequences is None:
        try:
            return sequences_of(names, None, SOURCE)
        except SequenceError as error:
            text = str(error).replace(GIVE_SEQUENCES, "give sequences={name: DNA} to the estimator")
            raise SequenceError(text) from error
    missing = [name for name in names if name not in sequences]
    if missing:
        raise SequenceError(
            f"`sequences` lacks {len(missing)} of {len(names)} columns of X, first {quote(missing[0])}; "
            "give the DNA of each"
        )
    return sequences_of([sequences[name] for name in names], None, "`sequences`")
