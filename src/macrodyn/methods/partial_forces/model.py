"""A trained model of partial forces as users have it: asked for states and times of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from macrodyn.closure.encoders import Encoder, macrostates, variable_names
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.trajectories import integrate
from macrodyn.model_core import ModelError, as_states
from macrodyn.model_predict import macrostate_values, prediction_times
from macrodyn.paths import StrPath
from macrodyn.storage.checkpoints import Checkpoints
from macrodyn.streams import seeds
from macrodyn.systems import ForceSystem

if TYPE_CHECKING:
    from macrodyn.methods.partial_forces.model_plots import ForcePlots

Floats = NDArray[np.float64]
Initial = Mapping[str, Any] | ArrayLike


@dataclass(frozen=True, kw_only=True)
class ForceModel:
    """A trained model dz/dt = g(z) of the macroscopic dynamics; nothing in it is random.

    z holds the observables first, then the closure variables. Members of the ensemble differ in
    their training.

    Attributes:
        ensemble: The drifts of the members.
        encoder: What makes closure variables of states.
        system: The microscopic system: names, observables, initial states.
        size: Sites along each axis; of particles their number.
        step: Longest step of the Runge-Kutta scheme.
        origin: Where it comes from: ``study``, ``run`` and what else is told.
        files: Files that it was read from, by their place in a folder of its own.
    """

    ensemble: Ensemble
    encoder: Encoder
    system: ForceSystem
    size: tuple[int, ...]
    step: float
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Names of z: observables, then closure variables."""
        return tuple(variable_names(self.system, self.encoder))

    def drift(self, z: ArrayLike) -> Floats:
        """The members' mean drift g(z) per unit time.

        Args:
            z: States, shape [..., d].

        Returns:
            Shape [..., d].
        """
        flat, shape = as_states(z, self.variables)
        with torch.no_grad():
            found = self.ensemble.drift(flat, None).mean(0)
        return found.double().numpy().reshape(shape)

    def encode(self, states: ArrayLike) -> Floats:
        """Macroscopic states z of microscopic ones.

        Args:
            states: Shape [batch, particle, component].

        Returns:
            Shape [batch, d].

        Raises:
            ModelError: If they are no states of the system.
        """
        array = np.asarray(states, np.float64)
        components = self.system.space.components
        if array.ndim != 3 or array.shape[2] != len(components):
            raise ModelError(
                f"states are [batch, particle, {len(components)}], of {', '.join(components)}, "
                f"not {array.shape}"
            )
        try:
            return macrostates(self.system, self.encoder, array)
        except ValueError as error:
            raise ModelError(
                f"{array.shape[1]} particles: the model's closure variables are those of a system "
                f"of size {' x '.join(map(str, self.size))} ({error})"
            ) from None

    def sample_initial(
        self,
        macrostate: Mapping[str, Any] | Sequence[float],
        replicas: int = 1,
        *,
        seed: int = 0,
    ) -> Floats:
        """Make microscopic states of initial macrostates, and encode them.

        Args:
            macrostate: A value, or several, of each component of the system's initial macrostates:
                every combination is made. A list of numbers where there is one component.
            replicas: States of each, which differ where the system draws them at random.
            seed: Seed of the states.

        Returns:
            z, shape [initial * replicas, d], the replicas of one macrostate side by side.
        """
        given = macrostate_values(self.system, macrostate).repeat(replicas, axis=0)
        keys = seeds(seed, "predict-initial", index=len(given))
        found = [
            self.encode(self.system.initial_states(given[[row]], self.size, keys[[row]]))
            for row in range(len(given))
        ]
        return np.concatenate(found)

    def predict(
        self,
        initial: Initial,
        times: ArrayLike,
        *,
        replicas: int = 1,
        conditions: Mapping[str, float] | None = None,
        size: Sequence[int] | None = None,
        step: float | None = None,
        seed: int = 0,
    ) -> xr.Dataset:
        """Predict trajectories.

        Args:
            initial: A macrostate, as `sample_initial` takes it; microscopic states, shape
                [initial, particle, component]; or z, shape [d] or [initial, d].
            times: When is recorded, increasing, 0 or later; the initial states are those of time 0.
            replicas: States of each macrostate, where the system draws them at random.
            conditions: None: these models have none.
            size: None, or the size that it was trained for: its closure variables are of this one.
            step: Step of the integration; that of the study's predictions if left out.
            seed: Seed of the initial states.

        Returns:
            ``z`` [member, initial, replica, time, variable]; ``mean`` and ``member_std`` [initial,
            time, variable], of the members' trajectories, averaged over the replicas. As attributes
            ``outside``, the share of the predicted points, and ``initial_outside``, of the initial
            states, that lie outside of what the model was trained on: there it guesses.

        Raises:
            ModelError: If an initial state, a condition or a size is none of this model's.
        """
        if conditions:
            raise ModelError(f"{', '.join(sorted(conditions))}: this model has no conditions")
        if size is not None and tuple(size) != self.size:
            raise ModelError(
                f"size {tuple(size)}: its closure variables are of {self.size}; train another"
            )
        if replicas < 1:
            raise ModelError(f"replicas is {replicas}: give 1 or more")
        times, recorded = prediction_times(times, step)
        z0 = self.initial(initial, replicas, seed=seed)
        records = self.integrate(z0, recorded, step=step)[:, :, len(recorded) - len(times) :]
        z = records.reshape(len(records), -1, replicas, len(times), len(self.variables))
        known = z.mean(axis=2, dtype=np.float64)
        dims = ("initial", "time", "variable")
        domain = self.ensemble.domain
        return xr.Dataset(
            {
                "z": (
                    ("member", "initial", "replica", "time", "variable"),
                    z,
                    {"long_name": "predicted macroscopic state", "units": "1"},
                ),
                "mean": (
                    dims,
                    known.mean(axis=0),
                    {"long_name": "mean of the members' trajectories", "units": "1"},
                ),
                "member_std": (
                    dims,
                    known.std(axis=0),
                    {"long_name": "standard deviation of the members' trajectories", "units": "1"},
                ),
            },
            coords={
                "time": ("time", times, {"units": self.system.time_unit}),
                "variable": list(self.variables),
            },
            attrs={
                "outside": float(domain.outside(z).any(axis=-1).mean()),
                "initial_outside": float(domain.outside(z0).any(axis=-1).mean()),
                "conditions_outside": "",
            },
        )

    def initial(self, given: Initial, replicas: int = 1, *, seed: int = 0) -> Floats:
        """Initial z of what `predict` takes, shape [initial * replicas, d]."""
        if isinstance(given, Mapping):
            return self.sample_initial(given, replicas, seed=seed)
        array = np.asarray(given)
        z = self.encode(array) if array.ndim == 3 else as_states(array, self.variables)[0]
        return np.asarray(z, np.float64).repeat(replicas, axis=0)

    def integrate(
        self,
        z0: ArrayLike,
        times: Sequence[float] | Floats,
        *,
        step: float | None = None,
        device: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> NDArray[np.float32]:
        """Trajectories of the members; `predict` is what users want.

        Args:
            z0: Initial states, shape [R, d].
            times: When is recorded; z0 is that of the first.
            step: Longest step; the model's own if left out.
            device: Where to integrate.
            progress: See `dynamics.integrate`.
            checkpoints: See `dynamics.integrate`.

        Returns:
            Shape [member, R, time, d]; nan where one diverged.
        """
        found: NDArray[np.float32] = integrate(
            self.ensemble,
            torch.as_tensor(np.asarray(z0), dtype=torch.float32),
            np.asarray(times, np.float64),
            step=self.step if step is None else step,
            on_divergence="nan",
            device=device,
            progress=progress,
            checkpoints=checkpoints,
        ).numpy()
        return found

    @property
    def plot(self) -> ForcePlots:
        """Its figures: ``trajectories``."""
        from macrodyn.methods.partial_forces.model_plots import ForcePlots

        return ForcePlots(self)

    def save(self, folder: StrPath) -> Path:
        """Write the model to a folder of its own, which can be copied and read anywhere.

        Args:
            folder: A new folder, or one that holds a model already.

        Raises:
            ModelError: If it holds something else, or the model was not read from files.
        """
        from macrodyn.methods.partial_forces.model_files import save

        return save(self, folder)

    def card(self) -> str:
        """What the model is, what it was learned from and how good it was, as Markdown."""
        from macrodyn.methods.partial_forces.model_card import card

        return card(self)

    def described(self) -> dict[str, Any]:
        """The same for other programs; see `model_card.described`."""
        from macrodyn.methods.partial_forces.model_card import described

        return described(self)
