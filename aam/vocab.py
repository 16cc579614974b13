"""Tokens of a sequence: START, then bases, then PAD. MASK hides a base from the model."""

from __future__ import annotations

PAD, A, C, G, T, START, MASK = range(7)
VOCAB_SIZE = 7
"""Rows of the input embedding."""
OUTPUT_SIZE = 6
"""Classes of the nucleotide head: every token but MASK."""
BASES = {"A": A, "C": C, "G": G, "T": T, "U": T}
"""RNA's U reads as T; lower case reads as upper case."""
AMBIGUOUS = frozenset("RYSWKMBDHVN")
"""IUPAC codes for more than one base: they read as MASK and carry no loss."""
