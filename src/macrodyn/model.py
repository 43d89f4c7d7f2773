"""A trained model as users have it: asked for states, times, sizes and conditions of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from macrodyn.closure.feature_values import Features
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.closure.snapshots import encode_states
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.dynamics.trajectories import integrate
from macrodyn.paths import StrPath
from macrodyn.sampling.groups import initial_values
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.streams import seeds, torch_seed
from macrodyn.systems import PatchSystem

if TYPE_CHECKING:
    from macrodyn.model_plots import Plots

Floats = NDArray[np.float64]
Initial = Mapping[str, Any] | ArrayLike
"""A macrostate by its components' names, states, or z: see `MacroModel.predict`."""

# Large initial states that are made at once: a bound on memory.
_CHUNK = 1024


class ModelError(ValueError):
    """There is no such model, or it cannot be asked that; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class MacroModel:
    """A trained model of the macroscopic dynamics, dz = mu(z) dt + L(z) dB.

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

    # -- What it is ------------------------------------------------------------------------------

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

    # -- Asking it -------------------------------------------------------------------------------

    def at(self, conditions: Mapping[str, float] | None) -> MacroModel:
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
        flat, shape = self._states(z)
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
        flat, shape = self._states(z)
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

    def sample_initial(
        self,
        macrostate: Mapping[str, Any] | Sequence[float],
        replicas: int = 1,
        *,
        size: Sequence[int] | None = None,
        conditions: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> Floats:
        """Draw microscopic states of initial macrostates, and encode them.

        Args:
            macrostate: A value, or several, of each component of the system's initial macrostates:
                every combination is drawn. A list of numbers where there is one component.
            replicas: States of each.
            size: Sites along each axis; those that it was trained for if left out.
            conditions: Value of each condition; the system's own where left out.
            seed: Seed of the states.

        Returns:
            z, shape [initial * replicas, d], the replicas of one macrostate side by side.
        """
        initial = self._macrostates(macrostate).repeat(replicas, axis=0)
        keys = seeds(seed, "predict-initial", index=len(initial))
        lattice = self.large if size is None else tuple(size)
        there, parts = self.at(conditions), []
        for begin in range(0, len(initial), _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            states = there.system.initial_states(initial[rows], lattice, keys[rows])
            parts.append(there.encode(states))
        return np.concatenate(parts)

    def predict(
        self,
        initial: Initial,
        times: ArrayLike,
        *,
        replicas: int = 100,
        conditions: Mapping[str, float] | None = None,
        size: Sequence[int] | None = None,
        seed: int = 0,
    ) -> xr.Dataset:
        """Predict trajectories.

        Args:
            initial: A macrostate, as `sample_initial` takes it; microscopic states, shape
                [initial, channel, *lattice]; or z, shape [d] or [initial, d].
            times: When is recorded, increasing, 0 or later; the initial states are those of time 0.
            replicas: Trajectories from each initial state.
            conditions: Value of each condition; the system's own where left out.
            size: Sites along each axis: the noise goes as one over the root of their number.
            seed: Seed of initial states and noise.

        Returns:
            ``z`` [member, initial, replica, time, variable] of the members; ``z_mean_model``
            [initial, replica, time, variable]; as attributes ``outside``, the share of the
            predicted points, and ``initial_outside``, of the initial states, that lie outside of
            what the model was trained on: there it guesses. ``conditions_outside`` names
            conditions beyond the sampled ones.

        Raises:
            ModelError: If an initial state, a condition or a size is none of this model's.
        """
        z0 = self.initial(initial, replicas, size=size, conditions=conditions, seed=seed)
        times = np.asarray(times, np.float64).reshape(-1)
        if not len(times) or (np.diff(times) <= 0).any() or times[0] < 0:
            raise ModelError("times must grow from entry to entry, and begin at 0 or later")
        recorded = times if times[0] == 0 else np.concatenate([[0.0], times])
        given = self.condition_values(conditions)
        records = self.integrate(
            z0,
            recorded,
            noise=self.noise_scale(size),
            seed=torch_seed(seed, "predict"),
            conditions=conditions,
        )[:, :, len(recorded) - len(times) :]
        shape = (-1, len(z0) // replicas, replicas, len(times), len(self.variables))
        z, mean = records[:-1].reshape(shape), records[-1].reshape(shape[1:])
        domain = self.ensemble.domain
        outside = domain.conditions_outside(self.conditions, given)
        return xr.Dataset(
            {
                "z": (
                    ("member", "initial", "replica", "time", "variable"),
                    z,
                    {"long_name": "predicted macroscopic state", "units": "1"},
                ),
                "z_mean_model": (
                    ("initial", "replica", "time", "variable"),
                    mean,
                    {"long_name": "the same of the mean model", "units": "1"},
                ),
            },
            coords={
                "time": ("time", times, {"units": self.system.time_unit}),
                "variable": list(self.variables),
            },
            attrs={
                "outside": float(domain.outside(z).any(axis=-1).mean()),
                "initial_outside": float(domain.outside(z0).any(axis=-1).mean()),
                "conditions_outside": ", ".join(outside),
                **{f"condition_{n}": v for n, v in zip(self.conditions, given, strict=True)},
            },
        )

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
        open_sides = [(-math.inf, math.inf)] * self.closure.architecture.closure_dim
        known = [*self.system.bounds, *self._features.bounds, *open_sides]
        return self.ensemble.domain.limits(known, z0)

    def noise_scale(self, size: Sequence[int] | None = None) -> float:
        """By how much the noise of a system of this size is larger than that trained for."""
        if size is None:
            return 1.0
        if len(size) != self.system.dimension or min(size) < 1:
            raise ModelError(
                f"size {tuple(size)} is no lattice of {self.system.dimension} dimension(s)"
            )
        return self.ensemble.noise_scale(math.prod(size))

    def stationary(
        self,
        conditions: Mapping[str, float] | None = None,
        *,
        size: Sequence[int] | None = None,
        points: int = 401,
        replicas: int = 100,
        settle: float | None = None,
        until: float | None = None,
        seed: int = 0,
    ) -> xr.Dataset:
        """Stationary density of each variable, and its moments.

        Of one variable by quadrature. Of several by trajectories that begin all over the range of
        the training data: what has not settled by then, as where two states part, is not told.

        Args:
            conditions: Value of each condition; the system's own where left out.
            size: Sites along each axis; those that it was trained for if left out.
            points: Values of each variable at which the density is given.
            replicas: Trajectories of each member, of several variables.
            settle: Time that is left out; half of ``until`` if left out.
            until: Length of the trajectories; 2,000 steps if left out.
            seed: Seed of the trajectories.

        Returns:
            ``density`` [variable, point] at ``value``, of the mean model, and
            ``density_error``, the standard deviation over the members that it counts;
            ``mean`` and ``std`` [variable] with ``mean_error`` and ``std_error``, of members and
            sampling together; ``settled`` [variable], whether the two halves of what is counted
            agree in mean and variance within four standard errors.
        """
        from macrodyn.model_long_times import stationary

        return stationary(
            self, conditions, size=size, points=points, replicas=replicas, settle=settle,
            until=until, seed=seed,
        )  # fmt: skip

    def potential(
        self,
        conditions: Mapping[str, float] | None = None,
        *,
        size: Sequence[int] | None = None,
        points: int = 401,
    ) -> xr.DataArray:
        """Minus the logarithm of the stationary density of a model of one variable.

        Args:
            conditions: Value of each condition; the system's own where left out.
            size: Sites along each axis; those that it was trained for if left out.
            points: Values at which it is given.

        Returns:
            Zero at its least, shape [point], with ``value`` as its coordinate.

        Raises:
            ModelError: If z has several variables: their drift is no gradient in general.
        """
        from macrodyn.model_long_times import potential

        return potential(self, conditions, size=size, points=points)

    def first_passage(
        self,
        region: Mapping[str, tuple[float, float]],
        initial: Initial,
        until: float,
        *,
        replicas: int = 200,
        conditions: Mapping[str, float] | None = None,
        size: Sequence[int] | None = None,
        step: float | None = None,
        seed: int = 0,
    ) -> xr.Dataset:
        """Times at which trajectories first lie in a region.

        Args:
            region: Low and high of one variable, or of several: a box. Infinity leaves a side open.
            initial: As of `predict`.
            until: Time after which trajectories are given up.
            replicas: Trajectories of each member from each initial state.
            conditions: Value of each condition; the system's own where left out.
            size: Sites along each axis; those that it was trained for if left out.
            step: Step of the integration; the dt that was learned from if left out.
            seed: Seed of initial states and noise.

        Returns:
            ``time`` [model, initial, replica], the members and last the mean model, NaN where a
            trajectory did not arrive; ``reached`` [model, initial], the share that did; ``mean``
            and ``standard_error`` [model, initial], NaN unless all did. Of one variable and one
            edge, ``mean_by_quadrature`` [model, initial] too, which knows no ``until``.

        Raises:
            ModelError: If the region names no variable, or is empty.
        """
        from macrodyn.model_long_times import first_passage

        return first_passage(
            self, region, initial, until, replicas=replicas, conditions=conditions, size=size,
            step=step, seed=seed,
        )  # fmt: skip

    def to_torch(self) -> torch.nn.Module:
        """The mean model as a module: (z [batch, d], conditions) to drift and factor L."""
        return _MeanModel(self.with_mean)

    @property
    def plot(self) -> Plots:
        """Its figures, ``trajectories``, ``phase_portrait`` and ``stationary``."""
        from macrodyn.model_plots import Plots

        return Plots(self)

    # -- Keeping it ------------------------------------------------------------------------------

    def save(self, folder: StrPath) -> Path:
        """Write the model to a folder of its own, which can be copied and read anywhere.

        Args:
            folder: A new folder, or one that holds a model already.

        Raises:
            ModelError: If it holds something else, or the model was not read from files.
        """
        from macrodyn.model_files import save

        return save(self, folder)

    def card(self) -> str:
        """What the model is, what it was learned from and where it holds, as Markdown."""
        from macrodyn.model_files import card

        return card(self)

    # -- What is given ---------------------------------------------------------------------------

    def _states(self, z: ArrayLike) -> tuple[torch.Tensor, tuple[int, ...]]:
        array = np.asarray(z, np.float64)
        d = len(self.variables)
        if array.ndim < 1 or array.shape[-1] != d:
            raise ModelError(f"z is [..., {d}], of {', '.join(self.variables)}, not {array.shape}")
        return torch.as_tensor(array.reshape(-1, d), dtype=torch.float32), array.shape

    def _macrostates(self, given: Mapping[str, Any] | Sequence[float]) -> Floats:
        try:
            if isinstance(given, Mapping):
                values = {k: np.atleast_1d(np.asarray(v, float)).tolist() for k, v in given.items()}
                return initial_values(self.system, values)
            return initial_values(self.system, np.atleast_1d(np.asarray(given, float)).tolist())
        except ValueError as error:
            raise ModelError(f"the initial macrostate {error}") from None

    def initial(
        self,
        given: Initial,
        replicas: int = 1,
        *,
        size: Sequence[int] | None = None,
        conditions: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> Floats:
        """Initial z of what `predict` takes, shape [initial * replicas, d]."""
        if replicas < 1:
            raise ModelError(f"replicas is {replicas}: give 1 or more")
        if isinstance(given, Mapping):
            return self.sample_initial(given, replicas, size=size, conditions=conditions, seed=seed)
        array = np.asarray(given)
        if array.ndim == 2 + self.system.dimension:
            z = self.at(conditions).encode(array)
        else:
            z = self._states(array)[0].double().numpy()
        return z.repeat(replicas, axis=0)

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


class _MeanModel(torch.nn.Module):
    """Drift and noise of the mean model alone."""

    def __init__(self, model: WithMean) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, z: torch.Tensor, conditions: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Drift [batch, d] and factor [batch, d, d] at z [batch, d]."""
        drift, factor = self.model(z.expand(self.model.members, -1, -1), conditions)
        return drift[-1], None if factor is None else factor[-1]
