"""Training an ensemble of latent models by the partial likelihood."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from macrodyn.dynamics.constraints import LinearConstraint
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.output_layer import CHUNK, solve_output_layer
from macrodyn.dynamics.scalers import Scalers, standardised
from macrodyn.dynamics.scaling import drift_metric, fit_scalers
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.union import join
from macrodyn.learning.history import History
from macrodyn.learning.loop import Parameters, Progress, Trainable, train
from macrodyn.storage.checkpoints import Checkpoints

# Of the moving average of the parameters, per step.
AVERAGE = 0.995
# How much stronger the ridge of the output layer is where increments are as noisy as they come.
PLAIN = 100.0
# Largest gradient norm of one network.
CLIP = 1.0


def train_ensemble(
    data_train: TransitionData,
    data_val: TransitionData,
    settings: DynamicsSettings,
    *,
    seed: int = 0,
    device: str = "cpu",
    kind: str = "neural-sde",
    options: dict[str, Any] | None = None,
    constraint: LinearConstraint | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[Ensemble, History]:
    """Train all members at once on data that stay on the device.

    The likelihood is that of the mean increment, or of all m increments of a snapshot where the
    data hold their scatter. A model without noise is fitted by least squares, in units of the
    increments' scatter around a polynomial fit. The drift's output layer is solved for in the end,
    on all transitions (`solve_output_layer`).

    Args:
        data_train: Transitions to learn from.
        data_val: Transitions of other groups, for early stopping.
        settings: How to train.
        seed: Seed of initial parameters and minibatches.
        device: Where to train.
        kind: The latent model, see `latent_model`.
        options: Its options; those of the settings for ``neural-sde`` if left out.
        constraint: Exact linear relations among the variables, if there are any.
        checkpoints: Where to keep checkpoints while training, see `learning.loop.train`.
        progress: Called after each validation.

    Returns:
        The ensemble, each member at its best validated parameters, on the CPU, and the history.

    Raises:
        FloatingPointError: If a likelihood is not finite.
        Interrupted: If the checkpoints say that the training shall stop.

    Source: eq. (6) of arXiv:2511.12842.
    """
    training, validation = data_train, data_val
    if constraint is not None:
        training, validation = (d.within_constraint(constraint) for d in (training, validation))
    if options is None and kind == "neural-sde":
        options = settings.model_dump(mode="json", include={"hidden", "activation", "covariance"})
    scalers, linear = fit_scalers(training)
    ensemble = Ensemble(
        kind,
        variables=data_train.variables,
        conditions=data_train.conditions.shape[1],
        members=settings.members,
        options=options,
        scalers=scalers,
        linear_drift=linear,
        seed=seed,
        constraint=constraint,
    )
    ensemble.domain = Domain.of(data_train, data_val)
    ensemble.to(device)
    problem = PartialLikelihood(ensemble, training, validation, settings)
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    with torch.no_grad():
        for name, value in ensemble.parameters_by_name().items():
            value.copy_(best[name])
    ensemble.requires_grad_(False).cpu().eval()
    both = join([training, validation]).to("cpu")
    if settings.output_ridge is not None:
        stronger = PLAIN if training.compensated is None else 1.0
        solve_output_layer(ensemble, both, stronger * settings.output_ridge)
    if not ensemble.template.continues:
        _continue_outside(ensemble, both, scalers)
    return ensemble, history


def _continue_outside(ensemble: Ensemble, data: TransitionData, scalers: Scalers) -> None:
    """Set what takes over outside of the data, from the members' mean drift on them."""
    inputs = standardised(ensemble, data.z, data.conditions)
    with torch.no_grad():
        parameters = ensemble.parameters_by_name()
        drift = [
            ensemble.evaluate(parameters, chunk.expand(ensemble.members, -1, -1))[0].mean(0)
            for chunk in inputs.split(CHUNK)
        ]
    found = torch.cat(drift).double().numpy()
    step = float(data.elapsed.mean())
    ensemble.continuation.fit(inputs.double().numpy(), found, scalers, step=step)


class PartialLikelihood(Trainable):
    """Mean partial NLL of each member, on data that stay on the device.

    Constant transformations are applied to the data once: with L = L_ref M and
    s = factor * elapsed, the whitened increment is L_ref^-1 dz / s^(1/2), and

        y = M^-1 L_ref^-1 (dz - mu elapsed) / s^(1/2),  NLL = |y|^2 / 2 + sum log M_ii + const.

    Where the transitions hold compensated increments, the drift is fitted to these by least squares
    in units of their own noise, and y, whose drift then counts as given, shows the noise alone.

    The scatter of m patches, C C^T elapsed, adds columns to y that no drift moves: those of
    c = L_ref^-1 C / within^(1/2); sum log M_ii then counts m times.

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
        self.patches = training.patches
        # What each transition has of its own stands in its row.
        own = "by transition"
        self._facts = [
            [own if isinstance(v, Tensor) else v for v in (data.factor, data.patches, data.within)]
            for data in (training, validation)
        ]
        self.rows, self._offset = _rows(ensemble, training)
        self.validation, self._validation_offset = _rows(ensemble, validation)
        d = training.variables
        targets = 0 if training.compensated is None else d
        self._sizes = [d + training.conditions.shape[1], d, 1, 1, targets]
        counts = int(isinstance(training.patches, Tensor))
        self._sizes += [self.rows.shape[1] - sum(self._sizes) - counts, counts]
        reference = ensemble.diffusion_scale.double().cpu()
        scale = torch.diag(ensemble.drift_scale.double().cpu())
        # From the members' drift to the whitened one.
        whitened = torch.linalg.solve_triangular(reference, scale, upper=False).T
        self._whitened_drift = whitened.to(self.rows)
        self._metric: Tensor | None = None
        if targets:
            self._metric = drift_metric(training, reference).T.to(self.rows)

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
        patches = float(torch.as_tensor(self.patches, dtype=torch.float64).mean())
        return network, CLIP * (patches if network == "noise" else 1)

    def divergence(self, step: int) -> str:
        """Name what may help."""
        return (
            f"The likelihood is not finite at step {step}: lower dynamics.learning_rate (now "
            f"{self.settings.learning_rate}) or dynamics.weight_decay (now "
            f"{self.settings.weight_decay}), or look for outliers in the increments"
        )

    def _nll(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """NLL less the constant offset, shape [M, batch]."""
        parts = rows.split(self._sizes, dim=-1)
        inputs, increment, root_time, constant, target, scatter, counts = parts
        inputs = inputs.expand(self.members, -1, -1)
        drift, triangle = self.ensemble.evaluate(parameters, inputs)
        moved = root_time * (drift @ self._whitened_drift)
        misfit = torch.zeros_like(moved[..., 0])
        if self._metric is not None:
            misfit = 0.5 * ((target - moved) @ self._metric).square().sum(-1)
            moved = moved.detach()
        residual = increment - moved
        if triangle is None:
            return 0.5 * residual.square().sum(-1) if self._metric is None else misfit
        squares, log_diagonal = _whitened(residual, scatter, triangle)
        patches = counts[..., 0] if counts.shape[-1] else self.patches
        return misfit + 0.5 * squares + patches * log_diagonal + constant[..., 0]


def _whitened(residual: Tensor, scatter: Tensor, triangle: Tensor) -> tuple[Tensor, Tensor]:
    """|Y|^2 of Y = M^-1 [r | c], and sum log M_ii, shape [M, batch] each.

    Written out over the few variables: much faster than a batched triangular solve of as many tiny
    matrices. As c is lower triangular, row i of Y has the residual's entry and i + 1 of c's.
    """
    entries = triangle.unbind(-1)
    columns = scatter.expand(*residual.shape[:-1], -1).unbind(-1) if scatter.shape[-1] else ()
    squares = log_diagonal = torch.zeros_like(residual[..., 0])
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
        squares = squares + torch.stack(row).square().sum(0) if columns else squares + row[0] ** 2
        log_diagonal = log_diagonal + entries[first + i].log()
        solved.append(row)
    return squares, log_diagonal


def _rows(ensemble: Ensemble, data: TransitionData) -> tuple[Tensor, float]:
    """Everything constant of each transition, [N, columns], and the mean of its largest constant.

    In each row that constant would cost the single precision of what varies.
    """
    reference = ensemble.diffusion_scale.double().cpu()
    factor = data.factor.double().cpu() if isinstance(data.factor, Tensor) else data.factor
    scale = (factor * data.elapsed.double().cpu()).sqrt()[:, None]

    def whiten(values: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(reference, values.T, upper=False).T

    d = data.variables
    z, conditions = (values.double().cpu() for values in (data.z, data.conditions))
    constant = d * scale.log() + reference.diagonal().log().sum()
    constant = constant + 0.5 * d * math.log(2.0 * math.pi)
    scatter, of_scatter = _whitened_scatter(data, reference)
    offset = float(of_scatter.mean())
    columns = [
        standardised(ensemble, z, conditions),
        whiten(data.increment.double().cpu() / scale),
        data.elapsed.double().cpu()[:, None] / scale,
        constant + (of_scatter - offset)[:, None],
        *([] if data.compensated is None else [whiten(data.compensated.double().cpu() / scale)]),
        scatter,
        *([data.patches.cpu()[:, None]] if isinstance(data.patches, Tensor) else []),
    ]
    rows = torch.cat(columns, dim=1).to(ensemble.z_mean.device, torch.float32)
    return rows, offset


def _whitened_scatter(data: TransitionData, reference: Tensor) -> tuple[Tensor, Tensor]:
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
    scatter = torch.linalg.solve_triangular(reference, scatter, upper=False)
    variance = 2.0 * math.pi * within * data.elapsed.double().cpu()
    constant = 0.5 * d * variance.log() + reference.diagonal().log().sum()
    constant = (patches - 1) * constant + 0.5 * d * of_sum
    return scatter[:, rows, columns], constant
