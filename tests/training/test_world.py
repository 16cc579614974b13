"""Who is lost: what ranks find in their register, and what they raise."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch.distributed as dist

from aam.cli import explain_error
from aam.errors import ConfigError, Interrupted, NonFiniteError
from aam.training import world as module
from aam.training.world import Register, World, end_together

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:3968")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of a moment."""
    monkeypatch.setattr(module, "SEARCH", 0.3)


@pytest.fixture
def store() -> dist.HashStore:
    return dist.HashStore()


def ranks(store: dist.HashStore, size: int = 3) -> list[Register]:
    return [Register(store, rank, size) for rank in range(size)]


def move(store: dist.HashStore, rank: int, host: str, process: int) -> None:
    store.set(f"process {rank}", json.dumps([host, process]))


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


def test_a_process_that_is_no_more_is_named_once(store: dist.HashStore, tmp_path: Path):
    first, second, _ = ranks(store)
    move(store, 2, first.host, ended_process())
    (tmp_path / "last").mkdir()
    with pytest.raises(Interrupted, match=r"^rank 2 is gone without a word .*; go on with --resume, .*last\)$") as told:
        end_together(World(1, 3, tmp_path), LOST, second)
    assert explain_error(told.value)[1] == 4
    with pytest.raises(SystemExit) as silent:
        end_together(World(0, 3, tmp_path), LOST, first)
    assert silent.value.code == 4


def test_what_a_rank_said_of_its_end_is_told(store: dist.HashStore, tmp_path: Path):
    first, second, _ = ranks(store)
    with pytest.raises(MemoryError):
        end_together(World(1, 3, tmp_path), MemoryError("4 GB"), second)
    with pytest.raises(Interrupted, match=r"^rank 1 failed \(MemoryError: 4 GB\); there is no checkpoint yet"):
        end_together(World(0, 3, tmp_path), LOST, first)


def test_a_host_that_does_not_answer_is_named(store: dist.HashStore):
    first, *_ = ranks(store)
    for rank in (1, 2):
        move(store, rank, "node8", 1)
    assert first.search() == {1: "on node8 does not answer", 2: "on node8 does not answer"}


def test_a_rank_that_hangs_is_told_from_those_that_wait_for_it(store: dist.HashStore):
    """All are there, on one host and on another; two of them miss the third."""
    first, second, third = ranks(store)
    move(store, 1, "node8", 1)
    with ThreadPoolExecutor(2) as threads:
        found = [search.result() for search in [threads.submit(first.search), threads.submit(second.search)]]
    assert sorted(found, key=len) == [{}, {2: f"on {third.host} does not answer"}]


def test_lost_contact_of_ranks_that_are_all_there_is_told(store: dist.HashStore, tmp_path: Path):
    first, second = ranks(store, 2)
    with ThreadPoolExecutor(2) as threads:
        found = [search.result() for search in [threads.submit(first.search), threads.submit(second.search)]]
    (told,) = (text for lost in found for text in lost.values())
    assert told == "has lost contact with the others, which are all there"


def test_what_all_ranks_find_is_told_by_the_first(store: dist.HashStore):
    first, second, _ = ranks(store)
    with pytest.raises(NonFiniteError):
        end_together(World(0, 3), NonFiniteError("step 4"), first)
    with pytest.raises(SystemExit) as silent:
        end_together(World(1, 3), NonFiniteError("step 4"), second)
    assert silent.value.code == NonFiniteError.exit_code
    with pytest.raises(ConfigError):  # a file, say, that only this host lacks
        end_together(World(1, 3), ConfigError("no such file"), second)
