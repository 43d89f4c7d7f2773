"""Training an ensemble dz/dt = g(z) on what partial forces say of g."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from macrodyn.config.section import LearningRate, NotNegativeFloat, PositiveInt
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.force_forms import ForceProducts, Loss, QuadraticForm
from macrodyn.dynamics.force_output import solve_output
from macrodyn.dynamics.latent import NETWORKS
from macrodyn.dynamics.scalers import Scalers, standardised
from macrodyn.learning.history import History
from macrodyn.learning.holdout import hold_out
from macrodyn.learning.loop import Parameters, Progress, Trainable, train
from macrodyn.learning.settings import TrainingSettings
from macrodyn.storage.checkpoints import Checkpoints

_log = logging.getLogger("macrodyn")

Array = NDArray[np.float64]
# Default widths of the latent models.
WIDTHS = {"mlp": (256, 256), "onsagernet": (64, 64, 64), "gfinn": (64, 64)}
# Closure variables share one unit (`fit_units`): over less than it a network is smooth.
_THINNEST = 1.0


class ForceFitSettings(TrainingSettings):
    """The latent model dz/dt = g(z), the loss, and the training."""

    model: Literal["mlp", "onsagernet", "gfinn"] = Field(
        default="mlp",
        description="mlp: any drift. onsagernet: one that lowers a potential. gfinn: one that "
        "keeps an energy and never lowers an entropy.",
    )
    loss: Loss = Field(
        default="microscopic",
        description="microscopic: L_x, compares forces on the coordinates that were drawn. latent: "
        "L_z, compares dz/dt, estimated from these. controlled: as latent, with the model's own "
        "forces as a control variate of the estimate.",
    )
    known: bool = Field(
        default=True,
        description="Whether rates of change that stand in the state, such as velocities, are "
        "compared as well.",
    )
    members: PositiveInt = Field(default=10, description="Ensemble size: one seed each.")
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Widths of the hidden layers; if left out 256, 256 of an mlp, 64, 64, 64 of an "
        "onsagernet, 64, 64 of a gfinn.",
    )
    activation: Literal["silu", "tanh"] = "silu"
    steps: PositiveInt = Field(default=4000, description="Most steps of the optimiser.")
    batch: PositiveInt = Field(default=256, description="Configurations per step.")
    learning_rate: LearningRate = 2e-3
    weight_decay: NotNegativeFloat = 0.0
    output_layer: bool = Field(
        default=True,
        description="Whether the output layer of an mlp is solved for in the end by ridge "
        "regression, of the strength that held-out runs like best, if they gain by it.",
    )
    patience: PositiveInt = Field(
        default=20,
        description="Validations without improvement before training stops, those of the first "
        "half, whose learning rate stays, not counted.",
    )
    validation_every: PositiveInt = 100


def fit_forces(
    z: Array,
    products: ForceProducts,
    settings: ForceFitSettings,
    *,
    observables: int,
    groups: NDArray[np.int64],
    seed: int = 0,
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[Ensemble, History]:
    """Train all members at once on data that stay on the device.

    Nothing is read but the products: units of the drift, too, come from the forces that were drawn.

    Args:
        z: Macroscopic states of n configurations, the observables first, shape [n, d].
        products: What the forces say there.
        settings: How to train.
        observables: How many of the variables are observables.
        groups: Run of each configuration, shape [n]: whole runs are held out.
        seed: Seed of initial parameters, the split and minibatches.
        device: Where to train.
        checkpoints: Where to keep checkpoints while training, see `learning.loop.train`.
        progress: Called after each validation.

    Returns:
        The ensemble, each member at its best validated parameters, on the CPU, and the history.

    Raises:
        ValueError: If the model is not one of so many variables.
        FloatingPointError: If a loss is not finite.
        Interrupted: If the checkpoints say that the training shall stop.

    Source: eqs. (7) and (10) of arXiv:2410.23938.
    """
    units = fit_units(z, products, observables, known=settings.known)
    ensemble = Ensemble(
        NETWORKS[settings.model],
        variables=z.shape[1],
        members=settings.members,
        options={
            "hidden": list(settings.hidden or WIDTHS[settings.model]),
            "activation": settings.activation,
            "covariance": "none",
        },
        scalers=units,
        seed=seed,
    )
    ensemble.domain = Domain(low=tuple(z.min(0).tolist()), high=tuple(z.max(0).tolist()))
    ensemble.to(device)
    split = hold_out(groups, settings.validation_fraction, seed=seed)
    problem = _ForceFit(ensemble, z, products, settings, split)
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    with torch.no_grad():
        for name, value in ensemble.parameters_by_name().items():
            value.copy_(best[name])
    ensemble.requires_grad_(False).cpu().eval()
    if settings.output_layer and ensemble.template.linear_output:
        ridge = solve_output(ensemble, z, problem.form, split, groups)
        said = "as it was trained" if ridge is None else f"solved for with ridge {ridge:g}"
        _log.info("the output layer: %s", said)
    if not ensemble.template.continues:
        # A tenth of the shortest time scale: a Runge-Kutta step is no longer than that.
        fastest = float((units.drift_scale / units.z_scale).max())
        states = torch.as_tensor(z, dtype=torch.float32)
        ensemble.continue_outside(
            states, states[:, :0], units, step=0.1 / fastest, thinnest=_THINNEST
        )
    return ensemble, history


def fit_units(z: Array, products: ForceProducts, observables: int, *, known: bool) -> Scalers:
    """Units in which states and their rates of change are of order one.

    Observables have each their own standard deviation. Closure variables share one, the root of
    their mean variance: their noise is alike, and what varies little must not be blown up. The unit
    of a rate is half the central 68 % of the rates that the forces at hand suggest; none is
    shifted, as a shift would break what a model obeys by construction.

    Args:
        z: States, shape [n, d].
        products: What the forces say there.
        observables: How many of the variables are observables.
        known: Whether known rates are used.

    Raises:
        ValueError: If a variable is constant.
    """
    scale = z.std(axis=0)
    if not (scale > 0).all():
        names = np.flatnonzero(~(scale > 0)).tolist()
        raise ValueError(f"Variables {names} have the same value everywhere: simulate more runs")
    scale[observables:] = np.sqrt(np.square(scale[observables:]).mean())
    suggested = products.microscopic(known=known).minimisers()
    low, high = np.quantile(suggested, [0.16, 0.84], axis=0)
    middle = np.median(np.abs(suggested), axis=0)
    # A rate that hardly varies still has a size.
    rate = np.maximum((high - low) / 2, middle)
    rate = np.maximum(rate, 1e-3 * (rate / scale).max() * scale)
    identity = Scalers.identity(z.shape[1], 0)
    return replace(
        identity,
        z_mean=torch.from_numpy(z.mean(axis=0)),
        z_scale=torch.from_numpy(scale),
        drift_scale=torch.from_numpy(rate),
    )


class _ForceFit(Trainable):
    """The mean of a quadratic form of each member's drift.

    Attributes:
        form: The forms of all configurations, in the members' units.
    """

    section = "dynamics"
    schedule = "plateau"
    waits_from = 0.5
    average = 0.995

    def __init__(
        self,
        ensemble: Ensemble,
        z: Array,
        products: ForceProducts,
        settings: ForceFitSettings,
        split: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> None:
        self.ensemble, self.settings = ensemble, settings
        self.members, self.weight_decay = ensemble.members, settings.weight_decay
        self.parameters = {n: p.detach() for n, p in ensemble.parameters_by_name().items()}
        device = ensemble.z_mean.device
        training, validation = split
        self.samples = len(training)
        scale = ensemble.drift_scale.double().cpu().numpy()
        if settings.loss == "latent":
            form = products.latent()
        else:
            form = products.microscopic(known=settings.known)
        self.form = form.scaled(scale)
        # In units of the loss of a drift of size one.
        unit = float(np.trace(self.form.matrix, axis1=1, axis2=2).mean()) / len(scale)
        states = torch.as_tensor(z, dtype=torch.float64)
        none = states[:, :0]
        inputs = standardised(ensemble.cpu(), states, none)
        ensemble.to(device)
        self.inputs = inputs[training].float().to(device)
        self.held_out = inputs[validation].float().to(device)
        self.train_form = _Tensors.of(self.form, training, unit, torch.float32, device)
        self.held_out_form = _Tensors.of(self.form, validation, unit, torch.float64, device)
        self.control: tuple[Tensor, Tensor] | None = None
        if settings.loss == "controlled":
            matrix, target = products[training].controlled()
            # Of rates in units of the drift, on both sides.
            matrix, target = matrix * scale / scale[:, None], target / scale
            self.control = (
                torch.as_tensor(matrix, dtype=torch.float32, device=device),
                torch.as_tensor(target, dtype=torch.float32, device=device),
            )

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean loss of a batch, shape [M]; see `Trainable.loss`."""
        rows = slice(None) if index is None else index
        inputs = self.inputs[rows]
        drift = self.ensemble.evaluate(parameters, inputs.expand(self.members, -1, -1))[0]
        if self.control is None:
            return self.train_form.values(drift, rows).mean(-1)
        matrix, target = (value[rows] for value in self.control)
        held = drift.detach()
        target = held + target - torch.einsum("...ij,...j->...i", matrix, held)
        return (drift - target).square().mean(-1).mean(-1)

    def validate(self, parameters: Parameters) -> Tensor:
        """Mean loss of the held-out runs, shape [M], of the forces themselves if controlled."""
        inputs = self.held_out.expand(self.members, -1, -1)
        drift = self.ensemble.evaluate(parameters, inputs)[0].double()
        return self.held_out_form.values(drift, slice(None)).mean(-1)

    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """What a checkpoint must share; see `Trainable.identity`."""
        facts = {"kind": self.ensemble.kind, "options": self.ensemble.options}
        forms = (self.train_form, self.held_out_form)
        data = [value.cpu() for form in forms for value in (form.matrix, form.vector)]
        return facts, (self.inputs.cpu(), self.held_out.cpu(), *data)

    def decays(self, name: str) -> bool:
        """Whether a parameter decays: the latent model says."""
        return self.ensemble.template.decays(name)

    def clip(self, name: str) -> tuple[str, float]:
        """Clip each network on its own."""
        return self.ensemble.template.network(name), 1.0


class _Tensors:
    """A quadratic form on the device."""

    def __init__(self, matrix: Tensor, vector: Tensor, constant: Tensor) -> None:
        self.matrix, self.vector, self.constant = matrix, vector, constant

    @classmethod
    def of(
        cls,
        form: QuadraticForm,
        rows: NDArray[np.int64],
        unit: float,
        dtype: torch.dtype,
        device: torch.device,
    ) -> _Tensors:
        parts = (form.matrix[rows], form.vector[rows], form.constant[rows])
        return cls(*(torch.as_tensor(p / unit, dtype=dtype, device=device) for p in parts))

    def values(self, drift: Tensor, rows: slice | Tensor) -> Tensor:
        """The form of each member's drift, [M, batch, d] to [M, batch]."""
        bent = (self.matrix[rows] @ drift.unsqueeze(-1)).squeeze(-1)
        return self.constant[rows] + (drift * (bent - 2.0 * self.vector[rows])).sum(-1)
