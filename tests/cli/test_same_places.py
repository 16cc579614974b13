"""An ASV has the same place and taxon in whatever order the ASVs are given."""

from __future__ import annotations

import numpy as np
import pandas as pd

import aam
from aam.datasets import example
from aam.io.table import read_table


def test_places_do_not_depend_on_the_order():
    names = list(read_table(example().table).sequences)
    order = np.random.default_rng(0).permutation(len(names))
    one, other = aam.place(names), aam.place([names[row] for row in order])
    assert list(other.placements.index) == [names[row] for row in order]
    pd.testing.assert_frame_equal(one.placements.loc[other.placements.index], other.placements)
    assert one.taxonomy.loc[other.taxonomy.index].equals(other.taxonomy)
