"""The output layer of a drift, solved for on quadratic forms of the drift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.force_forms import QuadraticForm
from macrodyn.dynamics.output_layer import MethodCall
from macrodyn.dynamics.scalers import standardised

Array = NDArray[np.float64]
# Most steps of the conjugate gradients, and the residual, over the first one, that ends them.
_ITERATIONS = 200
_TOLERANCE = 1e-6
# Strengths of the penalty to choose from, the strongest first.
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def solve_output(
    ensemble: Ensemble,
    z: Array,
    form: QuadraticForm,
    split: tuple[NDArray[np.int64], NDArray[np.int64]],
    groups: NDArray[np.int64],
) -> float | None:
    """Move each member's output layer to the minimum of the mean quadratic form, in place.

    With features f(z) in which the drift is linear, the change W of its coefficients minimises

        mean_i form_i(g(z_i) + W^T f(z_i)) + ridge sum_kj (mean_i f_k^2 A_jj) W_kj^2.

    The ridge is the one, of `RIDGES`, whose change by the training data is best on the held-out
    runs; with it all data are fitted. Where the members gain no more than the standard error of
    their gain, nothing is changed: few forces hold more noise than an optimiser has missed.

    Args:
        ensemble: What was trained, with a ``linear_output``; on the CPU.
        z: States of all configurations, shape [n, d].
        form: The forms in the members' units.
        split: Rows that were learned from, and those held out.
        groups: Run of each configuration, shape [n].

    Returns:
        The ridge; None if nothing was changed.
    """
    training, held_out = (_equations(ensemble, z, form, rows) for rows in split)
    best, least = None, 0.0
    for ridge in RIDGES:
        pairs = zip(training, held_out, strict=True)
        gains = torch.stack([unseen.gain(seen.solve(ridge)) for seen, unseen in pairs])
        mean, error = _by_group(gains.mean(0).numpy(), groups[split[1]])
        if mean - error > 0 and mean > least:
            best, least = ridge, mean
        elif best is not None:
            # Weaker ridges fit the noise of the training data better and better.
            break
    if best is None:
        return None
    both = _equations(ensemble, z, form, np.arange(len(z)))
    changes = torch.stack([equation.solve(best) for equation in both])
    with torch.no_grad():
        named = vmap(ensemble.template.output_change)(changes.to(ensemble.z_mean))
        for name, value in named.items():
            ensemble.parameters_by_name()[name].add_(value)
    return best


def _by_group(values: Array, groups: NDArray[np.int64]) -> tuple[float, float]:
    """Mean over groups, and its standard error."""
    labels, inverse = np.unique(groups, return_inverse=True)
    means = np.bincount(inverse, values) / np.bincount(inverse)
    if len(labels) < 2:
        return float(means.mean()), 0.0
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(labels)))


def _equations(
    ensemble: Ensemble, z: Array, form: QuadraticForm, rows: NDArray[np.int64]
) -> list[_Equation]:
    """The equation of each member by some of the configurations."""
    states = torch.as_tensor(z[rows])
    inputs = standardised(ensemble, states, states[:, :0]).to(ensemble.z_mean.dtype)
    # The members share it: it is larger than all else.
    matrix = torch.as_tensor(form.matrix[rows])
    vector = torch.as_tensor(form.vector[rows])
    named = ensemble.parameters_by_name() | ensemble.constants_by_name()
    features_of = MethodCall(ensemble.template, "output_features")
    found = []
    for member in range(ensemble.members):
        own = {name: value[member] for name, value in named.items()}
        inner = {f"model.{name}": value for name, value in own.items()}
        with torch.no_grad():
            drift = functional_call(ensemble.template, own, (inputs,))[0].double()
            features = functional_call(features_of, inner, (inputs,)).double()
        found.append(_Equation(features, matrix, vector - _applied(matrix, drift)))
    return found


@dataclass(frozen=True)
class _Equation:
    """The linear equation of one member's output layer, in double precision.

        mean_i f_i (A_i W^T f_i)^T + penalty W = mean_i f_i left_i^T

    Attributes:
        features: f, shape [n, f].
        matrix: A of each configuration, shape [n, d, d].
        left: What the drift leaves over, b - A g, shape [n, d].
    """

    features: Tensor
    matrix: Tensor
    left: Tensor

    @cached_property
    def _square(self) -> Tensor:
        return self.features.T @ self.features / len(self.features)

    @cached_property
    def _mean(self) -> Tensor:
        return self.matrix.mean(0)

    def gain(self, change: Tensor) -> Tensor:
        """By how much a change lowers the form of each configuration."""
        moved = self.features @ change
        return (moved * (2.0 * self.left - _applied(self.matrix, moved))).sum(-1)

    def solve(self, ridge: float) -> Tensor:
        """The change W of the coefficients, shape [f, d], by conjugate gradients."""
        n, square, mean = len(self.features), self._square, self._mean
        strength = ridge * square.diagonal()[:, None] * mean.diagonal()
        # Of a product of two matrices the inverse is the product of theirs.
        penalised = square + ridge * torch.diag(square.diagonal())
        # Features that are multiples of others leave no more than rounding on the diagonal.
        one = _cholesky(penalised, floor=1e-14)
        # Forces on the same few coordinates everywhere say nothing of some variables.
        other = _cholesky(mean, floor=1e-6)

        def apply(w: Tensor) -> Tensor:
            return self.features.T @ _applied(self.matrix, self.features @ w) / n + strength * w

        def precondition(r: Tensor) -> Tensor:
            return torch.cholesky_solve(torch.cholesky_solve(r, one).T, other).T

        residual = self.features.T @ self.left / n
        solution = torch.zeros_like(residual)
        first = residual.norm()
        direction = preconditioned = precondition(residual)
        size = (residual * preconditioned).sum()
        for _ in range(_ITERATIONS):
            if residual.norm() <= _TOLERANCE * first:
                break
            bent = apply(direction)
            length = size / (direction * bent).sum()
            solution = solution + length * direction
            residual = residual - length * bent
            preconditioned = precondition(residual)
            size, before = (residual * preconditioned).sum(), size
            direction = preconditioned + (size / before) * direction
        return solution


def _applied(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Each matrix times its vector, [n, d, d] and [n, d] to [n, d]."""
    return (matrix @ vectors.unsqueeze(-1)).squeeze(-1)


def _cholesky(matrix: Tensor, *, floor: float) -> Tensor:
    """Cholesky factor, with so much of the mean diagonal added."""
    least = floor * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=matrix.dtype)
    found: Tensor = torch.linalg.cholesky(matrix + least)
    return found
