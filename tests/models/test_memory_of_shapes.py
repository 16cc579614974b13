"""Products in bfloat16 of ever new numbers of rows leave nothing behind."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
import torch
import aam.models
torch.set_num_threads(1)
layer = torch.nn.Linear(128, 512).bfloat16()

def peak(numbers):
    for rows in numbers:
        layer(torch.ones(rows, 128, dtype=torch.bfloat16)).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak(range(2000, 2040))
print((peak(range(2040, 2240)) - before) / before)
"""


def test_two_hundred_sizes_of_a_product_take_no_more_memory_than_forty():
    """With the caches that torch comes with, the second two hundred take more than all before them."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.2
