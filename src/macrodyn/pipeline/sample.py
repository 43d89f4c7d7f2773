"""The sampling stages: configuration and input files to data sets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.config import (
    EvolveConfig,
    HorizonConfig,
    RelaxationConfig,
    SimulateConfig,
    UpsampleConfig,
)
from macrodyn.lattice import PatchGeometry, Tiling, upsampling_levels
from macrodyn.pipeline.job import Job
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.evolve import Pairs, evolve_patches, evolve_whole
from macrodyn.sampling.groups import by_condition, initial_ranges, initial_values, make_groups
from macrodyn.sampling.relax import Relaxation
from macrodyn.sampling.simulate import simulate_reference, simulate_small
from macrodyn.sampling.upsample import upsample_pools
from macrodyn.sampling.variables import axis_names, state_attributes
from macrodyn.sampling.work import Work
from macrodyn.storage.netcdf import gather_shards, read_dataset
from macrodyn.streams import seeds
from macrodyn.systems import System, system_class

# Snapshots of each level that are kept for figures.
EXAMPLES = 3
# Snapshots whose patches are evolved together: a bound on memory.
_MOST_SAMPLES = 512


def stage_system(config: dict[str, Any]) -> System:
    """Make the system that a stage's configuration names."""
    cls = system_class(config["system"]["name"])
    return cls(cls.Parameters.model_validate(config["system"]["parameters"]))


def simulate_shard(job: Job, shard: int, shards: int) -> xr.Dataset:
    """Simulate the small systems of one shard's groups."""
    config, settings = job.config, SimulateConfig(**job.config["simulate"])
    system = stage_system(config)
    ranges = initial_ranges(system, settings.initial_range)
    groups = make_groups(settings.groups, ranges, config["conditions"], config["seed"])
    groups = groups.shard(shard, shards)
    work = job.work("simulate")
    data = simulate_small(
        system,
        groups,
        tuple(config["small"]),
        replicas=settings.replicas,
        times=settings.times,
        seed=config["seed"],
        work=work,
    )
    return data.assign_attrs(site_updates=work.cost.site_updates)


def upsample_shard(job: Job, small: Path, shard: int, shards: int) -> xr.Dataset:
    """Upsample and relax the snapshots of one shard's groups.

    Returns:
        The large snapshots, and a few examples of every level before and after relaxation.

    Raises:
        ValueError: If the lattices are equal and there are too few replicas to take.
    """
    config = job.config
    system = stage_system(config).on(job.device)
    whole = read_dataset(small)
    source = whole.isel(group=slice(shard, None, shards))
    _check_replicas(source, config)
    shown = np.flatnonzero(np.isin(source.group.values, _example_groups(whole.group.values)))
    work = job.work("upsample", source.states.values, source.time.values)
    arrays = _upsample(system, source, config, shown, work)
    data = _samples(source, arrays.pop("states"))
    data["states"].attrs = state_attributes(system)
    data["time"].attrs = {"long_name": "time of the small snapshot", "units": system.time_unit}
    if arrays:
        data["example_number"] = ("example", source.group.values[shown])
    for name, states in arrays.items():
        axes = axis_names(system.dimension, f"{name.rpartition('_')[0]}_")
        data[name] = (("example", "channel", *axes), states, state_attributes(system))
    return data.assign_attrs(site_updates=work.cost.site_updates)


def _check_replicas(source: xr.Dataset, config: dict[str, Any]) -> None:
    """Where nothing is upsampled, every large snapshot is a small system of its own."""
    replicas, wanted = source.sizes["replica"], config["upsample"]["snapshots"]
    if source.states.shape[4:] == tuple(config["large"]) and replicas < wanted:
        raise ValueError(
            f"simulate.replicas ({replicas}) must be at least upsample.snapshots ({wanted}) "
            "where the small lattice is the large one"
        )


def _example_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose a few groups that are spread over all."""
    places = np.unique(np.linspace(0, len(groups) - 1, EXAMPLES).round())
    return groups[places.astype(int)]


def _upsample(
    system: System,
    source: xr.Dataset,
    config: dict[str, Any],
    shown: NDArray[np.int64],
    work: Work,
) -> dict[str, NDArray]:
    """Make large snapshots of every group at every time.

    Args:
        system: The system with its own parameters.
        source: Small snapshots of the groups.
        config: The stage's configuration.
        shown: Rows of the groups that are examples.
        work: Goes through the groups, and adds up what they cost.

    Returns:
        ``states`` [group, time, snapshot, channel, *large], and for every level, at the middle
        time, ``level_<number>_raw`` and ``level_<number>_relaxed`` [example, channel, *level].
    """
    settings = UpsampleConfig(**config["upsample"])
    groups, times, small = source.group.values, source.time.values, source.states.values
    large = tuple(config["large"])
    geometry = PatchGeometry(
        tuple(config["patch"]), system.halo, boundary=settings.relaxation.boundary
    )
    lead = (len(groups), len(times), settings.snapshots)
    arrays = {"states": np.empty((*lead, system.channels, *large), dtype=system.dtype)}
    for number, level in enumerate(upsampling_levels(small.shape[4:], large)):
        for kind in ("raw", "relaxed"):
            arrays[f"level_{number}_{kind}"] = np.empty(
                (len(shown), system.channels, *level), dtype=system.dtype
            )
    parts = by_condition(system, _condition_names(source), source.condition_values.values)
    segments = list(product(parts, range(len(times))))
    for segment, block in work.blocks([len(rows) for (_, rows), _ in segments], arrays):
        (part, rows), t = segments[segment]
        rows = rows[block]
        final = small[rows, t, : settings.snapshots]
        levels = upsample_pools(
            part,
            small[rows, t],
            large,
            method=settings.method,
            number=settings.snapshots,
            patch=geometry,
            relaxation=_relaxation(settings.relaxation, float(times[t])),
            seed=config["seed"],
            names=[(int(groups[row]), t) for row in rows],
            cost=work.cost,
        )
        for number, made in enumerate(levels):
            final = made.relaxed
            if t == len(times) // 2:
                _, here, place = np.intersect1d(rows, shown, return_indices=True)
                arrays[f"level_{number}_raw"][place] = made.raw[here, 0]
                arrays[f"level_{number}_relaxed"][place] = made.relaxed[here, 0]
        arrays["states"][rows, t] = final
    return arrays


def _relaxation(settings: RelaxationConfig, age: float) -> Relaxation:
    duration = min(settings.duration, age) if settings.up_to_age else settings.duration
    return Relaxation(duration, settings.sweep)


def evolve_shard(job: Job, states: Path, shard: int, shards: int) -> xr.Dataset:
    """Make the pairs of one shard's snapshots: patches of large ones, or whole systems."""
    config, scope = job.config, job.config["scope"]
    system = stage_system(config).on(job.device)
    samples = snapshots(states, scope, config)
    samples = samples.isel(sample=slice(shard, None, shards))
    settings = EvolveConfig(**config["evolve"])
    keys = seeds(config["seed"], "evolve", scope, index=samples.number.values)
    names = _condition_names(samples)
    parts = list(by_condition(system, names, samples.condition_values.values))
    work = job.work("evolve", samples.states.values, samples.number.values)
    arrays: dict[str, NDArray] = {}
    for p, block in work.blocks([len(rows) for _, rows in parts], arrays, most=_MOST_SAMPLES):
        part, rows = parts[p][0], parts[p][1][block]
        now = samples.states.values[rows]
        pairs = vars(_evolve(part, now, config, settings, keys[rows], work.cost))
        for name, made in pairs.items():
            if name not in arrays:
                arrays[name] = np.empty((samples.sizes["sample"], *made.shape[1:]), made.dtype)
            arrays[name][rows] = made
    data = _pairs_dataset(system, samples, Pairs(**arrays), settings.lags)
    shape = samples.states.shape[2:]
    total = Tiling(shape, tuple(config["patch"])).number if scope == "partial" else 1
    return data.assign_attrs(
        patches_total=total, dt=settings.dt, scope=scope, site_updates=work.cost.site_updates
    )


def _evolve(
    system: System,
    states: NDArray,
    config: dict[str, Any],
    settings: EvolveConfig,
    keys: NDArray[np.uint64],
    cost: Cost,
) -> Pairs:
    patch = tuple(config["patch"])
    if config["scope"] != "partial" or Tiling(states.shape[2:], patch).number == 1:
        return evolve_whole(
            system, states, dt=settings.dt, lags=settings.lags, keys=keys, cost=cost
        )
    geometry = PatchGeometry(patch, system.halo, settings.buffer, settings.boundary)
    return evolve_patches(
        system,
        states,
        geometry,
        number=settings.patches,
        dt=settings.dt,
        lags=settings.lags,
        keys=keys,
        cost=cost,
        events=int(np.prod(patch)) if settings.stop == "events" else None,
    )


def snapshots(path: Path, scope: str, config: dict[str, Any]) -> xr.Dataset:
    """Read snapshots as samples; of small systems as many as the patches of the partial scheme."""
    data = read_dataset(path)
    if scope != "small":
        return data
    data = data.isel(replica=slice(config["snapshots"] * config["evolve"]["patches"]))
    return _samples(data, data.states.values)


def _samples(source: xr.Dataset, states: NDArray) -> xr.Dataset:
    """Lay snapshots out as samples, each with its macrostate, conditions, group, time and number.

    Args:
        source: The small snapshots that they are or were made of, [group, time, ...].
        states: Shape [group, time, snapshot, channel, *lattice].
    """
    groups, times, each, *state = states.shape
    per_group = times * each
    number = source.group.values[:, None] * per_group + np.arange(per_group)

    def repeated(name: str) -> NDArray:
        return np.repeat(source[name].values, per_group, axis=0)

    return xr.Dataset(
        {
            "states": (
                ("sample", "channel", *axis_names(len(state) - 1)),
                states.reshape(-1, *state),
            ),
            "macrostate": (("sample", "component"), repeated("macrostate")),
            "condition_values": (("sample", "condition"), repeated("condition_values")),
            "group": ("sample", repeated("group")),
            "time": (
                "sample",
                np.tile(np.repeat(source.time.values, each), groups),
                source.time.attrs,
            ),
            "number": ("sample", number.ravel()),
        },
        coords={
            "condition": _condition_names(source),
            "component": source.component.values,
        },
    )


def _condition_names(data: xr.Dataset) -> list[str]:
    return [str(name) for name in data.condition.values]


def _pairs_dataset(
    system: System, samples: xr.Dataset, pairs: Pairs, lags: Sequence[int]
) -> xr.Dataset:
    axes = axis_names(system.dimension, "patch_")
    lead = ("sample", "patch", "lag")
    return xr.Dataset(
        {
            "before": (
                ("sample", "patch", "channel", *axes),
                pairs.before,
                state_attributes(system),
            ),
            "after": ((*lead, "channel", *axes), pairs.after, state_attributes(system)),
            "increments": (
                (*lead, "observable"),
                pairs.increments,
                {"long_name": "increments of the observables over a patch", "units": "1"},
            ),
            "elapsed": (
                lead,
                pairs.elapsed,
                {"long_name": "time of the pair", "units": system.time_unit},
            ),
            "z_observables": (
                ("sample", "observable"),
                system.observe(samples.states.values),
                {"long_name": "observables of the whole snapshot", "units": "1"},
            ),
            "condition_values": (("sample", "condition"), samples.condition_values.values),
            "group": ("sample", samples.group.values),
            "time": ("sample", samples.time.values, samples.time.attrs),
            "number": ("sample", samples.number.values),
        },
        coords={
            "lag": list(lags),
            "observable": list(system.observables),
            "condition": samples.condition.values,
        },
    )


def record_times(horizons: dict[str, dict[str, Any]]) -> list[float]:
    """Return the sorted union of all horizons' record times."""
    times: set[float] = set()
    for horizon in horizons.values():
        times.update(horizon_times(HorizonConfig(**horizon)))
    return sorted(times)


def horizon_times(horizon: HorizonConfig) -> list[float]:
    """Return a horizon's record times, rounded so that equal times of two horizons are equal."""
    return [round(i * horizon.spacing, 9) for i in range(horizon.points)]


def reference_shard(job: Job, shard: int, shards: int) -> xr.Dataset:
    """Simulate one shard's trajectories of the large system."""
    config = job.config
    system = stage_system(config)
    initial = initial_values(system, config["initial"]).repeat(config["replicas"], axis=0)
    # Dealt out in turn, so that every shard has the same mixture and takes as long.
    numbers = np.arange(len(initial))[shard::shards]
    work = job.work("reference")
    data = simulate_reference(
        system,
        tuple(config["large"]),
        initial=initial[numbers],
        numbers=numbers,
        times=record_times(config["horizons"]),
        seed=config["seed"],
        work=work,
    )
    return data.assign_attrs(site_updates=work.cost.site_updates)


def gather_stage(stage: str, shards: Sequence[Path], config: dict[str, Any]) -> xr.Dataset:
    """Gather the shards of a sampling stage, in an order that does not depend on their number."""
    dimension, order = _GATHERED[stage]
    gathered = gather_shards(shards, dimension, order, config)
    return _order_reference(gathered, config) if stage == "reference" else gathered


_GATHERED = {
    "simulate": ("group", "group"),
    "upsample": ("sample", "number"),
    "evolve": ("sample", "number"),
    "reference": ("trajectory", "number"),
}


def _order_reference(data: xr.Dataset, config: dict[str, Any]) -> xr.Dataset:
    """Turn gathered trajectories into [initial, replica, time, observable]."""
    system = stage_system(config)
    initial = initial_values(system, config["initial"])
    shape = (len(initial), config["replicas"])
    values = data.observables.values
    observables = (
        ("initial", "replica", "time", "observable"),
        values.reshape(*shape, *values.shape[1:]),
        data.observables.attrs,
    )
    return xr.Dataset(
        {
            "observables": observables,
            "initial_values": (("initial", "component"), initial),
            "final_states": data.final_states,
        },
        coords={
            "component": list(system.macrostates),
            "time": data.time,
            "observable": data.observable,
        },
        attrs=data.attrs,
    )
