"""Learners of a metadata column that have no network: ridge and forests on the clades of a reference tree."""
