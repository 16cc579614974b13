"""Ordinations are coloured by the column that the embeddings hold best, and say so."""

from __future__ import annotations

import pandas as pd

from aam.evaluation.audit import Audit, Signal
from aam.report.samples import best_predicted, colour_words

FRAME = pd.DataFrame({"host_subject_id": ["a", "b"], "delivery": ["c", "v"], "age": ["1", "2"]}, index=["s1", "s2"])
SIGNALS = [
    Signal("host_subject_id", "subject", 90, 40, 0.99, 0.02, 0.03),  # told best, but of no use as colours
    Signal("delivery", "", 90, 2, 0.95, 0.5, 0.58),  # 0.45 above chance
    Signal("age", "", 90, 0, 0.6, -0.01, 0.02),  # 0.6 above chance
]


def test_the_column_furthest_above_chance_colours_and_never_the_subject() -> None:
    assert best_predicted(Audit(SIGNALS), FRAME) == ("age", {"s1": "1", "s2": "2"})
    assert best_predicted(Audit(SIGNALS[:1]), FRAME) is None
    weak = Signal("delivery", "", 90, 2, 0.55, 0.5, 0.58)  # no better than the best of the shuffled
    assert best_predicted(Audit([*SIGNALS[:1], weak]), FRAME) is None


def test_the_caption_says_how_well_and_how_well_by_chance() -> None:
    words = colour_words("delivery", Audit(SIGNALS))
    assert (
        words == "Samples of like colour lie together: delivery is predicted with balanced accuracy 0.95, but with at "
        "most 0.58 if its values are shuffled."
    )
    weak = Signal("delivery", "", 90, 2, 0.55, 0.5, 0.58)
    assert colour_words("delivery", Audit([weak])) == (
        "Samples of like colour lie no closer together than by chance: delivery is predicted with balanced accuracy "
        "0.55, and with up to 0.58 if its values are shuffled."
    )
    none = Signal("age", "", 90, 0, 0.548, -0.2, 0.000189)  # no variance is explained by chance
    assert "age is predicted with R² 0.55, but with at most 0.00 if its values" in colour_words("age", Audit([none]))
    assert colour_words("", Audit()) == "" and "is related to" in colour_words("plate", Audit())
