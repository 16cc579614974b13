"""File formats in and out: tables, sequences, metadata, distances and embeddings."""
