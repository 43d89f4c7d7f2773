"""The sampling stages: trajectories, and forces on some coordinates of their configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.methods.partial_forces.config import ForcesConfig, TimesConfig
from macrodyn.methods.partial_forces.displaced import configurations_at, draw_displacements
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.sampling.groups import Groups, initial_ranges, make_groups
from macrodyn.storage.netcdf import read_dataset
from macrodyn.streams import generator, seeds, torch_seed
from macrodyn.systems import ForceSystem

# Numbers that are in memory at once, of states or of Jacobians.
NUMBERS = 2**24


def trajectories(job: Job) -> xr.Dataset:
    """Simulate the trajectories of one shard, to learn from or to compare with.

    Args:
        job: The job; its configuration holds ``purpose``, ``size``, ``runs``, ``initial_range``,
            ``times`` and ``precision``.

    Returns:
        ``states`` [run, time, particle, component] and ``observables`` [run, time, observable].
    """
    config = job.config
    system: ForceSystem = stage_system(job)
    purpose, times = config["purpose"], np.array(TimesConfig(**config["times"]).values)
    groups = spread_runs(
        config["runs"], initial_ranges(system, config["initial_range"]), config["seed"], purpose
    ).shard(job.shard, job.shards)
    shape = tuple(config["size"])
    begin, keys = (seeds(config["seed"], purpose, w, index=groups.index) for w in ("start", "run"))
    work = job.work(purpose)
    dtype = np.float32 if config["precision"] == "single" else np.float64
    arrays: dict[str, NDArray] = {}
    for _, block in work.blocks([len(groups)], arrays):
        starts = system.initial_states(groups.macrostate[block], shape, begin[block])
        states = system.trajectories(starts, times, keys[block])
        flat = states.reshape(-1, *states.shape[2:])
        observed = system.observe(flat).reshape(*states.shape[:2], -1)
        made = {"states": states.astype(dtype), "observables": observed}
        work.fill(arrays, made, block, len(groups))
    return xr.Dataset(
        {
            "states": (
                ("run", "time", "particle", "state"),
                arrays["states"],
                {"long_name": "microscopic state", "units": "1"},
            ),
            "observables": (
                ("run", "time", "observable"),
                arrays["observables"],
                {"long_name": "observables z*", "units": "1"},
            ),
            "initial_values": (("run", "component"), groups.macrostate),
            "number": ("run", groups.index),
        },
        coords={
            "time": ("time", times, {"units": system.time_unit}),
            "observable": list(system.observable_names),
            "component": list(system.component_names),
            "state": ("state", list(system.space.components), {"long_name": "of a particle"}),
        },
    )


def spread_runs(
    number: int, ranges: Mapping[str, tuple[float, float]], seed: int, purpose: str
) -> Groups:
    """Spread initial macrostates over their ranges, in an order that is random.

    Whatever is made of the first few runs then sees all of the ranges.
    """
    found = make_groups(number, ranges, {}, torch_seed(seed, purpose))
    order = generator(seed, purpose, "order").permutation(number)
    return replace(found, macrostate=found.macrostate[order])


def partial_forces(job: Job) -> xr.Dataset:
    """Compute the forces on some coordinates of one shard's configurations.

    It alone asks the system for forces that are learned from.

    Args:
        job: The job; input ``trajectories``; its configuration holds ``forces`` and
            ``while_above``.

    Returns:
        ``forces`` [sample, coordinate] on ``coordinates``, and the ``run`` and ``record`` of each,
        or what else `displaced.configurations_at` needs.
    """
    config = job.config
    system: ForceSystem = stage_system(job)
    settings = ForcesConfig(**config["forces"])
    source = read_dataset(job.input("trajectories"))
    runs, records = configurations(
        used_records(source, config["while_above"]), settings, config["seed"]
    )
    numbers = np.arange(len(runs))[job.shard :: job.shards]
    chosen = xr.Dataset(
        {
            "run": ("sample", runs, {"long_name": "number of the trajectory", "units": "1"}),
            "record": ("sample", records, {"long_name": "number of the record", "units": "1"}),
        }
    )
    if settings.displaced:
        others, factors = draw_displacements(
            len(runs), settings.displaced, settings.displacement, config["seed"]
        )
        ends = ("sample", "pair", "end")
        chosen["other_run"] = (ends, runs[others], {"units": "1"})
        chosen["other_record"] = (ends, records[others], {"units": "1"})
        meaning = {"long_name": "factor of a difference that is added", "units": "1"}
        chosen["factor"] = (("sample", "pair"), factors, meaning)
    chosen = chosen.isel(sample=numbers)
    particles = source.sizes["particle"]
    drawn = draw_coordinates(system, particles, settings.number, config["seed"], numbers)
    states = source.states.values
    arrays: dict[str, NDArray] = {"forces": np.empty(drawn.shape)}
    work = job.work("forces", drawn)
    most = max(1, NUMBERS // (states[0, 0].size + drawn.shape[1]))
    for _, block in work.blocks([len(numbers)], arrays, most=most):
        here = configurations_at(states, chosen.isel(sample=block))
        arrays["forces"][block] = system.forces(here, drawn[block])
    at_once = len(system.space.components) - len(system.known) if system.together else 1
    return xr.Dataset(
        {
            "forces": (
                ("sample", "coordinate"),
                arrays["forces"],
                {"long_name": "rate of change of a coordinate", "units": "1"},
            ),
            "coordinates": (
                ("sample", "coordinate"),
                drawn.astype(np.int32),
                {"long_name": "number of a coordinate, particle by particle", "units": "1"},
            ),
            **chosen.data_vars,
            "number": ("sample", numbers),
        },
        attrs={"evaluations_each": drawn.shape[1] // at_once},
    )


def used_records(source: xr.Dataset, while_above: Mapping[str, float]) -> NDArray[np.bool_]:
    """Which records of trajectories are used, shape [run, time].

    Args:
        source: The trajectories.
        while_above: A run ends where one of these observables is no longer above its value.
    """
    used = np.ones(source.observables.shape[:2], dtype=bool)
    for name, least in while_above.items():
        above = source.observables.sel(observable=name).values > least
        used &= np.logical_and.accumulate(above, axis=1)
    return used


def configurations(
    used: NDArray[np.bool_], settings: ForcesConfig, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the configurations whose forces are computed.

    Args:
        used: Which records there are, shape [run, time].
        settings: How many, and which.
        seed: The study's seed.

    Returns:
        Run and record of each, in the order of the runs.
    """
    first = len(used) if settings.runs == "all" else settings.runs
    runs, records = np.nonzero(used[:first])
    if settings.configurations == "all" or settings.configurations >= len(runs):
        return runs, records
    if settings.draw == "first":
        return runs[: settings.configurations], records[: settings.configurations]
    order = generator(seed, "configurations").permutation(len(runs))
    chosen = np.sort(order[: settings.configurations])
    return runs[chosen], records[chosen]


def known_coordinates(system: ForceSystem, particles: int) -> NDArray[np.bool_]:
    """Whether the rate of each coordinate stands in the state itself, shape [N]."""
    return np.tile([name in system.known for name in system.space.components], particles)


def draw_coordinates(
    system: ForceSystem,
    particles: int,
    number: int | str,
    seed: int,
    samples: Sequence[int] | NDArray[np.int64],
) -> NDArray[np.int64]:
    """Draw the coordinates of each configuration whose forces are computed.

    Args:
        system: Says which rates are known, and which forces come together.
        particles: Particles of a state.
        number: Coordinates, or particles whose forces come together; ``all`` of them.
        seed: The study's seed.
        samples: Numbers of the configurations, each of which has a stream of its own.

    Returns:
        Sorted numbers of coordinates, shape [sample, p].
    """
    unknown = np.flatnonzero(~known_coordinates(system, particles))
    units = unknown.reshape(particles, -1) if system.together else unknown[:, None]
    if number == "all" or int(number) >= len(units):
        return np.tile(np.sort(units.ravel()), (len(samples), 1))
    found = np.empty((len(samples), int(number), units.shape[1]), np.int64)
    for row, sample in enumerate(samples):
        rng = generator(seed, "coordinates", int(sample))
        found[row] = units[rng.choice(len(units), int(number), replace=False, shuffle=False)]
    return np.sort(found.reshape(len(samples), -1), axis=1)
