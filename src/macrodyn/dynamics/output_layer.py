"""The drift's output layer, solved for in the end.

An optimiser reaches last the directions in which a network's features hardly vary. What is left of
them is far below the noise of a step, but not of a trajectory that passes a slow region. In the
output layer the misfit is quadratic: its minimum is one linear equation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import CHUNK, Ensemble
from macrodyn.dynamics.latent import LatentModel
from macrodyn.dynamics.scalers import standardised


def solve_output_layer(ensemble: Ensemble, data: TransitionData, ridge: float) -> bool:
    """Move each member's output layer to the minimum of the drift's misfit, in place.

    With features f(z) in which a member's drift is linear, the change of its coefficients minimises

        mean_i w_i |y_i - drift(z_i) - f(z_i) change|^2 + ridge sum_k (mean_i w_i f_k^2) change_k^2,

    y_i the increment over its elapsed time, w_i that time: the increments' variance grows as it. If
    each has its own factor, it is that time over the factor.
    The penalty is on the change: what the data do not say stays as it was trained.

    Args:
        ensemble: What was trained.
        data: All transitions, of training and of validation, in the members' variables.
        ridge: Strength of the penalty, relative to the features' mean squares.

    Returns:
        Whether the model has such features; without, nothing was changed.
    """
    if not ensemble.template.linear_output:
        return False
    chunks = (data.select(rows) for rows in torch.arange(len(data)).split(CHUNK))
    parts = [_products(ensemble, chunk) for chunk in chunks]
    square, cross, weight = (torch.stack(sums).sum(0) for sums in zip(*parts, strict=True))
    square, cross = square / weight, cross / weight
    change = torch.linalg.solve(square + torch.diag_embed(penalties(square, ridge)), cross)
    changes = vmap(ensemble.template.output_change)(change.to(ensemble.z_mean))
    add(ensemble, changes)
    return True


def _products(ensemble: Ensemble, data: TransitionData) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over transitions, in double precision.

    Returns:
        Features with features, shape [M, f, f]; features with what the drift leaves, [M, f, d]; and
        the weights.
    """
    inputs = standardised(ensemble, data.z, data.conditions).expand(ensemble.members, -1, -1)
    with torch.no_grad():
        parameters = ensemble.parameters_by_name()
        drift = ensemble.evaluate(parameters, inputs)[0].double()
        features = of_members(ensemble, "output_features", inputs).double()
    weight = data.exposure.double()[:, None]
    increment = data.drift_increment.double() / ensemble.drift_scale
    if isinstance(data.factor, Tensor):
        increment = increment / data.factor.double()[:, None]
    # Weighted by the root of the time, an increment over its time is one over the root.
    left = increment / weight.sqrt() - drift * weight.sqrt()
    features = features * weight.sqrt()
    return features.mT @ features, features.mT @ left, weight.sum()


def penalties(square: Tensor, ridge: float) -> Tensor:
    """Penalties relative to the diagonal of a matrix of features, [..., f, f] to [..., f]."""
    diagonal = square.diagonal(dim1=-2, dim2=-1)
    # A feature that vanishes on all the data must not make the equation singular.
    return ridge * diagonal + torch.finfo(square.dtype).eps * diagonal.amax(-1, keepdim=True)


def add(ensemble: Ensemble, changes: dict[str, Tensor]) -> None:
    """Add to the members' parameters, in place."""
    with torch.no_grad():
        parameters = ensemble.parameters_by_name()
        for name, value in changes.items():
            parameters[name] += value


def of_members(ensemble: Ensemble, method: str, *values: Tensor) -> Tensor:
    """A method of the latent model, of each member for its values, [M, ...]."""
    call = MethodCall(ensemble.template, method)
    own = ensemble.parameters_by_name() | ensemble.constants_by_name()
    own = {f"model.{name}": value for name, value in own.items()}
    found: Tensor = vmap(lambda p, *x: functional_call(call, p, x))(own, *values)
    return found


class MethodCall(nn.Module):
    """A method as a call, as `functional_call` wants it."""

    def __init__(self, model: LatentModel, method: str) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, *values: Tensor) -> Tensor:
        """What the method returns."""
        found: Tensor = getattr(self.model, self.method)(*values)
        return found
