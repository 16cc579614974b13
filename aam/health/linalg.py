"""Eigen-decompositions that survive degenerate matrices.

`torch.linalg.eigh` has two weak points: its backward pass divides by differences of eigenvalues, so a repeated one (any
symmetric graph, any constant block) gives NaN gradients; and its iteration can fail on ill-conditioned input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aam.errors import NonFiniteError
from aam.health.guards import Interventions
from aam.health.stats import format_stats

FALLBACK = "eigen-decomposition fallback"
GAP = 1e-6
"""Eigenvalues closer than this part of the largest count as one in the gradient."""
RETRIES = (0.0, 1e-10, 1e-6, 1e-3)
"""What is added to the diagonal, as parts of its mean magnitude, where the solver gives up; all in float64."""


class _Eigh(torch.autograd.Function):
    """Eigenvalues and vectors of symmetric matrices, with the gradient of repeated eigenvalues damped.

    The exact gradient of eigenvectors holds 1 / (l_j - l_i). Here it is d / (d^2 + e^2) with d the difference and e
    `GAP` times the largest magnitude. This is nearly exact for distinct eigenvalues, and 0 for equal ones, whose single
    eigenvectors are undefined. Functions of their common eigenspace, which is defined, get the right gradient.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(values, vectors)
        return values, vectors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        grad_values, grad_vectors = gradients
        values, vectors = ctx.saved_tensors
        apart = values.unsqueeze(-2) - values.unsqueeze(-1)  # [.., i, j] = l_j - l_i
        scale = GAP * values.abs().amax(-1, keepdim=True).unsqueeze(-1).clamp(
            min=torch.finfo(values.dtype).tiny ** 0.25
        )
        inner = (vectors.mT @ grad_vectors) * (apart / (apart.square() + scale.square()))
        gradient = vectors @ (inner + torch.diag_embed(grad_values)) @ vectors.mT
        return (gradient + gradient.mT) / 2


@dataclass(frozen=True)
class Eigen:
    """Eigenvalues [.., n], ascending, of the matrix as given, and eigenvectors [.., n, n] in columns."""

    values: Tensor
    vectors: Tensor
    condition: float  # largest over smallest magnitude of the eigenvalues, the worst of the batch


def robust_eigh(matrix: Tensor, interventions: Interventions | None = None) -> Eigen:
    """Eigen-decomposition of symmetric matrices [.., n, n] with finite gradients, in at least fp32.

    The matrix is made exactly symmetric. If the solver fails, it is tried again in float64, then with a growing ridge,
    which is subtracted from the eigenvalues again. Each retry is counted in `interventions`. Raises
    `NonFiniteError` for NaN or Inf in the matrix, and if all retries fail.
    """
    wide = matrix if matrix.dtype in (torch.float32, torch.float64) else matrix.float()
    if not bool(torch.isfinite(wide).all()):
        raise NonFiniteError(f"eigen-decomposition of a matrix with shape {matrix.shape}: {format_stats(matrix)}")
    symmetric = (wide + wide.mT) / 2
    size = symmetric.detach().diagonal(dim1=-2, dim2=-1).double().abs().mean(-1)
    for attempt, (dtype, ridge) in enumerate([(symmetric.dtype, 0.0), *((torch.float64, ridge) for ridge in RETRIES)]):
        if attempt and interventions is not None:
            interventions.add(FALLBACK)
        shift = (ridge * size).to(dtype)
        diagonal = torch.diag_embed(shift[..., None].expand(*shift.shape, matrix.shape[-1]))
        try:
            values, vectors = _Eigh.apply(symmetric.to(dtype) + diagonal)
        except torch.linalg.LinAlgError:
            continue
        if bool(torch.isfinite(values).all()) and bool(torch.isfinite(vectors).all()):
            values = (values - shift[..., None]).to(wide.dtype)
            return Eigen(values, vectors.to(wide.dtype), _condition(values))
    raise NonFiniteError(f"eigen-decomposition failed in float64 with any ridge; matrix: {format_stats(matrix)}")


def _condition(values: Tensor) -> float:
    """Worst ratio of the largest to the smallest magnitude; infinite for a singular matrix."""
    magnitude = values.detach().abs().double()
    if magnitude.numel() == 0:
        return 1.0
    ratio = magnitude.amax(-1) / magnitude.amin(-1)
    return float(torch.nan_to_num(ratio, nan=1.0, posinf=torch.inf).max())  # the zero matrix is 0 / 0
