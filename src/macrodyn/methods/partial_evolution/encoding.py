"""Pairs of states to pairs of z: observables, features, the autoencoder's closure variables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.closure.evolved import EvolvedPatches
from macrodyn.closure.feature_values import Features
from macrodyn.closure.model import PatchAutoencoder, load_autoencoder
from macrodyn.closure.snapshots import Progress, encode_increments, encode_states
from macrodyn.dynamics.compensation import control_variates
from macrodyn.dynamics.latents import latents_dataset
from macrodyn.lattice import PatchGeometry, Shape
from macrodyn.methods.partial_evolution.samples import condition_names, snapshots
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.sampling.groups import by_condition
from macrodyn.storage.netcdf import read_dataset
from macrodyn.systems import PatchSystem

Floats = NDArray[np.float64]

# A variable whose spread around a linear combination of others is below this share of its own is
# that combination: far above the rounding of float64, far below what a physical one has.
_DEPENDENT = 1e-7


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
        parts = by_condition(system, condition_names(pairs), pairs.condition_values.values)
        self._parts = [(Features(part, names, patch), rows) for part, rows in parts]
        self.z_features = np.zeros((len(whole), len(self.features.all)))
        for features, rows in self._parts:
            self.z_features[rows] = features.values(whole[rows])
        self.z_closure = encode_states(model, whole, periodic=system.periodic)

    @property
    def z(self) -> Floats:
        """Closure variables of the snapshots, shape [sample, variable]."""
        return np.concatenate([self.z_features, self.z_closure], axis=1)

    def increments(self, progress: Progress | None = None) -> Floats:
        """Their increments, shape [sample, patch, lag, variable]."""
        after = self.pairs.after.values
        lead = after.shape[:3]
        changes = np.zeros((*lead, self.z_features.shape[1]))
        if self.pairs.attrs["patches_total"] == 1:
            flat = after.reshape(-1, *after.shape[3:])
            found = encode_states(
                self.model, flat, periodic=self.system.periodic, progress=progress
            ).reshape(*lead, -1)
            for features, rows in self._parts:
                some = after[rows]
                measured = features.values(some.reshape(-1, *some.shape[3:]))
                before = self.z_features[rows][:, None, None]
                changes[rows] = measured.reshape(*some.shape[:3], -1) - before
            return np.concatenate([changes, found - self.z_closure[:, None, None]], axis=-1)
        evolved = self._evolved()
        for features, rows in self._parts:
            changes[rows] = features.increments(evolved.select(rows))
        return np.concatenate([changes, encode_increments(self.model, evolved, progress)], axis=-1)

    def _evolved(self) -> EvolvedPatches:
        source, after = self.pairs, self.pairs.after.values
        buffer, boundary = int(source.attrs["buffer"]), source.attrs["boundary"]
        patch = PatchGeometry(after.shape[4:], self.system.halo, buffer, boundary)
        moved = source.moved.values if buffer else after
        return EvolvedPatches(self.whole, self.system.periodic, patch, source.origin.values, moved)


def candidate_values(
    system: PatchSystem, names: Sequence[str], patch: Shape, pairs: xr.Dataset, whole: NDArray
) -> tuple[list[str], Floats]:
    """Names and values of features that are judged only, [sample, candidate]."""
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
        **_controls(source),
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


def _controls(pairs: xr.Dataset) -> dict[str, Any]:
    """Control variates of the increments and their names."""
    names, parts = [], {}
    for word, name in (("martingale", "compensators"), ("excess", "rate_excess")):
        parts[name] = pairs[name].values if name in pairs else None
        if name in pairs:
            names += [f"{word}_{observable}" for observable in pairs.observable.values]
    controls = control_variates(pairs.increments.values, pairs.elapsed.values, **parts)
    return {"controls": controls, "control_names": names}
