"""Pairs of states to pairs of z: observables, features, the autoencoder's closure variables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.evolved import EvolvedPatches
from macrodyn.closure.feature_values import Features
from macrodyn.closure.model import PatchAutoencoder, load_autoencoder
from macrodyn.closure.snapshots import Progress, encode_increments, encode_states
from macrodyn.dynamics.compensation import control_variates
from macrodyn.dynamics.latents import EXCESS, latents_dataset
from macrodyn.lattice import PatchGeometry, Shape
from macrodyn.methods.partial_evolution.pairs import martingales, rate_excess
from macrodyn.methods.partial_evolution.samples import condition_names, snapshots
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.sampling.groups import by_condition
from macrodyn.storage.netcdf import read_dataset
from macrodyn.systems import PatchSystem
from macrodyn.systems.windows import cut_windows

Floats = NDArray[np.float64]

# A variable whose spread around a linear combination of others is below this share of its own is
# that combination: far above the rounding of float64, far below what a physical one has.
_DEPENDENT = 1e-7
# Sites of patches that are looked at together: a bound on memory.
_SITES = 2**22
# Snapshots whose covariance rates are asked for at once: a bound on memory.
_SNAPSHOTS = 4096


def variable_names(
    observables: Sequence[str], closure_dim: int, features: Sequence[str] = ()
) -> list[str]:
    """Name the macroscopic variables: observables, features, the autoencoder's variables."""
    return [*observables, *features, *(f"closure_{i}" for i in range(closure_dim))]


class Encoding:
    """Closure variables of the samples of one data set of pairs.

    Args:
        system: The system; rates of features are those under each sample's conditions.
        model: The autoencoder.
        names: Features, as a configuration names them.
        patch: Sides of the patches.
        pairs: The pairs.
        whole: The snapshots that they began from, [sample, channel, *lattice].
    """

    def __init__(
        self,
        system: PatchSystem,
        model: PatchAutoencoder,
        names: Sequence[str],
        patch: Shape,
        pairs: xr.Dataset,
        whole: NDArray,
    ) -> None:
        self.system, self.model, self.pairs, self.whole = system, model, pairs, whole
        self.names, self.patch = tuple(names), patch
        self.features = Features(system, names, patch)
        conditions = by_condition(system, condition_names(pairs), pairs.condition_values.values)
        self._parts = [(part, Features(part, names, patch), rows) for part, rows in conditions]
        self.z_features = np.zeros((len(whole), len(self.features.all)))
        for _, features, rows in self._parts:
            self.z_features[rows] = features.values(whole[rows])
        self.z_closure = encode_states(model, whole, periodic=system.periodic)
        # The whole is one patch, whose states are measured as they are.
        self._alone = bool(pairs.attrs["patches_total"] == 1)
        buffer, boundary = int(pairs.attrs.get("buffer", 0)), pairs.attrs.get("boundary", "frozen")
        shape = pairs.after.shape[4:]
        self._geometry = PatchGeometry(shape, system.halo, buffer, boundary)

    @property
    def z(self) -> Floats:
        """Closure variables of the snapshots, shape [sample, variable]."""
        return np.concatenate([self.z_features, self.z_closure], axis=1)

    def increments(self, progress: Progress | None = None) -> Floats:
        """Their increments, shape [sample, patch, lag, variable]."""
        after = self.pairs.after.values
        out = np.empty((*after.shape[:3], self.z.shape[1]))
        for _, features, rows in self._parts:
            if self._alone:
                changes = self._of_states(features, after[rows], progress)
                out[rows] = changes - self.z[rows][:, None, None]
            else:
                moved = self.pairs.moved.values if self._geometry.buffer else after
                evolved = self._evolved(rows, moved[rows])
                out[rows] = self._of_patches(features, evolved, progress)
        return out

    def noise_controls(self) -> Floats | None:
        """What the noise of the sites makes of the variables, to first order.

        Half the difference of what it and its negative make when they are added to the snapshot:
        they are equally likely, so that the mean is zero.

        Returns:
            Shape [sample, patch, lag, variable]; None where the system tells no noise.
        """
        if "noise" not in self.pairs or not self.z.shape[1]:
            return None
        noise = self.pairs.noise.values
        out = np.empty((*noise.shape[:3], self.z.shape[1]))
        for _, features, rows in self._parts:
            some = noise[rows]
            if self._alone:
                before = self.whole[rows][:, None, None]
                more, less = (self._of_states(features, before + n) for n in (some, -some))
            else:
                still = self._evolved(rows, some)
                more, less = (self._of_patches(features, still.shifted(n)) for n in (some, -some))
            out[rows] = 0.5 * (more - less)
        return out

    def beyond(self, increment: Floats) -> Floats | None:
        """What the buffers have made of the variables, counted as the patches' increments are.

        Patch and buffer together are a patch of their own. Of variables that follow from the
        sites' own densities and pairs that is known; of moments of patches and of what an
        autoencoder makes of them it is not.

        Args:
            increment: Increments of all variables by the patches, shape [sample, patch, lag,
                variable].

        Returns:
            Shaped like the increments, NaN for variables of which it is not known; None where there
            is no buffer, or the lattice has ends.
        """
        patch = self._geometry
        if not patch.buffer or self._alone or not self.system.periodic:
            return None
        wide = PatchGeometry(patch.active, patch.halo)
        scale = math.prod(wide.shape) / math.prod(patch.shape)
        count = len(self.pairs.observable)
        known = [feature.kind in ("correlation", "generator") for feature in self.features.all]
        found = np.full(increment.shape, np.nan)
        for part, _, rows in self._parts:
            local = Features(part, self.names, wide.shape)
            for chunk in _chunks(rows, _SITES // math.prod(self.pairs.moved.shape[1:])):
                evolved = self._evolved(chunk, self.pairs.moved.values[chunk])
                found[chunk, ..., :count] = _observed(part, evolved, wide)
                if any(known):
                    corners = evolved.origins - patch.buffer
                    together = replace(evolved, geometry=wide, origins=corners)
                    both = local.increments(together)
                    found[chunk, ..., count : count + len(known)] = np.where(known, both, np.nan)
        return scale * found - increment

    def _of_patches(
        self, features: Features, evolved: EvolvedPatches, progress: Progress | None = None
    ) -> Floats:
        """Increments by patches of some samples, shape [sample, patch, lag, variable]."""
        measured = features.increments(evolved)
        encoded = encode_increments(self.model, evolved, progress)
        return np.concatenate([measured, encoded], axis=-1)

    def _of_states(
        self, features: Features, states: NDArray, progress: Progress | None = None
    ) -> Floats:
        """Variables of whole states [sample, patch, lag, ...]: [sample, patch, lag, variable]."""
        flat = states.reshape(-1, *states.shape[3:]).astype(self.whole.dtype)
        encoded = encode_states(self.model, flat, periodic=self.system.periodic, progress=progress)
        found = np.concatenate([features.values(flat), encoded], axis=-1)
        return found.reshape(*states.shape[:3], -1)

    def _evolved(self, rows: NDArray[np.intp], moved: NDArray) -> EvolvedPatches:
        whole, origins = self.whole[rows], self.pairs.origin.values[rows]
        return EvolvedPatches(whole, self.system.periodic, self._geometry, origins, moved)


def _chunks(rows: NDArray[np.intp], each: int) -> Iterator[NDArray[np.intp]]:
    """Rows a few at a time, one at least."""
    each = max(1, each)
    for begin in range(0, len(rows), each):
        yield rows[begin : begin + each]


def _observed(system: PatchSystem, evolved: EvolvedPatches, wide: PatchGeometry) -> Floats:
    """Observables' increments by patches and buffers, shape [sample, patch, lag, observable]."""
    corners = evolved.origins - evolved.geometry.buffer
    before, around = cut_windows(system, evolved.states, corners, wide)
    samples, number, lags = evolved.moved.shape[:3]
    found = []
    for lag in range(lags):
        after = before.copy()
        moving: tuple[Any, ...] = (..., *wide.moving)
        after[moving] = evolved.moved[:, :, lag].reshape(before[moving].shape)
        found.append(system.observable_increment(before, after, wide, around))
    return np.stack(found, axis=1).reshape(samples, number, lags, -1)


def candidate_values(
    system: PatchSystem, names: Sequence[str], patch: Shape, pairs: xr.Dataset, whole: NDArray
) -> tuple[list[str], Floats]:
    """Names and values of features that are no variables, [sample, feature]."""
    out = np.zeros((len(whole), len(Features(system, names, patch).all)))
    for part, rows in by_condition(system, condition_names(pairs), pairs.condition_values.values):
        out[rows] = Features(part, names, patch).values(whole[rows])
    return Features(system, names, patch).variables, out


def check_independent(z: Floats, increments: Floats, names: Sequence[str], first: int) -> None:
    """Refuse variables that are linear combinations of those before them.

    The noise of such a variable is that of the others, and no diffusion has full rank.

    Args:
        z: States, shape [sample, variable].
        increments: Shape [sample, patch, lag, variable].
        names: Names of the variables.
        first: The first that is checked.

    Raises:
        ValueError: If there is one; the message says of which it is made.
    """
    rows = np.concatenate([z - z.mean(axis=0), increments.reshape(-1, z.shape[1])])
    scale = np.sqrt(np.square(rows).mean(axis=0))
    rows = rows / np.where(scale > 0, scale, 1.0)
    gram = rows.T @ rows / len(rows)
    for k in range(first, z.shape[1]):
        weights = np.linalg.lstsq(gram[:k, :k], gram[:k, k], rcond=1e-12)[0]
        left = rows[:, k] - rows[:, :k] @ weights
        if np.sqrt(np.square(left).mean()) <= _DEPENDENT:
            others = [names[i] for i in range(k) if abs(weights[i]) > 1e-6]
            made = f"a linear combination of {', '.join(others)}" if others else "constant"
            raise ValueError(f"{names[k]} is {made} and tells nothing new: remove it from closure")


def encode(job: Job) -> xr.Dataset:
    """Turn pairs of states into pairs of macroscopic states z = (z*, zhat) (eq. 3).

    Args:
        job: The job; inputs ``closure``, ``pairs``, and ``states``, the snapshots that the pairs
            began from; its configuration holds ``scope``, ``patch``, ``features`` and
            ``candidates``.
    """
    config = job.config
    system = stage_system(job)
    model, _ = load_autoencoder(job.input("closure"))
    source = read_dataset(job.input("pairs"))
    # Of small systems, only as many were evolved as that stage's configuration says.
    evolved = json.loads(source.attrs["stage_config"])
    whole = snapshots(job.input("states"), config["scope"], evolved).states.values
    patch = tuple(config["patch"])
    encoding = Encoding(system, model, config["features"], patch, source, whole)
    changes = encoding.increments(lambda done, total: job.step("encode", done, total))
    names = [str(n) for n in source.observable.values]
    variables = variable_names(names, encoding.z_closure.shape[1], encoding.features.variables)
    z = np.concatenate([source.z_observables.values, encoding.z], axis=1)
    increment = np.concatenate([source.increments.values, changes], axis=-1)
    if encoding.features.all:
        check_independent(z, increment, variables, first=len(names))
    latents = latents_dataset(
        z=z,
        increment=increment,
        elapsed=source.elapsed.values,
        condition_values=source.condition_values.values,
        group=source.group.values,
        time=source.time.values,
        variables=variables,
        lags=source.lag.values.tolist(),
        conditions=condition_names(source),
        n_observables=len(names),
        patches_total=source.attrs["patches_total"],
        sites=math.prod(whole.shape[2:]),
        dt=source.attrs["dt"],
        time_unit=source.elapsed.attrs["units"],
        beyond=encoding.beyond(increment),
        rate=candidate_values(system, ("generator",), patch, source, whole)[1]
        if config.get("drift_rates")
        else None,
        covariance_rate=_covariance_rates(system, source, whole) if config.get("rates") else None,
        **_controls(source, encoding, variables[len(names) :]),
    )
    if config["candidates"]:
        found, measured = candidate_values(system, config["candidates"], patch, source, whole)
        text = {"long_name": "features of the snapshot that are no variables", "units": "1"}
        latents["candidates"] = (("sample", "candidate"), measured, text)
        latents = latents.assign_coords(candidate=found)
    relations = system.relations()
    if relations is None:
        return latents
    matrix, values = (json.dumps(np.asarray(part).tolist()) for part in relations)
    return latents.assign_attrs(constraint_matrix=matrix, constraint_values=values)


def _covariance_rates(system: PatchSystem, source: xr.Dataset, whole: NDArray) -> Floats:
    """Expected covariance rates of the snapshots, each under its own conditions."""
    count = len(source.observable)
    found = np.empty((len(whole), count, count))
    for part, rows in by_condition(system, condition_names(source), source.condition_values.values):
        for chunk in _chunks(rows, _SNAPSHOTS):
            found[chunk] = part.covariance_rates(whole[chunk])
    return found


def _controls(pairs: xr.Dataset, encoding: Encoding, variables: Sequence[str]) -> dict[str, Any]:
    """Control variates of the increments and their names."""
    chance, excess = martingales(pairs), rate_excess(pairs)
    observables = [str(name) for name in pairs.observable.values]
    noise = encoding.noise_controls()
    known = [
        *((f"martingale_{name}" for name in observables) if chance is not None else ()),
        *((f"{EXCESS}{name}" for name in observables) if excess is not None else ()),
        *((f"noise_{name}" for name in variables) if noise is not None else ()),
    ]
    controls = control_variates(pairs.elapsed.values, chance, excess)
    if noise is not None:
        controls = np.concatenate([controls, noise], axis=-1)
    return {"controls": controls, "control_names": known}
