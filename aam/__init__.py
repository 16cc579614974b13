"""Attention All Microbes: a transformer pretrained on amplicon sequences, their abundances and their phylogeny."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
