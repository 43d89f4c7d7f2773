"""Output layers of drift and noise, solved for in the end.

An optimiser reaches last the directions in which a network's features hardly vary. What is left of
them is far below the noise of a step, but not of a trajectory that passes a slow region. In the
drift's output layer the misfit is quadratic: its minimum is one linear equation. In the noise's the
likelihood is a few such equations away from its maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import CHUNK, Ensemble
from macrodyn.dynamics.latent import LatentModel
from macrodyn.dynamics.partial_likelihood import Whitened
from macrodyn.dynamics.scalers import standardised
from macrodyn.dynamics.union import join

# Strengths of the noise's penalty to choose from, the strongest first.
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# Most steps of the scoring, and the change of the log likelihood of all data that ends it.
_SCORING_STEPS = 20
_SETTLED = 0.05


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
    change = torch.linalg.solve(square + torch.diag_embed(_penalty(square, ridge)), cross)
    changes = vmap(ensemble.template.output_change)(change.to(ensemble.z_mean))
    _add(ensemble, changes)
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
        features = _of_members(ensemble, "output_features", inputs).double()
    weight = data.exposure.double()[:, None]
    increment = data.drift_increment.double() / ensemble.drift_scale
    if isinstance(data.factor, Tensor):
        increment = increment / data.factor.double()[:, None]
    # Weighted by the root of the time, an increment over its time is one over the root.
    left = increment / weight.sqrt() - drift * weight.sqrt()
    features = features * weight.sqrt()
    return features.mT @ features, features.mT @ left, weight.sum()


def solve_noise_layer(
    ensemble: Ensemble, training: TransitionData, validation: TransitionData
) -> float | Literal["constant"] | None:
    """Move each member's noise towards its largest likelihood, in place; the drift is given.

    With features f(z) in which the outputs o that make the noise are linear, the change of their
    coefficients minimises

        sum_i NLL_i + ridge / 2 sum_ke H_ke change_ke^2,

    H_ke = sum_i I_ie f_k^2 and I_ie the Fisher information of output e. Of `RIDGES`, the strongest
    first, it is the last before the change by the training data gains less on the validation data;
    with it all data are fitted. Where it gains no more than the standard error of its gain, the
    layer stays as it was trained: mean increments say little of the noise, and a few of them
    nothing that training has missed.

    What is found so must be better than a noise that is the same for all z, by more than that
    error. Else it is the latter that stays: a network follows what chance has made of the data.

    Args:
        ensemble: What was trained.
        training: Transitions that were learned from, in the members' variables.
        validation: Transitions of other groups. These only can tell: to the others the noise is
            fitted already.

    Returns:
        The ridge; ``constant`` if the noise is the same for all z; None if nothing was changed, as
        for a model without such features.

    Source: McCullagh and Nelder (1989), section 2.5, for Fisher scoring.
    """
    if not (ensemble.noisy and ensemble.template.linear_noise):
        return None
    ridge, found = _best_ridge(ensemble, training, validation)
    if ridge is None:
        return None
    both = join([training, validation])
    whitened = Whitened(ensemble, both)
    if ridge == "constant":
        layer = _NoiseLayer(ensemble, whitened, both, constant=True)
        change = -_of_members(ensemble, "noise_coefficients").double()
        change[:, :1] += layer.solve(RIDGES[-1], found)
    else:
        layer = _NoiseLayer(ensemble, whitened, both)
        change = layer.solve(ridge, found)
    _add(ensemble, vmap(ensemble.template.noise_change)(change.to(ensemble.z_mean)))
    return ridge


def _best_ridge(
    ensemble: Ensemble, training: TransitionData, validation: TransitionData
) -> tuple[float | Literal["constant"] | None, Tensor]:
    """The ridge that the validation data like best, and its change by the training data.

    The ridge is None if they gain by none of them. Of ``constant`` it is the change from zero.
    """
    whitened = Whitened(ensemble, training)
    layer = _NoiseLayer(ensemble, whitened, training)
    held_out = _NoiseLayer(ensemble, whitened, validation)
    groups = np.unique(validation.group.numpy(), return_inverse=True)[1]

    def gained(before: Tensor, after: Tensor) -> tuple[float, float]:
        """Gain in log likelihood, and its standard error."""
        by_group = np.bincount(groups, (before - after).numpy())
        return float(by_group.sum()), math.sqrt(len(by_group)) * float(by_group.std())

    as_trained = found = held_out.nll(layer.none)
    best: float | None = None
    chosen, most, change = layer.none, -math.inf, layer.none
    for ridge in RIDGES:
        change = layer.solve(ridge, change)
        nll = held_out.nll(change)
        gain, error = gained(as_trained, nll)
        # Weaker ones fit still more of the noise, and take the most steps.
        if gain < most:
            break
        most = gain
        if gain > error:
            best, chosen, found = ridge, change, nll
    if layer.features > 1:
        alone = _NoiseLayer(ensemble, whitened, training, constant=True)
        constant = alone.solve(RIDGES[-1], alone.none)
        held_out = _NoiseLayer(ensemble, whitened, validation, constant=True)
        gain, error = gained(held_out.nll(constant), found)
        if gain <= error:
            return "constant", constant
    return best, chosen


class _NoiseLayer:
    """The NLL as a function of changes of the noise's output layer, shape [M, f, e].

    Args:
        ensemble: What was trained.
        whitened: Lays the transitions out.
        data: Transitions.
        constant: Whether unity is the only feature, and changes are from outputs of zero.

    Attributes:
        features: Number of features f.
        none: No change.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        whitened: Whitened,
        data: TransitionData,
        *,
        constant: bool = False,
    ) -> None:
        self._ensemble, self._whitened = ensemble, whitened
        rows, _ = whitened.rows(data)
        self._parts = [_Part.of(ensemble, whitened, part) for part in rows.split(CHUNK)]
        if constant:
            self._parts = [part.constant() for part in self._parts]
        first = self._parts[0]
        self.features = first.features.shape[-1]
        sizes = (ensemble.members, self.features, first.outputs.shape[-1])
        self.none = torch.zeros(sizes, dtype=torch.float64)

    def solve(self, ridge: float, change: Tensor) -> Tensor:
        """The change that minimises the penalised NLL, from a first guess.

        Each step is that of Fisher scoring as if different outputs had no information in common,
        which they nearly have not in units of L_ref. A step that does not lower the NLL is not
        taken, and a shorter one follows.
        """
        information = self._information
        penalty = _penalty(information, ridge)
        factor = torch.linalg.cholesky(information + torch.diag_embed(penalty))
        penalty = penalty.mT
        value, slope = self._evaluate(change, penalty)
        length = torch.ones(len(change), 1, 1, dtype=torch.float64)
        for _ in range(_SCORING_STEPS):
            step = torch.cholesky_solve(slope.mT[..., None], factor)[..., 0].mT
            tried = change - length * step
            new_value, new_slope = self._evaluate(tried, penalty)
            gain = value - new_value
            better = (gain > 0)[:, None, None]
            change = torch.where(better, tried, change)
            slope = torch.where(better, new_slope, slope)
            value = torch.minimum(value, new_value)
            length = torch.where(better, (2.0 * length).clamp(max=1.0), 0.25 * length)
            if bool((gain.abs() < _SETTLED).all()):
                break
        return change

    def nll(self, change: Tensor) -> Tensor:
        """NLL of each transition, averaged over the members, shape [N]."""
        parts = [self._evaluated(part, change)[1] for part in self._parts]
        return torch.cat([part.detach().double().mean(0) for part in parts])

    def _evaluate(self, change: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Penalised NLL of all transitions, shape [M], and its gradient, shape [M, f, e]."""
        value = 0.5 * (penalty * change.square()).sum((-2, -1))
        slope = penalty * change
        for part in self._parts:
            outputs, nll = self._evaluated(part, change)
            (by_output,) = torch.autograd.grad(nll.sum(), outputs)
            value = value + nll.detach().double().sum(-1)
            # In single precision a chunk's sum is off by far less than a scoring step needs.
            slope = slope + (part.features.mT @ by_output).double()
        return value, slope

    def _evaluated(self, part: _Part, change: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and the NLL that depends on these, [M, batch]."""
        outputs = (part.outputs + part.features @ change.to(part.features)).requires_grad_()
        triangle = _of_members(self._ensemble, "noise_triangle", outputs)
        return outputs, self._whitened.noise_nll(part.rows, part.drift, triangle)

    @cached_property
    def _information(self) -> Tensor:
        """Sum over transitions of I_e f f^T, as the model was trained, shape [M, e, f, f]."""
        return torch.stack([self._products(part) for part in self._parts]).sum(0)

    def _products(self, part: _Part) -> Tensor:
        outputs = part.outputs.clone().requires_grad_()
        triangle = _of_members(self._ensemble, "noise_triangle", outputs)
        root = self._whitened.information(part.rows, triangle.detach()).sqrt()
        # No two outputs share an entry: this is the root times the entry's own derivative.
        (slope,) = torch.autograd.grad((triangle * root).sum(), outputs)
        found = []
        for own in slope.unbind(-1):
            weighted = (part.features * own[..., None]).double()
            found.append(weighted.mT @ weighted)
        return torch.stack(found, dim=1)


@dataclass(frozen=True)
class _Part:
    """Transitions whose evaluation is kept: rows, drift, features and outputs of each member."""

    rows: Tensor
    drift: Tensor
    features: Tensor
    outputs: Tensor

    @classmethod
    def of(cls, ensemble: Ensemble, whitened: Whitened, rows: Tensor) -> _Part:
        inputs = whitened.inputs(rows).expand(ensemble.members, -1, -1)
        with torch.no_grad():
            drift = ensemble.evaluate(ensemble.parameters_by_name(), inputs)[0]
            features = _of_members(ensemble, "noise_features", inputs)
            outputs = _of_members(ensemble, "noise_outputs", inputs)
        return cls(rows, drift, features, outputs)

    def constant(self) -> _Part:
        """The same of a noise that does not depend on z."""
        outputs = torch.zeros_like(self.outputs)
        return replace(self, features=self.features[..., :1], outputs=outputs)


def _penalty(square: Tensor, ridge: float) -> Tensor:
    """Penalties relative to the diagonal of a matrix of features, [..., f, f] to [..., f]."""
    diagonal = square.diagonal(dim1=-2, dim2=-1)
    # A feature that vanishes on all the data must not make the equation singular.
    return ridge * diagonal + torch.finfo(square.dtype).eps * diagonal.amax(-1, keepdim=True)


def _add(ensemble: Ensemble, changes: dict[str, Tensor]) -> None:
    with torch.no_grad():
        parameters = ensemble.parameters_by_name()
        for name, value in changes.items():
            parameters[name] += value


def _of_members(ensemble: Ensemble, method: str, *values: Tensor) -> Tensor:
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
