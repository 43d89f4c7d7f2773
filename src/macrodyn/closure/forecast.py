"""Closure variables by prediction: what of a snapshot tells how its observables go on.

A decoder that rebuilds patches asks what patches look like. What a macroscopic model needs is
another thing: that the future of the observables depends on the snapshot through z alone. Here the
variables are means over the patches of what an encoder makes of each, and what counts is how well
a linear map tells from them the observables' rates of change over several lags.

The map is not trained: for each batch it is solved for, so that the encoder alone is. And what the
observables tell is taken out of rates and variables alike. Both matter: a mean of local terms is
for the most part a function of the observables, and what it tells beyond them is a small part of
it, which a gradient would find last. For the same reason more variables are trained than are asked
for; in the end those few combinations of them are kept that tell the rates best.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from macrodyn.closure.model import PatchAutoencoder
from macrodyn.closure.reconstruction import as_states, check_states
from macrodyn.closure.settings import ClosureSettings
from macrodyn.closure.snapshots import with_rim
from macrodyn.closure.train import architecture_of
from macrodyn.dynamics.regression import affordable_features, fitted, standardise
from macrodyn.lattice import Shape
from macrodyn.learning.history import History
from macrodyn.learning.holdout import hold_out
from macrodyn.learning.loop import Parameters, Progress, Trainable, train
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.systems.space import StateKind

Floats = NDArray[np.float64]

# Of what the observables tell, and fewest samples for each of its features.
DEGREE = 4
SAMPLES = 20
# Penalty of the map, relative to the mean square of what it reads.
RIDGE = 1e-3
# Variables that are trained, and fewest snapshots of a batch for each.
WIDE, EACH = 16, 8
# Sites that are encoded at once: a bound on memory.
_SITES = 2**19
# Most training snapshots that the map is solved for when it is validated.
SOLVED = 4096


def left_by(given: Floats, rates: Floats) -> Floats:
    """What a polynomial in the observables leaves of rates, with a standard deviation of 1.

    Args:
        given: Observables and conditions, shape [S, k].
        rates: Shape [S, rate].

    Returns:
        Shape [S, rate]; 0 for a rate that the polynomial tells but for rounding.
    """
    residual = rates - fitted(_polynomial(given), rates)
    scale = residual.std(axis=0)
    told = scale <= 1e-9 * np.abs(rates).max(axis=0)
    return np.where(told, 0.0, residual / np.where(told, 1.0, scale))


def _polynomial(given: Floats) -> Floats:
    """Features of what the observables tell, of the highest degree that the samples allow."""
    return affordable_features(standardise(given)[0], DEGREE, SAMPLES)[0]


def train_forecast(
    patches: NDArray,
    given: ArrayLike,
    rates: ArrayLike,
    settings: ClosureSettings,
    *,
    kind: StateKind,
    groups: NDArray[np.int64],
    patch: Shape | None = None,
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
        patch: Sides of the model's patches, where what is given are whole states instead, m = 1,
            of a lattice that closes on itself, and the encoder is `pooled`: its terms are local,
            and those between patches count as well.
        species: Number of species, for `kind="species"`, whose sites hold 0 to species - 1.
        seed: Seed of the weights, the split and the batches.
        device: Where to train.
        checkpoints: Where to keep checkpoints while training; none by default. They stay, for
            whoever saves the model to remove.
        progress: Called after each validation with steps done, steps in all, validation loss.

    Returns:
        The model with the best weights, its closure variables not normalised yet, and the course of
        the training; losses are mean squared errors of the rates, 1 for no closure variable.

    Raises:
        ValueError: If shapes or values do not fit, or the rates do not tell so many variables.
        FloatingPointError: If the loss diverges.
        Interrupted: If the checkpoints say that the training shall stop.

    Source: variable projection, Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973); networks
    scored by what a linear map tells from them, Mardt et al., Nat. Commun. 9, 5 (2018).
    """
    states = as_states(patches)
    check_states(states.flatten(0, 1), kind, species)
    read, told = (np.asarray(values, dtype=np.float64) for values in (given, rates))
    for name, values in (("given", read), ("rates", told)):
        if values.ndim != 2 or len(values) != len(states):
            raise ValueError(f"{name} must have shape [{len(states)}, k], got {list(values.shape)}")
    if not 1 <= settings.dimension <= told.shape[1]:
        raise ValueError(
            f"closure.dimension is {settings.dimension}, and {told.shape[1]} rates tell 1 to "
            f"{told.shape[1]} variables"
        )
    training, validation = hold_out(np.asarray(groups), settings.validation_fraction, seed=seed)
    batch = min(settings.batch, len(training))
    architecture = architecture_of(
        states[:, 0],
        torch.as_tensor(read),
        settings,
        kind,
        species,
        patch=tuple(states.shape[3:] if patch is None else patch),
        decoder="none",
    )
    wide = replace(architecture, closure_dim=max(settings.dimension, min(WIDE, batch // EACH)))
    model = PatchAutoencoder(wide, seed=seed)
    if patch is not None:
        assert model.reach is not None
        states = as_states(with_rim(states[:, 0].numpy(), model.reach))[:, None]
    model.fit_scalers(states[training].flatten(0, 1), torch.as_tensor(read[training]))
    model.to(device)
    problem = _Forecast(model, states.to(device), read, told, training, validation)
    best, history = train(problem, settings, seed=seed, checkpoints=checkpoints, progress=progress)
    found = PatchAutoencoder(architecture, seed=seed).to(device)
    _narrow(found, model, best, problem.combinations(best, settings.dimension))
    return found.requires_grad_(False).eval(), history


def _narrow(
    model: PatchAutoencoder, wide: PatchAutoencoder, weights: Parameters, combinations: Tensor
) -> None:
    """Give a model those combinations [trained, kept] of the variables that were trained."""
    state = {**wide.state_dict(), **weights}
    last = f"encoder.{len(wide.encoder) - 1}"
    chosen = combinations.T.to(state[f"{last}.weight"].dtype)
    state[f"{last}.weight"] = chosen @ state[f"{last}.weight"]
    state[f"{last}.bias"] = chosen @ state[f"{last}.bias"]
    for name in ("closure_shift", "closure_scale"):
        state[name] = model.state_dict()[name]
    model.load_state_dict(state)


class _Forecast(Trainable):
    """Squared error of the rates that are told from z, on data that stay on the device."""

    section = "closure"
    # Rates are noisy: an average of the last iterates forgets what single batches say.
    average = 0.99

    def __init__(
        self,
        model: PatchAutoencoder,
        states: Tensor,
        given: Floats,
        rates: Floats,
        training: NDArray[np.int64],
        validation: NDArray[np.int64],
    ) -> None:
        device = states.device
        self.model, self.states = model, states
        self.parameters = dict(model.named_parameters())
        self.means = _Means(model)
        self.features, self.rates = (
            torch.as_tensor(values, device=device) for values in (_polynomial(given), rates)
        )
        self.training = torch.as_tensor(training, device=device)
        self.validation = torch.as_tensor(validation, device=device)
        some = np.unique(np.linspace(0, len(training) - 1, SOLVED).astype(int))
        self.solved = self.training[torch.as_tensor(some, device=device)]
        self.samples = len(training)

    def loss(self, parameters: Parameters, index: Tensor | None) -> Tensor:
        """Mean loss of a batch of snapshots, shape [1]; see `Trainable.loss`."""
        rows = self.training if index is None else self.training[index[0]]
        left, _ = self._left(parameters, rows)
        rates = self.rates[rows]
        return (rates - left @ _solved(left, rates, RIDGE)).square().mean()[None]

    @torch.no_grad()
    def validate(self, parameters: Parameters) -> Tensor:
        """Mean loss of the held-out snapshots, by maps of the training ones, shape [1]."""
        _, of_observables, told = self._maps(parameters)
        held = self._closure(parameters, self.validation)
        held = held - self.features[self.validation] @ of_observables
        return (self.rates[self.validation] - held @ told).square().mean()[None].cpu()

    @torch.no_grad()
    def combinations(self, parameters: Parameters, number: int) -> Tensor:
        """Combinations of the variables that tell most of the rates, [trained, number].

        Source: reduced-rank regression, Izenman, J. Multivar. Anal. 5, 248 (1975).
        """
        left, _, told = self._maps(parameters)
        axes = torch.linalg.svd(left @ told, full_matrices=False)[2]
        return told @ axes[:number].T

    def identity(self) -> tuple[dict[str, Any], tuple[Tensor, ...]]:
        """What a checkpoint must share; see `Trainable.identity`."""
        facts = {"kind": self.model.architecture.kind, "species": self.model.architecture.species}
        rows = (self.training.cpu(), self.validation.cpu())
        data = (self.states.cpu(), self.features.cpu(), self.rates.cpu())
        return facts, (*data, *rows)

    def _maps(self, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor]:
        """Of training snapshots what `_left` gives, and the map from what is left to the rates."""
        left, of_observables = self._left(parameters, self.solved)
        return left, of_observables, _solved(left, self.rates[self.solved], RIDGE)

    def _left(self, parameters: Parameters, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What the observables leave of the variables, and what they tell of them."""
        closure, features = self._closure(parameters, rows), self.features[rows]
        told = _solved(features, closure, 0.0)
        return closure - features @ told, told

    def _closure(self, parameters: Parameters, rows: Tensor) -> Tensor:
        """The variables of some snapshots, float64, [snapshot, trained]."""
        named = {f"model.{name}": value for name, value in parameters.items()}
        each = max(1, _SITES // prod(self.states.shape[1:]))
        parts = [
            torch.func.functional_call(self.means, named, (self.states[some],))
            for some in rows.split(each)
        ]
        return torch.cat(parts).double()


class _Means(torch.nn.Module):
    """Closure variables of snapshots, as a call."""

    def __init__(self, model: PatchAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, patches: Tensor) -> Tensor:
        return self.model.encode_means(patches)


def _solved(design: Tensor, values: Tensor, ridge: float) -> Tensor:
    """Coefficients of a ridge regression, whatever the columns' units, [column, value]."""
    size = design.detach().square().mean(dim=0).sqrt().clamp(min=1e-30)
    scaled = design / size
    gram = scaled.T @ scaled / len(design)
    penalty = (ridge + 1e-9) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + penalty, scaled.T @ values / len(design)) / size[:, None]
