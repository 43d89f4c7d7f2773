"""The noise's output layer, solved for in the end.

There the likelihood is a few linear equations away from its maximum. Rows of the noise's triangle
that need not depend on z are found to be constant: a network follows what chance has made of the
data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import CHUNK, Ensemble
from macrodyn.dynamics.output_layer import add, of_members, penalties
from macrodyn.dynamics.partial_likelihood import Whitened
from macrodyn.dynamics.union import join

# Strengths of the penalty to choose from, the strongest first.
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# Most steps of the scoring, and the change of the log likelihood of all data that ends it.
_SCORING_STEPS = 20
_SETTLED = 0.05


@dataclass(frozen=True)
class NoiseChoice:
    """What was done to the noise's output layer.

    Attributes:
        ridge: With which penalty the rows that depend on z were solved for; None if they stay as
            they were trained.
        constant: Rows of the triangle, from 0, that are the same for all z.
    """

    ridge: float | None = None
    constant: tuple[int, ...] = ()

    def __str__(self) -> str:
        said = "as it was trained" if self.ridge is None else f"solved for, ridge {self.ridge:g}"
        rows = ", ".join(map(str, self.constant))
        return f"{said}; constant rows: {rows}" if rows else said


def solve_noise_layer(
    ensemble: Ensemble, training: TransitionData, validation: TransitionData
) -> NoiseChoice:
    """Move each member's noise towards its largest likelihood, in place; the drift is given.

    With features f(z) in which the outputs o that make the noise are linear, the change of their
    coefficients minimises

        sum_i NLL_i + ridge / 2 sum_ke H_ke change_ke^2,

    H_ke = sum_i I_ie f_k^2 and I_ie the Fisher information of output e. Of `RIDGES`, the strongest
    first, it is the last before the change by the training data gains less on the validation data;
    with it all data are fitted. Where it gains no more than the standard error of its gain, the
    layer stays as it was trained: mean increments say little of the noise, and a few of them
    nothing that training has missed.

    The density of an increment is a product: that of its first component, of the second given the
    first, and so on, one factor for each row of the triangle. A row must be better than one that is
    the same for all z, by more than the standard error of what it gains on the validation data.
    Else it is the latter that stays. The variables' order is kept (`train_ensemble`): the first
    rows are the covariance of the observables, whatever the closure variables' noise depends on.

    Args:
        ensemble: What was trained.
        training: Transitions that were learned from, in the members' variables.
        validation: Transitions of other groups. These only can tell: to the others the noise is
            fitted already.

    Returns:
        What was done; nothing for a model without such features.

    Source: McCullagh and Nelder (1989), section 2.5, for Fisher scoring.
    """
    if not (ensemble.noisy and ensemble.template.linear_noise):
        return NoiseChoice()
    choice, first = _choose(ensemble, training, validation)
    if choice == NoiseChoice():
        return choice
    both = join([training, validation])
    layer = NoiseLayer(ensemble, Whitened(ensemble, both), both, choice)
    change = layer.solve(choice.ridge or RIDGES[-1], first) + layer.offset
    add(ensemble, vmap(ensemble.template.noise_change)(change.to(ensemble.z_mean)))
    return choice


def _choose(
    ensemble: Ensemble, training: TransitionData, validation: TransitionData
) -> tuple[NoiseChoice, Tensor]:
    """What the validation data like best, and a first guess of its change."""
    whitened = Whitened(ensemble, training)
    layer = NoiseLayer(ensemble, whitened, training)
    held_out = NoiseLayer(ensemble, whitened, validation)
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
        gain, error = gained(as_trained.sum(-1), nll.sum(-1))
        # Weaker ones fit still more of the noise, and take the most steps.
        if gain < most:
            break
        most = gain
        if gain > error:
            best, chosen, found = ridge, change, nll
    if layer.features == 1:
        return NoiseChoice(best), chosen
    everywhere = NoiseChoice(None, tuple(range(found.shape[-1])))
    alone = NoiseLayer(ensemble, whitened, training, everywhere)
    same = alone.solve(RIDGES[-1], alone.none)
    constant = NoiseLayer(ensemble, whitened, validation, everywhere).nll(same)
    rows = []
    for row in everywhere.constant:
        gain, error = gained(constant[:, row], found[:, row])
        if gain <= error:
            rows.append(row)
    choice = NoiseChoice(None if len(rows) == len(everywhere.constant) else best, tuple(rows))
    columns = _columns(ensemble, choice)
    return choice, torch.where(columns, same, chosen)


class NoiseLayer:
    """The NLL as a function of changes of the noise's output layer, shape [M, f, e].

    Args:
        ensemble: What was trained.
        whitened: Lays the transitions out.
        data: Transitions.
        choice: Outputs of its constant rows begin at zero, and only their constant moves; without a
            ridge the others do not move. All move as they like if it is left out.

    Attributes:
        features: Number of features f.
        none: No change.
        offset: What is to be added to a change: it takes constant rows to zero.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        whitened: Whitened,
        data: TransitionData,
        choice: NoiseChoice | None = None,
    ) -> None:
        self._ensemble, self._whitened = ensemble, whitened
        rows, _ = whitened.rows(data)
        self._parts = [_Part.of(ensemble, whitened, part) for part in rows.split(CHUNK)]
        coefficients = of_members(ensemble, "noise_coefficients").double()
        self.features = coefficients.shape[1]
        self.none = torch.zeros_like(coefficients)
        self.offset = self.none
        self._moves = torch.ones(coefficients.shape[1:], dtype=torch.bool)
        if choice is not None:
            columns = _columns(ensemble, choice)
            self._parts = [part.without(columns) for part in self._parts]
            self.offset = torch.where(columns, -coefficients, 0.0)
            self._moves[1:, columns] = False
            if choice.ridge is None:
                self._moves[:, ~columns] = False

    def solve(self, ridge: float, change: Tensor) -> Tensor:
        """The change that minimises the penalised NLL, from a first guess.

        Each step is that of Fisher scoring as if different outputs had no information in common,
        which they nearly have not in units of L_ref. A step that does not lower the NLL is not
        taken, and a shorter one follows.
        """
        information = self._information
        penalty = penalties(information, ridge)
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
        """NLL of each transition by rows of the triangle, averaged over the members, [N, d]."""
        found = []
        for part in self._parts:
            outputs = part.outputs + part.features @ change.to(part.features)
            triangle = of_members(self._ensemble, "noise_triangle", outputs)
            by_row = self._whitened.noise_nll_by_row(part.rows, part.drift, triangle)
            found.append(by_row.double().mean(0))
        return torch.cat(found)

    def _evaluate(self, change: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Penalised NLL of all transitions, shape [M], and its gradient, shape [M, f, e]."""
        value = 0.5 * (penalty * change.square()).sum((-2, -1))
        slope = penalty * change
        for part in self._parts:
            outputs = (part.outputs + part.features @ change.to(part.features)).requires_grad_()
            triangle = of_members(self._ensemble, "noise_triangle", outputs)
            nll = self._whitened.noise_nll_by_row(part.rows, part.drift, triangle).sum(-1)
            (by_output,) = torch.autograd.grad(nll.sum(), outputs)
            value = value + nll.detach().double().sum(-1)
            # In single precision a chunk's sum is off by far less than a scoring step needs.
            slope = slope + (part.features.mT @ by_output).double()
        return value, slope * self._moves

    @cached_property
    def _information(self) -> Tensor:
        """Sum over transitions of I_e f f^T, [M, e, f, f]; unity for what does not move."""
        found = torch.stack([self._products(part) for part in self._parts]).sum(0)
        moves = self._moves.mT
        found = found * (moves[:, :, None] & moves[:, None, :])
        return found + torch.diag_embed((~moves).double())

    def _products(self, part: _Part) -> Tensor:
        outputs = part.outputs.clone().requires_grad_()
        triangle = of_members(self._ensemble, "noise_triangle", outputs)
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
            features = of_members(ensemble, "noise_features", inputs)
            outputs = of_members(ensemble, "noise_outputs", inputs)
        return cls(rows, drift, features, outputs)

    def without(self, columns: Tensor) -> _Part:
        """The same with some outputs of zero."""
        return replace(self, outputs=torch.where(columns, 0.0, self.outputs))


def _columns(ensemble: Ensemble, choice: NoiseChoice) -> Tensor:
    """Which outputs are of constant rows, shape [e]."""
    return torch.isin(ensemble.template.noise_rows(), torch.tensor(choice.constant))
