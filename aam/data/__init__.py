"""Readers of tables, sequences, metadata and distances, and what draws samples from them."""
