"""Products in bfloat16 of ever new numbers of rows leave nothing behind."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
from processors import slow_without_bf16

from aam.config import tiny
from aam.models.asv_encoder import ASVEncoder

SCRIPT = """
import resource, sys
import torch
from aam.models.asv_encoder import ASVEncoder
torch.set_num_threads(1)
ASVEncoder()
first, width = map(int, sys.argv[1:])
layer = torch.nn.Linear(128, width).bfloat16()

def peak(numbers):
    for rows in numbers:
        layer(torch.ones(rows, 128, dtype=torch.bfloat16)).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak(range(first, first + 40))
print((peak(range(first + 40, first + 240)) - before) / before)
"""


@pytest.mark.parametrize(("first", "width"), [(50, 64), slow_without_bf16(2000, 512)])
def test_two_hundred_sizes_of_a_product_take_no_more_memory_than_forty(first: int, width: int):
    """With the caches that torch comes with, the second two hundred take more than all before them."""
    asked = [sys.executable, "-c", SCRIPT, str(first), str(width)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.2


UNPICKLE = """
import os, pickle, sys
encoder = pickle.load(sys.stdin.buffer)
print(os.environ["LRU_CACHE_CAPACITY"], os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"])
"""


@pytest.mark.parametrize(
    ("more", "printed"),
    [({"LRU_CACHE_CAPACITY": "7"}, b"7 32"), pytest.param({}, b"32 32", marks=pytest.mark.slow)],
)
def test_an_encoder_sent_to_a_new_process_limits_the_caches_there_and_a_user_may_set_them(
    more: dict[str, str], printed: bytes
):
    environment = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
    content = pickle.dumps(ASVEncoder(tiny()))
    done = subprocess.run(
        [sys.executable, "-c", UNPICKLE], input=content, capture_output=True, check=True, env=environment | more
    )
    assert done.stdout.split() == printed.split()
