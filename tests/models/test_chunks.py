"""Work in chunks: gradients by hand, the same bits in any number of threads, precision, and errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from aam.models.chunks import Chunk, Work, compute_in_chunks

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 4], ids="threads {}".format)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Arithmetic threads of the caller."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def work(run: object, noisy: bool = False) -> Work:
    return Work.run_as_caller(run, CPU, noisy)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_gradients_by_hand(kept: int, threads: int):
    """Each chunk is x -> (a x, x + b): sums 2 * 10 + 3 * 1000 and so on."""
    a, b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(1.0))
    chunks = [(torch.tensor([value], requires_grad=value > 1.0),) for value in (1.0, 10.0, 1000.0)]
    found = compute_in_chunks(work(lambda x: (a * x, x + b)), chunks, [a, b], kept)
    assert [[result.item() for result in results] for results in found] == [[2, 2], [20, 11], [2000, 1001]]
    (3 * found[1][0] + found[2][0] + 5 * found[0][1]).sum().backward()
    assert a.grad.item() == 3 * 10 + 1000  # the unused results have gradient 0
    assert b.grad.item() == 5
    assert chunks[0][0].grad is None
    assert [chunk[0].grad.item() for chunk in chunks[1:]] == [3 * 2, 2]


def test_chunks_run_on_threads_of_one_core_each_and_no_more(threads: int):
    seen: list[tuple[str, int]] = []

    def run(x: Tensor) -> Chunk:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return (x * weight,)

    weight, chunks = nn.Parameter(torch.ones(3)), [(torch.ones(3),) for _ in range(8)]
    for noisy in (False, True):
        torch.cat([y for (y,) in compute_in_chunks(work(run, noisy), chunks, [weight], 4)]).sum().backward()
    beside = [name for name, _ in seen if name != threading.main_thread().name]
    assert len(seen) == 2 * (8 + 4)
    assert len(beside) == (12 if threads > 1 else 0)  # noisy chunks stay with the caller
    assert len(set(beside)) <= threads
    assert all(cores == (threads if name == threading.main_thread().name else 1) for name, cores in seen)
    assert torch.get_num_threads() == threads
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [threads]  # others are left as they were


def test_sums_over_chunks_are_the_same_bits_whatever_finishes_first():
    layer = nn.Sequential(nn.Linear(7, 50), nn.GELU(), nn.Linear(50, 3))
    rows = torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    found = []
    before = torch.get_num_threads()
    for threads in (4, 4, 4, 2):
        torch.set_num_threads(threads)
        layer.zero_grad()
        chunks = [(some,) for some in rows.split([90, 1, 30, 2, 70, 3, 4])]
        results = compute_in_chunks(work(lambda some: (layer(some),)), chunks, list(layer.parameters()), 2)
        torch.cat([result for (result,) in results]).square().sum().backward()
        found.append([parameter.grad.clone() for parameter in layer.parameters()])
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("kept", [0, 2])
def test_precision_is_the_callers_in_both_passes(kept: int, threads: int):
    layer, seen = nn.Linear(4, 4), []

    def run(x: Tensor) -> Chunk:
        y = layer(x)
        seen.append(y.dtype)
        return (y.float(),)

    chunks = [(torch.ones(2, 4),), (torch.ones(3, 4),)]
    with torch.autocast("cpu", torch.bfloat16):
        results = compute_in_chunks(work(run), chunks, list(layer.parameters()), kept)
        after = layer(torch.ones(1, 4))  # the weight that was cast without a graph must not serve here
    (torch.cat([result for (result,) in results]).sum() + after.sum()).backward()
    assert set(seen) == {torch.bfloat16}
    torch.testing.assert_close(layer.bias.grad, torch.full((4,), 6.0))
    torch.testing.assert_close(layer.weight.grad, torch.full((4, 4), 6.0))


def test_without_gradients_nothing_is_kept_or_done_twice(threads: int):
    calls: list[bool] = []

    def run(x: Tensor) -> Chunk:
        calls.append(torch.is_grad_enabled())
        return (x * weight,)

    weight = nn.Parameter(torch.ones(2))
    chunks = [(torch.ones(2),), (torch.ones(2),)]
    with torch.inference_mode():
        assert not compute_in_chunks(work(run), chunks, [weight], 0)[0][0].requires_grad
    weight.requires_grad_(False)
    assert not compute_in_chunks(work(run), chunks, [weight], 0)[0][0].requires_grad
    assert calls == [False] * 4


def test_an_error_in_a_chunk_is_the_callers(threads: int):
    def run(x: Tensor) -> Chunk:
        if x.item() == 2.0:
            raise ValueError("chunk 2")
        return (x,)

    with pytest.raises(ValueError, match="chunk 2"):
        compute_in_chunks(work(run), [(torch.tensor(float(n), requires_grad=True),) for n in range(4)], [], 0)
