"""A trained model as users have it: asked for states, times, sizes and conditions of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr
from numpy.typing import ArrayLike

from macrodyn.model_core import Floats, ModelCore, ModelError
from macrodyn.paths import StrPath

if TYPE_CHECKING:
    from macrodyn.model_plots import Plots

__all__ = ["Floats", "Initial", "MacroModel", "ModelError"]

Initial = Mapping[str, Any] | ArrayLike
"""A macrostate by its components' names, states, or z: see `MacroModel.predict`."""


@dataclass(frozen=True, kw_only=True)
class MacroModel(ModelCore):
    """A trained model of the macroscopic dynamics, dz = mu(z) dt + L(z) dB.

    z holds the observables first, then the closure variables. Members of the ensemble differ in
    their training; the mean model has the mean drift and the mean covariance of those that are
    kept, which are all but those whose drift leaves the others. Attributes are those of
    `ModelCore`.
    """

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
        from macrodyn.model_predict import sample_initial

        return sample_initial(
            self, macrostate, replicas, size=size, conditions=conditions, seed=seed
        )

    def predict(
        self,
        initial: Initial,
        times: ArrayLike,
        *,
        replicas: int = 100,
        conditions: Mapping[str, float] | None = None,
        size: Sequence[int] | None = None,
        step: float | None = None,
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
            step: Step of the integration; the dt that was learned from if left out.
            seed: Seed of initial states and noise.

        Returns:
            ``z`` [member, initial, replica, time, variable] of the members; ``z_mean_model``
            [initial, replica, time, variable]. Of [initial, time, variable]: ``mean``, of the mean
            model; what is not known, apart: ``noise_std`` of its trajectories, and ``member_std``
            of the members' means (`model_spread.mean_and_spreads`). Where the model was compared
            with a reference that reaches as far, ``band_low`` and ``band_high`` [initial, time,
            observable]: a whole trajectory lies between them with the probability ``band_level``,
            and ``band_coverage`` of those left aside did (`evaluation.conformal`), for initial
            states like those of the reference; else ``band_missing`` says why there is none.

            As attributes ``outside``, the share of the predicted points, and ``initial_outside``,
            of the initial states, that lie outside of what the model was trained on: there it
            guesses. ``conditions_outside`` names conditions beyond the sampled ones.

        Raises:
            ModelError: If an initial state, a condition or a size is none of this model's.
        """
        from macrodyn.model_predict import predict

        return predict(
            self, initial, times, replicas=replicas, conditions=conditions, size=size, step=step,
            seed=seed,
        )  # fmt: skip

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
        from macrodyn.model_predict import initial

        return initial(self, given, replicas, size=size, conditions=conditions, seed=seed)

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

        Of one variable by quadrature, of two by the Fokker-Planck equation on a grid of cells, as
        exactly as what was learned. Of more, and of two where ``settle`` or ``until`` is given, by
        trajectories that begin all over the range of the training data: what has not settled by
        then, as where two states part, is not told.

        Args:
            conditions: Value of each condition; the system's own where left out.
            size: Sites along each axis; those that it was trained for if left out.
            points: Values of each variable at which the density is given.
            replicas: Trajectories of each member, where there are trajectories.
            settle: Time that is left out; half of ``until`` if left out.
            until: Length of the trajectories; 2,000 steps if left out.
            seed: Seed of the trajectories.

        Returns:
            ``density`` [variable, point] at ``value``, of the mean model, and
            ``density_error``, the standard deviation over the members that it counts;
            ``mean`` and ``std`` [variable] with ``mean_error`` and ``std_error``, of members and
            sampling together; ``settled`` [variable], whether the two halves of what is counted
            agree in mean and variance within four standard errors. Of one or two variables that
            were solved for also ``density_of_members`` [member, variable, point], and of two
            ``joint_density`` [first, second] of the mean model.
        """
        from macrodyn.model_stationary import stationary

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
        from macrodyn.model_stationary import potential

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
        from macrodyn.model_first_passage import first_passage

        return first_passage(
            self, region, initial, until, replicas=replicas, conditions=conditions, size=size,
            step=step, seed=seed,
        )  # fmt: skip

    def to_torch(self) -> torch.nn.Module:
        """The mean model as a module: (z [batch, d], conditions) to drift and factor L."""
        from macrodyn.model_torch import MeanModel

        return MeanModel(self.with_mean)

    def export(self, path: StrPath) -> Path:
        """Write what an Euler step needs as a program that runs without macrodyn.

        It takes z [batch, d], float64, and the conditions [batch, c] where there are any, and gives
        the drift mu [batch, d] and the factor L [batch, d, k], Sigma = L L^T, of the mean model, in
        double precision; None for L if the model has no noise. A step is then
        z + mu h + L sqrt(h) xi. Names of the variables, step and range stand in the file as
        ``macrodyn.json``. `torch.export.load` reads it.

        Args:
            path: The file, ending in .pt2.

        Raises:
            ModelError: If the name ends otherwise.
        """
        from macrodyn.model_torch import export

        return export(self, path)

    @property
    def plot(self) -> Plots:
        """Its figures, ``trajectories``, ``phase_portrait`` and ``stationary``."""
        from macrodyn.model_plots import Plots

        return Plots(self)

    def save(self, folder: StrPath) -> Path:
        """Write the model to a folder of its own, which can be copied and read anywhere.

        Args:
            folder: A new folder, or one that holds a model already.

        Raises:
            ModelError: If it holds something else, or the model was not read from files.
        """
        from macrodyn.methods.partial_evolution.model_files import save

        return save(self, folder)

    def described(self) -> dict[str, Any]:
        """What the model is, for other programs, as plain values; see `model_card.described`."""
        from macrodyn.model_card import described

        return described(self)

    def card(self) -> str:
        """What the model is, what it was learned from and where it holds, as Markdown."""
        from macrodyn.model_card import card

        return card(self)
