"""A trained model: drift, noise and encoder of one system, and what follows from them at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from macrodyn.closure.feature_values import Features
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.closure.snapshots import encode_states
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.dynamics.trajectories import integrate
from macrodyn.evaluation.conformal import Calibration
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.systems import PatchSystem

Floats = NDArray[np.float64]


class ModelError(ValueError):
    """There is no such model, or it cannot be asked that; the message says what to do."""


def as_states(z: ArrayLike, variables: Sequence[str]) -> tuple[torch.Tensor, tuple[int, ...]]:
    """States z [..., d] of some variables as a tensor [batch, d], and their shape.

    Raises:
        ModelError: If they have another number of variables.
    """
    array = np.asarray(z, np.float64)
    d = len(variables)
    if array.ndim < 1 or array.shape[-1] != d:
        raise ModelError(f"z is [..., {d}], of {', '.join(variables)}, not {array.shape}")
    return torch.as_tensor(array.reshape(-1, d), dtype=torch.float32), array.shape


@dataclass(frozen=True, kw_only=True)
class ModelCore:
    """Drift mu and noise L of dz = mu(z) dt + L(z) dB, with what makes z of states.

    z holds the observables first, then the closure variables. Members of the ensemble differ in
    their training; the mean model has the mean drift and the mean covariance of those that are
    kept, which are all but those whose drift leaves the others.

    Attributes:
        ensemble: Drift and noise of the members.
        closure: Encoder of patches, for closure variables that were learned.
        system: The microscopic system: names, bounds, initial states.
        large: Sites along each axis of the system whose noise is that of the ensemble.
        patch: Sites along each axis of a patch.
        features: Closure variables that were known beforehand, by their names.
        conditions: Names of the conditions that are inputs of the model.
        origin: Where it comes from: ``study``, ``run`` and what else is told.
        files: Files that it was read from, by their place in a folder of its own.
        calibrations: How wide bands must be, by comparison with each reference.
    """

    ensemble: Ensemble
    closure: PatchAutoencoder
    system: PatchSystem
    large: tuple[int, ...]
    patch: tuple[int, ...]
    features: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    calibrations: tuple[Calibration, ...] = ()

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of z, first observables, then features, then variables of the autoencoder."""
        hidden = range(self.closure.architecture.closure_dim)
        names = [*self.system.observable_names, *self._features.variables]
        return (*names, *(f"closure_{i}" for i in hidden))

    @property
    def step(self) -> float:
        """The dt that it was learned from, by which it is stepped."""
        return float(self.ensemble.metadata["dt"])

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Members that the mean model counts."""
        left = self.ensemble.metadata.get("members", {}).get("outliers", [])
        return tuple(m for m in range(self.ensemble.members) if m not in left)

    @cached_property
    def _features(self) -> Features:
        return Features(self.system, self.features, self.patch)

    @cached_property
    def with_mean(self) -> WithMean:
        """The members, and after them the mean model."""
        return WithMean(self.ensemble, self.kept)

    def at(self, conditions: Mapping[str, float] | None) -> Self:
        """The same model with its system under these conditions, as rates depend on them.

        Raises:
            ModelError: If one is unknown, or the system does not take it.
        """
        values = dict(zip(self.conditions, self.condition_values(conditions), strict=True))
        if not conditions:
            return self
        try:
            return replace(self, system=self.system.with_parameters(**values))
        except ValueError as error:
            raise ModelError(f"the system does not take {values}: {error}") from None

    def drift(self, z: ArrayLike, conditions: Mapping[str, float] | None = None) -> Floats:
        """Drift mu(z) of the mean model per unit time.

        Args:
            z: States, shape [..., d].
            conditions: Value of each condition; the system's own where left out.

        Returns:
            Shape [..., d].
        """
        flat, shape = self.states(z)
        with torch.no_grad():
            found = self.ensemble.drift(flat, self.condition_row(conditions))
        return found[list(self.kept)].mean(0).double().numpy().reshape(shape)

    def covariance(
        self,
        z: ArrayLike,
        conditions: Mapping[str, float] | None = None,
        *,
        size: Sequence[int] | None = None,
    ) -> Floats:
        """Covariance rate Sigma(z) of the mean model.

        Args:
            z: States, shape [..., d].
            conditions: Value of each condition; the system's own where left out.
            size: Sites along each axis, as Sigma goes as 1/n; those that it was trained for if left
                out.

        Returns:
            Per unit time, shape [..., d, d].
        """
        flat, shape = self.states(z)
        with torch.no_grad():
            found = self.ensemble.covariance(flat, self.condition_row(conditions))
        mean = found[list(self.kept)].mean(0).double().numpy() * self.noise_scale(size) ** 2
        return mean.reshape(*shape, shape[-1])

    def encode(self, states: NDArray) -> Floats:
        """Macroscopic states z of microscopic ones, under the system's own conditions.

        Args:
            states: Shape [batch, channel, *lattice].

        Returns:
            Shape [batch, d].

        Raises:
            ModelError: If they are no states of the system.
        """
        states = np.asarray(states)
        if states.ndim != 2 + self.system.dimension or states.shape[1] != self.system.channels:
            lattice = " x ".join(["side"] * self.system.dimension)
            raise ModelError(
                f"states are [batch, {self.system.channels}, {lattice}], these {states.shape}"
            )
        states = states.astype(self.system.dtype, copy=False)
        zhat = encode_states(self.closure, states, periodic=self.system.periodic)
        known = (self.system.observe(states), self._features.values(states))
        return np.concatenate([*known, zhat], axis=1)

    def integrate(
        self,
        z0: ArrayLike,
        times: Sequence[float] | Floats,
        *,
        step: float | None = None,
        noise: float = 1.0,
        seed: int = 0,
        conditions: Mapping[str, float] | None = None,
        device: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> NDArray[np.float32]:
        """Trajectories of the members and of the mean model; `predict` is what users want.

        Variables stay within their bounds, and open ones near the range of the training data.

        Args:
            z0: Initial states, shape [R, d].
            times: When is recorded; z0 is that of the first.
            step: Longest step; the dt that was learned from if left out.
            noise: Scale of the noise.
            seed: Seed of the noise.
            conditions: Value of each condition; the system's own where left out.
            device: Where to integrate.
            progress: See `dynamics.integrate`.
            checkpoints: See `dynamics.integrate`.

        Returns:
            Shape [member + 1, R, time, d], the mean model last; nan where one diverged.
        """
        found: NDArray[np.float32] = integrate(
            self.with_mean,
            torch.as_tensor(np.asarray(z0), dtype=torch.float32),
            np.array(times, dtype=np.float64),
            step=self.step if step is None else step,
            bounds=self.bounds(z0),
            noise=noise,
            seed=seed,
            conditions=self.condition_row(conditions),
            device=device,
            on_divergence="nan",
            progress=progress,
            checkpoints=checkpoints,
        ).numpy()
        return found

    def bounds(self, z0: ArrayLike) -> list[tuple[float, float]]:
        """Bounds of each variable in a prediction from these states, see `Domain.limits`."""
        return self.ensemble.domain.limits(self.known_bounds, z0)

    @property
    def known_bounds(self) -> list[tuple[float, float]]:
        """Bounds of each variable, infinite where there are none."""
        open_sides = [(-math.inf, math.inf)] * self.closure.architecture.closure_dim
        return [*self.system.bounds, *self._features.bounds, *open_sides]

    def noise_scale(self, size: Sequence[int] | None = None) -> float:
        """By how much the noise of a system of this size is larger than that trained for."""
        if size is None:
            return 1.0
        if len(size) != self.system.dimension or min(size) < 1:
            raise ModelError(
                f"size {tuple(size)} is no lattice of {self.system.dimension} dimension(s)"
            )
        return self.ensemble.noise_scale(math.prod(size))

    def states(self, z: ArrayLike) -> tuple[torch.Tensor, tuple[int, ...]]:
        """States z [..., d] as a tensor [batch, d], and their shape."""
        return as_states(z, self.variables)

    def condition_values(self, given: Mapping[str, float] | None) -> list[float]:
        """The value of each condition, in the model's order; the system's own where left out."""
        given = dict(given or {})
        if unknown := sorted(given.keys() - set(self.conditions)):
            known = ", ".join(self.conditions) or "there are none"
            raise ModelError(f"{', '.join(unknown)}: no condition of this model ({known})")
        own = self.system.parameters
        return [float(given.get(name, getattr(own, name))) for name in self.conditions]

    def condition_row(self, given: Mapping[str, float] | None) -> torch.Tensor | None:
        """The same as a tensor [1, c]; None if the model has no conditions."""
        values = self.condition_values(given)
        return torch.tensor([values]) if values else None
