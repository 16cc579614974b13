"""A pretrained encoder as a step of scikit-learn: tables in, embeddings out.

    make_pipeline(AAMEncoder("aam-run"), RidgeCV())

Nothing is learned by `fit`, and nothing of one sample enters the embedding of another, so cross-validation around it is
honest as long as the encoder was pretrained on other samples. Importing this module imports scikit-learn; nothing else
of the package does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from aam.data.dataset import ASVDataset, Draw
from aam.data.rarefy import rarefy_table
from aam.data.sequences import sequences_of
from aam.data.tokenizer import tokenize
from aam.errors import EmptySampleError, TableError

if TYPE_CHECKING:
    import pandas as pd
    from biom import Table as BiomTable

    from aam.models.pretrain_model import PretrainModel

__all__ = ["AAMEncoder"]

SOURCE = "the columns of X"


class AAMEncoder(TransformerMixin, BaseEstimator):
    """Sample embeddings [N, D] of counts [N, A] by a trained model.

    `model` is a run directory or a checkpoint in it; `rarefy_depth` draws so many reads of deeper samples, by `seed`,
    and leaves shallower ones whole (None: all reads); `cache` is a folder that keeps ASV embeddings, which pays where
    cross-validation encodes the same ASVs again and again; `device` is a torch device.

    X is a DataFrame whose columns are ASV sequences, or a `biom.Table` whose observations are; its ASVs need not be
    those that `fit` saw. `transform` raises `EmptySampleError` for a sample without reads, `TableError` for counts that
    are none, and `SequenceError` for columns that are not DNA.
    """

    def __init__(
        self,
        model: str | Path,
        rarefy_depth: int | None = None,
        seed: int = 0,
        cache: str | Path | None = None,
        device: str = "cpu",
    ):
        self.model = model
        self.rarefy_depth = rarefy_depth
        self.seed = seed
        self.cache = cache
        self.device = device

    def fit(self, X: pd.DataFrame | BiomTable, y: Any = None) -> AAMEncoder:
        """Open the model; X is checked, not learned from."""
        from aam.checkpoint import open_encoder

        counts_of(X)
        encoder, config = open_encoder(self.model)
        self.encoder_: PretrainModel = encoder.to(self.device)
        self.n_features_out_, self.max_bp_ = config.dim, config.max_bp
        return self

    def transform(self, X: pd.DataFrame | BiomTable) -> NDArray[np.float32]:
        """Embeddings [N, D], rows in the order of X."""
        check_is_fitted(self, "encoder_")
        from aam.evaluation.asv_cache import ASVCache
        from aam.evaluation.embed import Encoding, encode_asvs

        counts, sample_ids, names = counts_of(X)
        tokens = tokenize(sequences_of(names, None, SOURCE), self.max_bp_, names)
        drawn = ASVDataset(self._rarefied(counts), tokens, sample_ids, Draw(None, None, "abundance", self.seed))
        carried = np.unique(drawn.counts.indices).astype(np.int64)
        if self.cache is None:
            asvs = encode_asvs(self.encoder_, tokens, carried)
        else:
            with ASVCache(Path(self.cache), self.encoder_.asv_encoder, self.n_features_out_) as store:
                asvs = encode_asvs(self.encoder_, tokens, carried, store)
        return Encoding(self.encoder_, drawn, asvs, None).embeddings().float().cpu().numpy()

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """`aam1` … `aamD`."""
        check_is_fitted(self, "encoder_")
        return np.array([f"aam{number}" for number in range(1, self.n_features_out_ + 1)], dtype=object)

    def _rarefied(self, counts: sparse.csr_array) -> sparse.csr_array:
        """The counts with the reads of deep samples drawn."""
        if self.rarefy_depth is None:
            return counts
        deep = np.asarray(counts.sum(axis=1)).ravel() > self.rarefy_depth
        if not deep.any():
            return counts
        order = np.r_[np.flatnonzero(deep), np.flatnonzero(~deep)]
        drawn = rarefy_table(counts[deep], self.rarefy_depth, self.seed)
        joined = sparse.csr_array(sparse.vstack([drawn, counts[~deep]]))
        return joined[np.argsort(order)]


def counts_of(X: pd.DataFrame | BiomTable) -> tuple[sparse.csr_array, Sequence[str], list[str]]:
    """Counts int64 [N, A] without stored zeros, sample ids and ASV names of a DataFrame or a biom table.

    Raises `EmptySampleError` or `TableError`, naming the sample.
    """
    import pandas as pd

    if isinstance(X, pd.DataFrame):
        values = sparse.csr_array(X.to_numpy())
        sample_ids, names = [str(name) for name in X.index], [str(name) for name in X.columns]
    else:
        values = sparse.csr_array(X.matrix_data.T)
        sample_ids, names = [str(name) for name in X.ids()], [str(name) for name in X.ids(axis="observation")]
    if values.dtype.kind not in "iufb":
        raise TableError(f"X holds {values.dtype}, expected counts; give numbers of reads")
    wrong = ~np.isfinite(values.data) | (values.data < 0) | (values.data != np.floor(values.data))
    if wrong.any():
        row = int(np.searchsorted(values.indptr, np.flatnonzero(wrong)[0], side="right")) - 1
        raise TableError(
            f"X: sample {sample_ids[row]!r} holds {values.data[wrong][0]:g}, expected counts (whole numbers >= 0); "
            "give numbers of reads, not fractions"
        )
    counts = sparse.csr_array(values.astype(np.int64))
    counts.eliminate_zeros()
    counts.sort_indices()
    empty = np.flatnonzero(np.diff(counts.indptr) == 0)
    if empty.size:
        raise EmptySampleError(sample_ids[empty[0]], 0, 0.0)
    return counts, sample_ids, names
