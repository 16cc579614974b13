"""Samples and batches under the paths that other code imports; they live in `aam.corpus`."""
