"""Tokens by column of the gene: a base has the token of its column, wherever its read begins, on either strand."""

from __future__ import annotations

import numpy as np
import pytest

from aam.config.fields import GENE_COLUMNS
from aam.corpus.gene_tokens import gene_tokens, tokens_of_codes
from aam.corpus.samples import tokenize_table
from aam.datasets import example
from aam.errors import SequenceError
from aam.gene.profile import NO_BASE, gene_profile, reverse_complement
from aam.io.table import read_table
from aam.vocab import PAD, START

GENE = gene_profile().hmm.consensus.upper()
V4 = GENE[610:760]
V3 = GENE[426:676]
NO_GENE = "ACCATG" * 25


def test_the_gene_has_as_many_columns_as_the_configuration_says():
    assert gene_profile().last == len(GENE) == GENE_COLUMNS


def test_a_base_has_the_token_of_its_column():
    tokens = gene_tokens([V4, V4[10:], V3])
    assert tokens.shape == (3, 761)
    assert (tokens[:, 0] == START).all()
    assert not tokens[0, 1:611].any() and not tokens[1, 1:621].any() and not tokens[2, 677:].any()
    assert ["ACGT".index(base) + 1 for base in V4] == tokens[0, 611:].tolist()
    np.testing.assert_array_equal(tokens[1, 621:], tokens[0, 621:])  # cut by ten bases, the others stay where they are
    np.testing.assert_array_equal(tokens[2, 611:677], tokens[0, 611:677])  # another primer, the same gene


def test_strand_and_length_that_is_read():
    turned, plus = gene_tokens([reverse_complement(V4), V4])
    np.testing.assert_array_equal(turned, plus)
    assert gene_tokens([V4], 100).shape == (1, 711)
    assert gene_tokens([V4.lower().replace("t", "u")])[0].tolist() == plus.tolist()


def test_what_is_no_16s_has_no_bases_and_most_of_it_is_refused():
    tokens = gene_tokens([V4, NO_GENE, V3])
    assert tokens[1, 0] == START and not tokens[1, 1:].any()
    with pytest.raises(SequenceError, match="2 of 3 ASVs are no 16S, .* check the sequences, or use a model"):
        gene_tokens([V4, NO_GENE, NO_GENE])


def test_reads_of_one_window_are_the_same_bases_as_by_position():
    """Without insertions and ambiguity, the bases in the order of the columns are those of the read."""
    table = read_table(example().table)
    by_read, by_column = (tokenize_table(table, 150, positions) for positions in ("read", "gene"))
    same = sum(
        one[one != PAD].tolist() == other[other != PAD].tolist() for one, other in zip(by_read, by_column, strict=True)
    )
    assert same > 0.95 * len(table.sequences)


def test_tokens_of_codes_by_hand():
    """Codes 0 to 3 are A C G T, tokens 1 to 4; columns 3 to 5 of the gene; only two bases are read."""
    codes = np.array([[0, NO_BASE], [1, 2], [3, 3]], np.uint8)
    assert tokens_of_codes(codes, 3, 7).tolist() == [[START, 0, 0, 1, 2, 4, 0], [START, 0, 0, 0, 3, 4, 0]]
    assert tokens_of_codes(codes, 3, 7, 2).tolist() == [[START, 0, 0, 1, 2, 0, 0], [START, 0, 0, 0, 3, 4, 0]]


def test_no_base_at_an_end_is_left_out():
    """The aligner leaves out ends whose last base is unusual; every base of the read has a column all the same."""
    turned = {"A": "C", "C": "A", "G": "T", "T": "G"}
    read = turned[V4[0]] + V4[1:-3] + turned[V4[-3]] + V4[-2] + turned[V4[-1]]
    tokens = gene_tokens([read])[0]
    assert tokens[611:761].tolist() == ["ACGT".index(base) + 1 for base in read]
    adapter = "ACACTCTTTCCCTACACGACGC"  # more than an end, so it is no part of the gene
    assert gene_tokens([adapter + V4[20:]])[0, 1:631].tolist().count(0) >= 620
