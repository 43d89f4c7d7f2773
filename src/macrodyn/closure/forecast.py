"""Closure variables by prediction: what of a snapshot tells how its observables go on.

A decoder that rebuilds patches asks for what patches look like. What a macroscopic model needs is
another thing: that the future of the observables depends on the snapshot through z alone. Here the
variables are means over the patches of what an encoder makes of each, and a small network tells
from z the rates of change of the observables over several lags. Encoder and network are trained
together; errors of the rates are all that counts.

The rates are given as what is left of them by a fit to the observables alone, in units of its
spread. So a loss of 1 is that of no closure variable at all, and what is below 1 is gained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from macrodyn.closure.model import PatchAutoencoder
from macrodyn.closure.reconstruction import as_states, check_states
from macrodyn.closure.settings import ClosureSettings
from macrodyn.closure.train import architecture_of
from macrodyn.dynamics.regression import affordable_features, fitted, standardise
from macrodyn.learning.history import History
from macrodyn.learning.holdout import hold_out
from macrodyn.learning.loop import Parameters, Progress, Trainable, train
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.systems.space import StateKind

Floats = NDArray[np.float64]

# Of the fit to the observables alone, and fewest samples for each of its features.
DEGREE = 4
SAMPLES = 20


def left_by(given: Floats, rates: Floats) -> Floats:
    """What a polynomial in the observables leaves of rates, with a standard deviation of 1.

    Args:
        given: Observables and conditions, shape [S, k].
        rates: Shape [S, rate].

    Returns:
        Shape [S, rate]; 0 for a rate that the polynomial tells but for rounding.
    """
    features, _ = affordable_features(standardise(given)[0], DEGREE, SAMPLES)
    residual = rates - fitted(features, rates)
    scale = residual.std(axis=0)
    told = scale <= 1e-9 * np.abs(rates).max(axis=0)
    return np.where(told, 0.0, residual / np.where(told, 1.0, scale))


def train_forecast(
    patches: NDArray,
    given: ArrayLike,
    rates: ArrayLike,
    settings: ClosureSettings,
    *,
    kind: StateKind,
    groups: NDArray[np.int64],
    species: int = 0,
    seed: int = 0,
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
) -> tuple[PatchAutoencoder, History]:
    """Train an encoder whose variables tell rates of change that the observables leave open.

    A training that was interrupted goes on from its checkpoint and, on the CPU, ends with the
    same bits. A checkpoint of other data or settings is not used.

    Args:
        patches: m patches of each of S snapshots, shape [S, m, channel, *patch].
        given: Observables of the snapshots, and conditions, shape [S, k].
        rates: What the observables leave of their rates of change (`left_by`), shape [S, rate].
        settings: How to train; a batch counts snapshots.
        kind: Kind of the states.
        groups: What is held out together, shape [S], int.
        species: Number of species, for `kind="species"`, whose sites hold 0 to species - 1.
        seed: Seed of the weights, the split and the batches.
        device: Where to train.
        checkpoints: Where to keep checkpoints while training; none by default. They stay, for
            whoever saves the model to remove.
        progress: Called after each validation with steps done, steps in all, validation loss.

    Returns:
        The model with the best weights, its closure variables not normalised yet, and the course of
        the training; losses are mean squared errors of the rates.

    Raises:
        ValueError: If shapes or values do not fit, or there is no closure variable to train.
        FloatingPointError: If the loss diverges.
        Interrupted: If the checkpoints say that the training shall stop.
    """
    states = as_states(patches)
    check_states(states.flatten(0, 1), kind, species)
    read, told = (
        torch.as_tensor(np.asarray(values, dtype=np.float32)) for values in (given, rates)
    )
    for name, values in (("given", read), ("rates", told)):
        if values.ndim != 2 or len(values) != len(states):
            raise ValueError(f"{name} must have shape [{len(states)}, k], got {list(values.shape)}")
    if settings.dimension < 1:
        raise ValueError("closure.objective: prediction needs a closure variable: raise dimension")
    architecture = architecture_of(
        states[:, 0], read, settings, kind, species, decoder="rates", told=told.shape[1]
    )
    model = PatchAutoencoder(architecture, seed=seed)
    training, validation = hold_out(np.asarray(groups), settings.validation_fraction, seed=seed)
    model.fit_scalers(states[training].flatten(0, 1), read[training])
    model.to(device)
    problem = _Forecast(
        model, states.to(device), read.to(device), told.to(device), training, validation
    )
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    model.load_state_dict(best, strict=False)
    return model.requires_grad_(False).eval(), history


class _Forecast(Trainable):
    """Squared error of the rates that are told from z, on data that stay on the device."""

    section = "closure"
    # Rates are noisy: an average of the last iterates forgets what single batches say.
    average = 0.99

    def __init__(
        self,
        model: PatchAutoencoder,
        states: Tensor,
        given: Tensor,
        rates: Tensor,
        training: NDArray[np.int64],
        validation: NDArray[np.int64],
    ) -> None:
        self.model, self.states, self.given, self.rates = model, states, given, rates
        self.parameters = dict(model.named_parameters())
        self.told = _Told(model)
        self.training = torch.as_tensor(training, device=states.device)
        self.validation = torch.as_tensor(validation, device=states.device)
        self.samples = len(training)

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean loss of a batch of snapshots, shape [1]; see `Trainable.loss`."""
        rows = self.training if index is None else self.training[index[0]]
        return self._squares(parameters, rows).mean()[None]

    @torch.no_grad()
    def validate(self, parameters: Parameters) -> Tensor:
        """Mean loss of the held-out snapshots, shape [1]."""
        each = max(1, self.model.chunk // self.states.shape[1])
        parts = [self._squares(parameters, rows) for rows in self.validation.split(each)]
        return torch.cat(parts).mean()[None].cpu()

    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """What a checkpoint must share; see `Trainable.identity`."""
        facts = {"kind": self.model.architecture.kind, "species": self.model.architecture.species}
        rows = (self.training.cpu(), self.validation.cpu())
        data = (self.states.cpu(), self.given.cpu(), self.rates.cpu())
        return facts, (*data, *rows)

    def _squares(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """Squared errors, shape [snapshot, rate]."""
        named = {f"model.{name}": value for name, value in parameters.items()}
        read = (self.states[rows], self.given[rows])
        told: Tensor = torch.func.functional_call(self.told, named, read)
        return (told - self.rates[rows]).square()


class _Told(torch.nn.Module):
    """What is told of snapshots, as a call."""

    def __init__(self, model: PatchAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, patches: Tensor, given: Tensor) -> Tensor:
        found: Tensor = self.model.forecast(patches, given)
        return found
