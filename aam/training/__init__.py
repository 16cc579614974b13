"""Training: losses, optimiser, step, loop, faults, and runs on several processes."""
