"""The output layer of a drift, solved for on quadratic forms of the drift."""

from __future__ import annotations

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
_TOLERANCE = 1e-8


def solve_output(ensemble: Ensemble, z: Array, form: QuadraticForm, ridge: float) -> int:
    """Move each member's output layer to the minimum of the mean quadratic form, in place.

    With features f(z) in which the drift is linear, the change W of its coefficients minimises

        mean_i form_i(g(z_i) + W^T f(z_i)) + ridge sum_kj (mean_i f_k^2 A_jj) W_kj^2.

    The equation has as many unknowns as there are features times variables: it is solved by
    conjugate gradients, preconditioned by what it would be with one A for all configurations.

    Args:
        ensemble: What was trained, with a ``linear_output``; on the CPU.
        z: States of all configurations, shape [n, d].
        form: The forms in the members' units.
        ridge: Strength of the penalty.

    Returns:
        The largest number of steps that a member took.
    """
    with torch.no_grad():
        inputs = standardised(ensemble, torch.as_tensor(z), torch.as_tensor(z)[:, :0]).float()
        matrix, vector = torch.as_tensor(form.matrix), torch.as_tensor(form.vector)
        parameters, constants = ensemble.parameters_by_name(), ensemble.constants_by_name()
        features_of = MethodCall(ensemble.template, "output_features")
        changes, most = [], 0
        for member in range(ensemble.members):
            own = {k: v[member] for k, v in {**parameters, **constants}.items()}
            drift = functional_call(ensemble.template, own, (inputs,))[0].double()
            features = functional_call(
                features_of, {f"model.{k}": v for k, v in own.items()}, (inputs,)
            ).double()
            left = vector - (matrix @ drift.unsqueeze(-1)).squeeze(-1)
            change, steps = _conjugate_gradients(features, matrix, left, ridge)
            changes.append(change)
            most = max(most, steps)
        found = vmap(ensemble.template.output_change)(torch.stack(changes).to(ensemble.z_mean))
        for name, value in found.items():
            parameters[name].add_(value)
    return most


def _conjugate_gradients(
    features: Tensor, matrix: Tensor, left: Tensor, ridge: float
) -> tuple[Tensor, int]:
    """Solve mean_i f_i (A_i W^T f_i)^T + penalty W = mean_i f_i left_i^T for W, [f, d]."""
    n = len(features)
    mean = matrix.mean(0)
    square = features.T @ features / n
    strength = ridge * square.diagonal()[:, None] * mean.diagonal()
    # Of a product of two matrices the inverse is the product of theirs.
    penalised = square + ridge * torch.diag(square.diagonal())
    # Features that are multiples of others leave no more than rounding on the diagonal.
    least = 1e-14 * penalised.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
    one = torch.linalg.cholesky(penalised + least)
    other = torch.linalg.cholesky(mean)

    def apply(w: Tensor) -> Tensor:
        bent = (matrix @ (features @ w).unsqueeze(-1)).squeeze(-1)
        return features.T @ bent / n + strength * w

    def precondition(r: Tensor) -> Tensor:
        return torch.cholesky_solve(torch.cholesky_solve(r, one).T, other).T

    residual = features.T @ left / n
    solution = torch.zeros_like(residual)
    first = residual.norm()
    direction = preconditioned = precondition(residual)
    size = (residual * preconditioned).sum()
    for step in range(_ITERATIONS):
        if residual.norm() <= _TOLERANCE * first:
            return solution, step
        bent = apply(direction)
        length = size / (direction * bent).sum()
        solution = solution + length * direction
        residual = residual - length * bent
        preconditioned = precondition(residual)
        size, before = (residual * preconditioned).sum(), size
        direction = preconditioned + (size / before) * direction
    return solution, _ITERATIONS
