"""What the scripts in `debug/` share: a run that never starts, its stages, and a second reckoning of its batches."""
