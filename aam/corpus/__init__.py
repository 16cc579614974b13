"""Samples of a table with their tokens, targets and labels: opening, splitting, and assembly into batches."""
