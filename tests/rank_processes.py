"""Several ranks on this machine, for tests: processes that find the environment which `torchrun` sets."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

SMALL: dict[str, Any] = {
    "example": True, "preset": "tiny", "max_bp": 20, "token_limit": 16, "batch_size": 8, "dropout": 0.0, "device": "cpu"
}  # fmt: skip
"""A run on the embedded example that takes seconds; without dropout, whose noise is drawn apart on each rank."""

multiprocessing.set_forkserver_preload(["aam.training.distributed", "torch._dynamo"])
"""Imported once, not once a rank: an optimiser of torch imports the second, which takes as long as torch itself."""


def run_ranks(size: int, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(*arguments)` in `size` processes; raises what the first of them raises.

    They meet at a store of this process, at a port that the system chose, as they meet at that of `torchrun`.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    torch.multiprocessing.start_processes(
        one_rank, (size, store.port, work, arguments), nprocs=size, start_method="forkserver"
    )


def one_rank(rank: int, size: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()} | {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    work(*arguments)


def torchrun(launch: Sequence[str], arguments: Sequence[str], temporary: Path) -> subprocess.Popen:
    """`torchrun LAUNCH -m aam ARGUMENTS`, with its own folder for temporary files."""
    command = [sys.executable, "-m", "torch.distributed.run", *launch, "-m", "aam", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
