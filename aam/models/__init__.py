"""Networks: plain tensors in, named records out; no files, no losses, no randomness but dropout.

Axis letters of every shape: B samples, U distinct ASVs, S ASV slots of a sample, L positions (START, then bases),
P transformer positions (START, then patches of bases), D width, H heads, V tokens, K latent branches. `valid` is True
where data is.
"""
