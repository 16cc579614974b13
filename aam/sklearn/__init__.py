"""Models of this package as estimators of scikit-learn: tables in, embeddings or predictions out.

    make_pipeline(AAMEncoder("aam-run"), RidgeCV())
    AAMRegressor("aam-run", freeze=True)
    AAMClassifier("aam-run", freeze=True)

X is a DataFrame of counts whose columns are ASV sequences; see `aam.sklearn.tables` for what else it may be. Importing
this package imports scikit-learn; nothing else of `aam` does at import.
"""

from __future__ import annotations

from aam.sklearn.encoder import AAMEncoder
from aam.sklearn.finetuned import AAMClassifier, AAMRegressor

__all__ = ["AAMClassifier", "AAMEncoder", "AAMRegressor"]
