"""Networks: plain tensors in, named records out; no files, no losses, no randomness but dropout.

Axis letters of every shape: B samples, U distinct ASVs, S ASV slots of a sample, L positions (START, then bases),
P transformer positions (START, then patches of bases), D width, H heads, V tokens, K latent branches. `valid` is True
where data is.
"""

from __future__ import annotations

import os

# For every new number of rows oneDNN makes code and work space of its own, in bfloat16 on CPUs, and torch and oneDNN
# keep those of the last 1,024: 400 numbers of rows of one layer hold 2.5 GB. Batches are seldom of the same size, so
# they are not asked for again: with 32 a step takes no longer. Read at the first product; what a user has set stays.
for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(cache, "32")
