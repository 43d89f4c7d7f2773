"""The partial likelihood of an ensemble, laid out for training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.scalers import standardised
from macrodyn.dynamics.scaling import drift_metric
from macrodyn.dynamics.scatter import lower_triangle
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.learning.loop import Parameters, Trainable

# Of the moving average of the parameters, per step.
AVERAGE = 0.995
# Largest gradient norm of one network.
CLIP = 1.0


class PartialLikelihood(Trainable):
    """Mean partial NLL of each member, on data that stay on the device.

    Args:
        ensemble: The ensemble.
        training: Transitions to learn from, in the members' variables.
        validation: Transitions of other groups.
        settings: How to train.

    Source: eq. (6) of arXiv:2511.12842.
    """

    section = "dynamics"
    schedule = "plateau"
    average = AVERAGE

    def __init__(
        self,
        ensemble: Ensemble,
        training: TransitionData,
        validation: TransitionData,
        settings: DynamicsSettings,
    ) -> None:
        self.ensemble, self.settings = ensemble, settings
        self.members, self.samples = ensemble.members, len(training)
        self.weight_decay = settings.weight_decay
        self.parameters = {n: p.detach() for n, p in ensemble.parameters_by_name().items()}
        # What each transition has of its own stands in its row.
        own = "by transition"
        self._facts = [
            [own if isinstance(v, Tensor) else v for v in (data.factor, data.patches, data.within)]
            for data in (training, validation)
        ]
        self.whitened = Whitened(ensemble, training)
        self.rows, self._offset = self.whitened.rows(training)
        self.validation, self._validation_offset = self.whitened.rows(validation)

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean NLL of a batch, shape [M]; see `Trainable.loss`."""
        rows = self.rows[None] if index is None else self.rows[index]
        return self._nll(parameters, rows).mean(-1) + self._offset

    def validate(self, parameters: Parameters) -> Tensor:
        """Mean NLL of the validation data, shape [M]."""
        nll = self._nll(parameters, self.validation[None])
        return nll.double().mean(-1) + self._validation_offset

    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """What a checkpoint must share; see `Trainable.identity`."""
        facts = {"kind": self.ensemble.kind, "options": self.ensemble.options}
        return {**facts, "data": self._facts}, (self.rows.cpu(), self.validation.cpu())

    def decays(self, name: str) -> bool:
        """Whether a parameter decays: the latent model says."""
        return self.ensemble.template.decays(name)

    def clip(self, name: str) -> tuple[str, float]:
        """Clip each network on its own; the noise's gradient is as large as there are patches."""
        network = self.ensemble.template.network(name)
        patches = torch.as_tensor(self.whitened.patches, dtype=torch.float64)
        return network, CLIP * (float(patches.mean()) if network == "noise" else 1)

    def divergence(self, step: int) -> str:
        """Name what may help."""
        return (
            f"The likelihood is not finite at step {step}: lower dynamics.learning_rate (now "
            f"{self.settings.learning_rate}) or dynamics.weight_decay (now "
            f"{self.settings.weight_decay}), or look for outliers in the increments"
        )

    def _nll(self, parameters: Parameters, rows: Tensor) -> Tensor:
        inputs = self.whitened.inputs(rows).expand(self.members, -1, -1)
        return self.whitened.nll(rows, *self.ensemble.evaluate(parameters, inputs))


class Whitened:
    """Transitions as rows of numbers in which their NLL is short.

    Constant transformations are applied to the data once: with L = L_ref M and
    s = factor * elapsed, the whitened increment is L_ref^-1 dz / s^(1/2), and

        y = M^-1 L_ref^-1 (dz - mu elapsed) / s^(1/2),  NLL = |y|^2 / 2 + sum log M_ii + const.

    Where the transitions hold compensated increments, the drift is fitted to these by least squares
    in units of their own noise, and y, whose drift then counts as given, shows the noise alone.

    The scatter of m patches, C C^T elapsed, adds columns to y that no drift moves: those of
    c = L_ref^-1 C / within^(1/2); sum log M_ii then counts m times. Where C C^T is the covariance
    rate itself, these are all columns.

    Attributes:
        patches: m, of the transitions that it was made for.

    Args:
        ensemble: Says L_ref and the units.
        data: Transitions, in the members' variables. Others that are laid out must have a scatter,
            compensated increments and numbers of patches of their own if these have.
    """

    def __init__(self, ensemble: Ensemble, data: TransitionData) -> None:
        self._ensemble, self.patches = ensemble, data.patches
        self._known = data.known
        d = data.variables
        triangle = 0 if data.scatter is None else d * (d + 1) // 2
        targets = 0 if data.compensated is None else d
        counts = int(isinstance(data.patches, Tensor))
        self._sizes = [d + data.conditions.shape[1], d, 1, 1, targets, triangle, counts]
        reference = ensemble.diffusion_scale.double().cpu()
        scale = torch.diag(ensemble.drift_scale.double().cpu())
        # From the members' drift to the whitened one.
        whitened = torch.linalg.solve(reference, scale).T
        self._whitened_drift = whitened.to(ensemble.z_mean)
        self._metric: Tensor | None = None
        if targets:
            self._metric = drift_metric(data, reference).T.to(ensemble.z_mean)

    def rows(self, data: TransitionData) -> tuple[Tensor, float]:
        """Everything constant of each transition, [N, columns], and the mean of a constant.

        In each row that constant, the largest, would cost the single precision of what varies.
        """
        reference = self._ensemble.diffusion_scale.double().cpu()
        factor = data.factor.double().cpu() if isinstance(data.factor, Tensor) else data.factor
        scale = (factor * data.elapsed.double().cpu()).sqrt()[:, None]

        def whiten(values: Tensor) -> Tensor:
            return torch.linalg.solve(reference, values.T).T

        d = data.variables
        z, conditions = (values.double().cpu() for values in (data.z, data.conditions))
        # As a density of the variables, whatever coordinates the members have.
        log_determinant = torch.linalg.slogdet(reference)[1] + self._ensemble.log_volume
        constant = d * scale.log() + log_determinant
        constant = constant + 0.5 * d * math.log(2.0 * math.pi)
        scatter, of_scatter = _whitened_scatter(data, reference, log_determinant)
        offset = float(of_scatter.mean())
        target = data.compensated
        columns = [
            standardised(self._ensemble, z, conditions),
            whiten(data.increment.double().cpu() / scale),
            data.elapsed.double().cpu()[:, None] / scale,
            constant + (of_scatter - offset)[:, None],
            *([] if target is None else [whiten(target.double().cpu() / scale)]),
            scatter,
            *([data.patches.cpu()[:, None]] if isinstance(data.patches, Tensor) else []),
        ]
        rows = torch.cat(columns, dim=1).to(self._ensemble.z_mean.device, torch.float32)
        return rows, offset

    def inputs(self, rows: Tensor) -> Tensor:
        """Standardised inputs of rows, shape [..., d + c]."""
        return rows[..., : self._sizes[0]]

    def noise_nll_by_row(self, rows: Tensor, drift: Tensor, triangle: Tensor) -> Tensor:
        """That part of the NLL which depends on the noise, by rows of the triangle.

        Row i is of the density of an increment's component i given those before it.

        Returns:
            Shape [M, batch, d]; arguments as in `nll`.
        """
        parts = rows.split(self._sizes, dim=-1)
        moved = parts[2] * (drift @ self._whitened_drift)
        return torch.stack(self._noise_nll(parts, moved, triangle), dim=-1)

    def information(self, rows: Tensor, triangle: Tensor) -> Tensor:
        """Fisher information of each entry of M, the others given.

        For S = M M^T and entry (i, j) it is m (|M^-1 e_i|^2 + [i = j] / M_ii^2): half the trace of
        (S^-1 dS)^2, of each of m vectors.

        Args:
            rows: Shape [M or 1, batch, columns].
            triangle: Shape [M, batch, d (d + 1) / 2].

        Returns:
            Shaped like the triangle.
        """
        counts = rows.split(self._sizes, dim=-1)[-1]
        d = self._sizes[1]
        i, j = torch.tril_indices(d, d)
        full = triangle.new_zeros(*triangle.shape[:-1], d, d)
        full[..., i, j] = triangle
        unit = torch.eye(d).to(full).expand_as(full)
        inverse = torch.linalg.solve_triangular(full, unit, upper=False)
        found = inverse.square().sum(-2)[..., i]
        own = (i == j).to(found) * inverse.diagonal(dim1=-2, dim2=-1).square()[..., i]
        patches = counts if counts.shape[-1] else self.patches
        result: Tensor = patches * (found + own)
        return result

    def nll(self, rows: Tensor, drift: Tensor, triangle: Tensor | None) -> Tensor:
        """NLL less the constant offset.

        Args:
            rows: Shape [M or 1, batch, columns].
            drift: The members' drift in their units, shape [M, batch, d].
            triangle: Their noise, shape [M, batch, d (d + 1) / 2]; None without noise.

        Returns:
            Shape [M, batch].
        """
        parts = rows.split(self._sizes, dim=-1)
        _, increment, root_time, constant, target, _, _ = parts
        moved = root_time * (drift @ self._whitened_drift)
        if self._metric is None:
            misfit = torch.zeros_like(moved[..., 0])
            if triangle is None:
                return 0.5 * (increment - moved).square().sum(-1)
        else:
            misfit = 0.5 * ((target - moved) @ self._metric).square().sum(-1)
            if triangle is None:
                return misfit
            moved = moved.detach()
        for row in self._noise_nll(parts, moved, triangle):
            misfit = misfit + row
        return misfit + constant[..., 0]

    def _noise_nll(self, parts: Sequence[Tensor], moved: Tensor, triangle: Tensor) -> list[Tensor]:
        _, increment, _, _, _, scatter, counts = parts
        patches = counts[..., 0] if counts.shape[-1] else self.patches
        residual = torch.zeros_like(moved) if self._known else increment - moved
        return [
            0.5 * squares + patches * log_diagonal
            for squares, log_diagonal in _whitened(residual, scatter, triangle)
        ]


def _whitened(residual: Tensor, scatter: Tensor, triangle: Tensor) -> list[tuple[Tensor, Tensor]]:
    """|Y_i|^2 of the rows of Y = M^-1 [r | c], and log M_ii, shape [M, batch] each.

    Written out over the few variables: much faster than a batched triangular solve of as many tiny
    matrices. As c is lower triangular, row i of Y has the residual's entry and i + 1 of c's.
    """
    entries = triangle.unbind(-1)
    columns = scatter.expand(*residual.shape[:-1], -1).unbind(-1) if scatter.shape[-1] else ()
    found: list[tuple[Tensor, Tensor]] = []
    solved: list[list[Tensor]] = []
    for i, value in enumerate(residual.unbind(-1)):
        first = i * (i + 1) // 2
        row = [value, *columns[first : first + i + 1]]
        for j, known in enumerate(solved):
            factor = entries[first + j]
            row[: len(known)] = [
                torch.addcmul(x, factor, y, value=-1.0)
                for x, y in zip(row[: len(known)], known, strict=True)
            ]
        row = [x / entries[first + i] for x in row]
        squares = torch.stack(row).square().sum(0) if columns else row[0].square()
        found.append((squares, entries[first + i].log()))
        solved.append(row)
    return found


def _whitened_scatter(
    data: TransitionData, reference: Tensor, log_determinant: Tensor
) -> tuple[Tensor, Tensor]:
    """Lower triangle of c by rows [N, d (d+1) / 2], and the constant of its NLL [N].

    Without a scatter there are no columns, and the constant is 0.
    """
    if data.scatter is None:
        return reference.new_zeros(len(data), 0), reference.new_zeros(len(data))
    d = data.variables
    rows, columns = torch.tril_indices(d, d)
    within = torch.as_tensor(data.within, dtype=torch.float64).cpu()
    patches = data.patches.double().cpu() if isinstance(data.patches, Tensor) else data.patches
    of_sum = patches.log() if isinstance(patches, Tensor) else math.log(patches)
    scatter = data.scatter.double().cpu() / within.sqrt().reshape(-1, 1, 1)
    scatter = lower_triangle(torch.linalg.solve(reference, scatter).mT)
    variance = 2.0 * math.pi * within * data.elapsed.double().cpu()
    constant = 0.5 * d * variance.log() + log_determinant
    constant = (patches - 1) * constant + 0.5 * d * of_sum
    return scatter[:, rows, columns], constant
