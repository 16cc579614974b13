"""Robust eigen-decomposition against torch and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aam.errors import NonFiniteError
from aam.health import robust_eigh
from aam.health.guards import Interventions


def symmetric(n, seed=0, dtype=torch.float64):
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return a + a.mT


def test_equals_torch_where_eigenvalues_are_apart():
    a = symmetric(6).requires_grad_()
    b = a.detach().clone().requires_grad_()
    eigen = robust_eigh(a)
    values, vectors = torch.linalg.eigh(b)
    assert torch.allclose(eigen.values, values) and torch.allclose(eigen.vectors.abs(), vectors.abs())
    weights = torch.randn(6, 6, dtype=torch.float64)
    (eigen.values.square().sum() + (eigen.vectors.square() * weights).sum()).backward()
    (values.square().sum() + (vectors.square() * weights).sum()).backward()
    assert torch.allclose(a.grad, (b.grad + b.grad.mT) / 2, atol=1e-8)


def cycle(n):
    """Normalised Laplacian of a ring: all inner eigenvalues are double."""
    ring = torch.eye(n, dtype=torch.float64).roll(1, 0)
    return torch.eye(n, dtype=torch.float64) - (ring + ring.mT) / 2


@pytest.mark.parametrize(
    "matrix", [torch.eye(5), torch.zeros(4, 4), torch.ones(5, 5), cycle(8)], ids=["I", "0", "1", "ring"]
)
def test_repeated_eigenvalues_have_finite_gradients(matrix):
    a = matrix.double().clone().requires_grad_()
    eigen = robust_eigh(a)
    (eigen.values.sum() + eigen.vectors.sum()).backward()
    assert torch.isfinite(a.grad).all()


def test_gradient_of_a_function_of_the_space_is_right():
    """The projector onto a double eigenvalue's space is defined, and its gradient agrees with finite differences."""
    base, direction = cycle(6), symmetric(6, 1) * 0.1

    def projected(t):
        vectors = robust_eigh(base + t * direction).vectors[:, 1:3]
        return (vectors @ vectors.mT * direction).sum()

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    projected(t).backward()
    step = 1e-5
    expected = (projected(torch.tensor(step)) - projected(torch.tensor(-step))) / (2 * step)
    assert float(t.grad) == pytest.approx(float(expected), rel=1e-3)


def test_batches_half_precision_and_asymmetry():
    a = torch.stack([symmetric(4, seed, torch.float32) for seed in range(3)])
    eigen = robust_eigh(a)
    assert eigen.values.shape == (3, 4) and eigen.vectors.shape == (3, 4, 4)
    assert robust_eigh(a.half()).values.dtype is torch.float32
    skew = torch.triu(torch.ones(4, 4), 1)
    assert torch.allclose(robust_eigh(a[0] + skew - skew.mT).values, eigen.values[0], atol=1e-5)


def test_the_condition_is_told():
    a = torch.diag(torch.tensor([1e-12, 1.0, 4.0], dtype=torch.float64))
    assert robust_eigh(a).condition == pytest.approx(4e12, rel=1e-3)
    assert robust_eigh(torch.ones(2, 2)).condition > 1e6 and robust_eigh(torch.eye(3)).condition == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_bad_input_is_refused_not_replaced(value):
    a = torch.eye(3)
    a[1, 1] = value
    with pytest.raises(NonFiniteError, match=r"eigen-decomposition of a matrix with shape torch.Size\(\[3, 3\]\)"):
        robust_eigh(a)


@pytest.mark.parametrize("failures", [1, 2, 4])
def test_fallback_is_counted(monkeypatch, failures):
    """A solver that gives up a few times; on a CPU it hardly ever does by itself."""
    solve, calls = torch.linalg.eigh, []

    def fails_first(matrix):
        calls.append(matrix.dtype)
        if len(calls) <= failures:
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return solve(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", fails_first)
    counter, a = Interventions(budget=0.0), symmetric(5, dtype=torch.float32)
    eigen = robust_eigh(a, interventions=counter)
    assert calls == [torch.float32] + [torch.float64] * failures
    assert counter.state_dict() == {"eigen-decomposition fallback": failures}
    # The ridge, up to a thousandth of the diagonal, is taken off again.
    assert torch.allclose(eigen.values, solve(a).eigenvalues, atol=1e-5) and eigen.values.dtype is torch.float32


def test_a_solver_that_never_converges_is_an_error_not_an_old_result(monkeypatch):
    def fails(matrix):
        raise torch.linalg.LinAlgError("the algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    with pytest.raises(NonFiniteError, match="failed in float64 with any ridge"):
        robust_eigh(torch.eye(3))


def test_large_and_small_scales():
    for scale in (1e36, 1e-36):
        a = symmetric(10, dtype=torch.float32) * scale
        expected = torch.linalg.eigvalsh(a.double())
        assert torch.allclose(robust_eigh(a).values.double(), expected, rtol=1e-4, atol=1e-5 * scale)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([1e-6, 1.0, 1e6]))
def test_gradients_are_finite_for_any_block_structure(n, seed, distinct, scale):
    """Matrices with few distinct eigenvalues, in a random basis."""
    random = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(n, n, generator=random, dtype=torch.float64))
    values = torch.randint(0, distinct, (n,), generator=random).double() * scale
    a = (basis * values @ basis.mT).requires_grad_()
    eigen = robust_eigh(a)
    (eigen.vectors.square() @ torch.randn(n, generator=random, dtype=torch.float64)).sum().backward()
    assert torch.isfinite(a.grad).all()
