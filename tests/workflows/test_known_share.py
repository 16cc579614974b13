"""What share of a table's ASVs was in training, also of reads that go beyond those of training."""

from __future__ import annotations

import numpy as np

from aam.corpus.gene_tokens import cut_tokens, gene_tokens
from aam.datasets import example
from aam.encoders import DEFAULT, shipped_models
from aam.io.table import read_table
from aam.vocab import PAD, START
from aam.workflows.notes import known_share

BEHIND = "CATCTGATACTGGCAAGCTTGAGTCTCGTAGAGGGGGGTAGAATTCCAGG"
"""Bases that follow the first 100 of V4 in Escherichia coli."""


def test_bases_before_a_column_and_beyond_so_many_are_cut():
    row = np.array([START, 1, PAD, 2, 3, PAD, 4, 1], np.uint8)
    assert cut_tokens(row[None], 3, 3).tolist() == [[START, PAD, PAD, 2, 3, PAD, 4, PAD]]
    assert cut_tokens(row[None], 1, 9).tolist() == [row.tolist()]


def test_longer_reads_of_known_asvs_are_known():
    reads = list(read_table(example().table).sequences)
    own, longer = (known_share([shipped_models()[DEFAULT]], gene_tokens(texts)) for texts in
                   (reads, [read + BEHIND for read in reads]))  # fmt: skip
    assert own is not None and longer is not None
    assert own.value > 0.6 and own.bases is None and abs(longer.value - own.value) < 0.05
    assert longer.text(310) == f"{own.value:.0%} of the 310 ASVs, by their first 100 bases, were in"
