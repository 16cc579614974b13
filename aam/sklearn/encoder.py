"""A pretrained encoder as a step of scikit-learn: tables in, embeddings out.

`fit` learns nothing, and the embedding of a sample does not depend on other samples. So cross-validation is unbiased if
the encoder was pretrained on other samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from aam.config import Precision, RunConfig, from_dict
from aam.config.apply import ApplyConfig
from aam.config.fields import SHIPPED
from aam.corpus.dataset import Draw
from aam.corpus.samples import TableSamples, tokenize_table
from aam.errors import speaks_python
from aam.observer import Observer
from aam.sklearn.tables import TakesTables, warn_of_other_region

if TYPE_CHECKING:
    from aam.models.pretrain_model import PretrainModel


@dataclass(eq=False, repr=False)
class AAMEncoder(TransformerMixin, TakesTables):
    """Sample embeddings [N, D] of counts [N, A] by a trained model.

    `model` is a run directory, a checkpoint in it, or a name that `aam models` lists; by default it is the encoder that
    comes with aam. `rarefy_depth` reads are drawn of deeper samples, by `seed`;
    shallower ones keep all reads (None: all reads). `cache` is a folder for ASV embeddings, which saves time if
    cross-validation encodes the same ASVs repeatedly. `device` and `precision` are the options of `aam embed`.

    X is a table as in `aam.sklearn.tables`; its ASVs need not be those that `fit` saw. `transform` raises
    `EmptySampleError` for a sample without reads, `TableError` for invalid counts, and `SequenceError` for
    columns that are not DNA; it warns of ASVs from another region, or the other strand, than the model's.
    """

    model: str | Path = SHIPPED
    rarefy_depth: int | None = None
    seed: int = 0
    cache: str | Path | None = None
    device: str = RunConfig.device
    sequences: Mapping[str, str] | None = None
    precision: Precision = ApplyConfig.precision

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # counts in, float32 out
        return tags

    @speaks_python
    def fit(self, X: Any, y: Any = None) -> AAMEncoder:
        """Open the model; X is checked, not learned from."""
        from aam.checkpoint import find_members, open_model
        from aam.models.devices import resolve_device
        from aam.workflows.model_names import find_model

        from_dict(ApplyConfig, {"precision": self.precision})
        self._read(X, fitting=True)
        opened = open_model(find_members(find_model(Path(self.model), Observer()))[0])
        self.encoder_: PretrainModel = opened.encoder.to(resolve_device(self.device))
        model = opened.config.model
        self.n_features_out_, self.max_bp_, self.positions_ = model.dim, model.max_bp, model.positions
        self.token_limit_ = opened.config.data.token_limit
        return self

    @speaks_python
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Embeddings [N, D], rows in the order of X."""
        check_is_fitted(self, "encoder_")
        from aam.inference.asvs import encode_asvs, open_cache
        from aam.inference.embed import Encoding

        draw = Draw(self.rarefy_depth, None, "abundance", self.seed)
        table = self._read(X, fitting=False)
        warn_of_other_region(table, self.encoder_.asv_encoder)
        opened = TableSamples(table, tokenize_table(table, self.max_bp_, self.positions_))
        folder = None if self.cache is None else Path(self.cache)
        with open_cache(folder, self.encoder_.asv_encoder, self.n_features_out_, self.precision) as store:
            asvs = encode_asvs(self.encoder_, opened.tokens, opened.columns, store, precision=self.precision)
        found = Encoding(self.encoder_, opened.drawn(draw), asvs, self.token_limit_, self.precision).embeddings()
        return found.float().cpu().numpy()

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """`aam1` … `aamD`."""
        check_is_fitted(self, "encoder_")
        return np.array([f"aam{number}" for number in range(1, self.n_features_out_ + 1)], dtype=object)
