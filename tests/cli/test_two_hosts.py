"""Two hosts, as two network namespaces that a cable joins: one run on both, and the loss of one of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from processes import wait_for
from runs_on_ranks import rank_of, saved_often, validation

from aam import cli
from aam.checkpoint import open_model

pytestmark = pytest.mark.slow

HOSTS = {"aam-host-0": "10.77.0.1", "aam-host-1": "10.77.0.2"}
STEPS = 20


def ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two namespaces whose only way out is the cable between them."""
    first, second = HOSTS
    if shutil.which("ip") is None or ip("netns", "add", first, check=False).returncode:
        pytest.skip("network namespaces are not allowed here (they need `ip` and CAP_SYS_ADMIN): two hosts NOT TESTED")
    try:
        ip("netns", "add", second)
        ip("link", "add", "aam-cable-0", "type", "veth", "peer", "name", "aam-cable-1")
        for number, (host, address) in enumerate(HOSTS.items()):
            ip("link", "set", f"aam-cable-{number}", "netns", host)
            ip("-n", host, "addr", "add", f"{address}/24", "dev", f"aam-cable-{number}")
            ip("-n", host, "link", "set", f"aam-cable-{number}", "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield list(HOSTS)
    finally:
        for host in HOSTS:
            ip("netns", "del", host, check=False)


def start(host: str, number: int, arguments: list[str], temporary: Path) -> subprocess.Popen:
    """`torchrun` for two ranks on one of the hosts; they meet at the first."""
    addresses = list(HOSTS.values())
    meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{addresses[0]}:29500", "--rdzv-id", "two-hosts"]
    launch = ["--nnodes", "2", "--nproc-per-node", "2", *meet, "--local-addr", addresses[number]]
    launch += ["--rdzv-conf", f"is_host={number == 0},join_timeout=300"]
    command = ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run", *launch, "-m", "aam"]
    known = {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary), "GLOO_SOCKET_IFNAME": f"aam-cable-{number}"}
    return subprocess.Popen(
        [*command, *arguments], env=os.environ | known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def start_both(hosts: list[str], data: Path, *more: str, steps: int) -> list[subprocess.Popen]:
    arguments = saved_often(data, "run", *more, steps=steps)
    return [start(host, number, arguments, data / "tmp") for number, host in enumerate(hosts)]


def test_two_hosts_learn_what_one_process_learns(hosts: list[str], data: Path):
    both = start_both(hosts, data, steps=STEPS)
    for launcher in both:
        _, err = launcher.communicate(timeout=900)
        assert launcher.returncode == 0, err
    assert cli.main(saved_often(data, "alone", steps=STEPS)) == 0
    assert validation(data / "run") == pytest.approx(validation(data / "alone"), rel=1e-4)
    together, alone = (open_model(data / run / "last")[0].state_dict() for run in ("run", "alone"))
    for name, weight in alone.items():
        if "project.bias" not in name:  # no gradient but rounding, which AdamW makes into updates
            torch.testing.assert_close(together[name], weight, atol=1e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_when_one_host_is_lost_the_other_ends_and_says_so(hosts: list[str], data: Path):
    both = start_both(hosts, data, steps=100_000)
    wait_for((data / "run" / "last" / "state.json").exists, both[0], 900)
    for rank in (2, 3):
        os.kill(rank_of(both[1], rank), signal.SIGKILL)
    both[1].kill()
    _, err = both[0].communicate(timeout=200)
    both[1].communicate(timeout=10)
    (line,) = (line for line in err.splitlines() if line.startswith("Error:"))
    assert re.search(r"rank [23] is gone|rank 2 on .* does not answer; rank 3 on .* does not answer", line), line
    assert cli.main(["pretrain", "--output-dir", str(data / "run"), "--resume", "--max-steps", "1"]) == 0


def test_a_host_that_vanishes_is_missed_after_the_time_that_was_given(hosts: list[str], data: Path):
    """Its cable is cut: no connection is closed, and nothing tells the other host but silence."""
    both = start_both(hosts, data, "--rank-timeout", "10", steps=100_000)
    wait_for((data / "run" / "last" / "state.json").exists, both[0], 900)
    there = [rank_of(both[1], rank) for rank in (2, 3)]
    ip("-n", hosts[1], "link", "set", "aam-cable-1", "down")
    begin = time.monotonic()
    _, err = both[0].communicate(timeout=200)
    assert time.monotonic() - begin < 120
    (line,) = (line for line in err.splitlines() if line.startswith("Error:"))
    assert re.search(r"rank 2 on \S+ does not answer; rank 3 on \S+ does not answer; go on with --resume", line), line
    both[1].kill()
    for rank in there:
        os.kill(rank, signal.SIGKILL)
    both[1].communicate(timeout=10)
