"""What a run draws from: samples of a table with their tokens, targets and labels, split and assembled into batches."""
