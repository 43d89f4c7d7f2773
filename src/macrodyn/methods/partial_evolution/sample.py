"""The sampling stages: configuration and input files to data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Tiling
from macrodyn.methods.partial_evolution.config import EvolveConfig, HorizonConfig, SimulateConfig
from macrodyn.methods.partial_evolution.samples import condition_names, snapshots
from macrodyn.paths import StrPath
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import described_system, stage_system
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.equilibrium import sample_equilibrium
from macrodyn.sampling.evolve import Pairs, evolve_patches, evolve_whole
from macrodyn.sampling.groups import by_condition, initial_ranges, initial_values, make_groups
from macrodyn.sampling.simulate import simulate_reference, simulate_small
from macrodyn.sampling.variables import axis_names, state_attributes
from macrodyn.sampling.work import Work
from macrodyn.storage.netcdf import pad_examples
from macrodyn.storage.sealed import read_sealed_json
from macrodyn.streams import seeds
from macrodyn.systems import PatchSystem

# Snapshots whose patches are evolved together: a bound on memory.
_MOST_SAMPLES = 512


def simulate(job: Job) -> xr.Dataset:
    """Simulate the small systems of one shard's groups."""
    config, settings = job.config, SimulateConfig(**job.config["simulate"])
    system = stage_system(job)
    ranges = initial_ranges(system, settings.initial_range)
    groups = make_groups(settings.groups, ranges, config["conditions"], config["seed"])
    groups = groups.shard(job.shard, job.shards)
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


def evolve(job: Job) -> xr.Dataset:
    """Make the pairs of one shard's snapshots: patches of large ones, or whole systems."""
    config, scope = job.config, job.config["scope"]
    system = stage_system(job, job.device)
    samples = snapshots(job.input("states"), scope, config)
    samples = samples.isel(sample=slice(job.shard, None, job.shards))
    settings = EvolveConfig(**config["evolve"])
    if settings.automatic:
        settings = settings.model_copy(update=chosen(job.input("choice")))
    keys = seeds(config["seed"], "evolve", scope, index=samples.number.values)
    work = job.work("evolve", samples.states.values, samples.number.values)
    pairs = evolve_samples(system, samples, config, settings, keys, work)
    data = _pairs_dataset(system, samples, pairs, settings.lags)
    if scope == "partial":
        data = data.assign_attrs(boundary=settings.boundary, buffer=settings.buffer)
    shape = samples.states.shape[2:]
    total = Tiling(shape, tuple(config["patch"])).number if scope == "partial" else 1
    return data.assign_attrs(
        patches_total=total, dt=settings.dt, scope=scope, site_updates=work.cost.site_updates
    )


def chosen(path: StrPath) -> dict[str, Any]:
    """Read which dt and buffer were chosen from data."""
    choice = read_sealed_json(path)["chosen"]
    return {"dt": choice["dt"], "buffer": choice["buffer"]}


def evolve_samples(
    system: PatchSystem,
    samples: xr.Dataset,
    config: dict[str, Any],
    settings: EvolveConfig,
    keys: NDArray[np.uint64],
    work: Work,
) -> Pairs:
    """Make pairs of samples, each under its own conditions.

    Args:
        system: The system with its own parameters.
        samples: The snapshots, see `samples.as_samples`.
        config: The stage's configuration, with ``scope`` and ``patch``.
        settings: How to evolve; dt and buffer are numbers.
        keys: One stream per snapshot.
        work: Goes through the snapshots, and adds up what they cost.
    """
    names = condition_names(samples)
    parts = list(by_condition(system, names, samples.condition_values.values))
    arrays: dict[str, NDArray] = {}
    for p, block in work.blocks([len(rows) for _, rows in parts], arrays, most=_MOST_SAMPLES):
        part, rows = parts[p][0], parts[p][1][block]
        now = samples.states.values[rows]
        pairs = vars(_evolve_states(part, now, config, settings, keys[rows], work.cost))
        work.fill(arrays, pairs, rows, samples.sizes["sample"])
    return Pairs(**arrays)


def _evolve_states(
    system: PatchSystem,
    states: NDArray,
    config: dict[str, Any],
    settings: EvolveConfig,
    keys: NDArray[np.uint64],
    cost: Cost,
) -> Pairs:
    assert settings.dt != "auto"
    assert settings.buffer != "auto"
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


def _pairs_dataset(
    system: PatchSystem, samples: xr.Dataset, pairs: Pairs, lags: Sequence[int]
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
            "origin": (
                ("sample", "patch", "axis"),
                pairs.origins,
                {"long_name": "first site of the patch", "units": "1"},
            ),
            **_moved(system, pairs),
            "increments": (
                (*lead, "observable"),
                pairs.increments,
                {"long_name": "increments of the observables over a patch", "units": "1"},
            ),
            **_rates(pairs, system.time_unit),
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
            "observable": list(system.observable_names),
            "condition": samples.condition.values,
        },
    )


def _moved(system: PatchSystem, pairs: Pairs) -> dict[str, Any]:
    """Patches with their buffers afterwards, and their noise, where there are any."""
    axes = axis_names(system.dimension, "active_")
    dims = ("sample", "patch", "lag", "channel", *axes)
    found: dict[str, Any] = {}
    if pairs.moved.shape[3]:
        found["moved"] = (dims, pairs.moved, state_attributes(system))
    if pairs.noise.shape[3]:
        text = "noise of the sites, summed along the path"
        found["noise"] = (dims, pairs.noise, {"long_name": text, "units": "1"})
    return found


def _rates(pairs: Pairs, unit: str) -> dict[str, Any]:
    """What follows from the expected rates, where the system says them."""
    found: dict[str, Any] = {}
    if pairs.compensators.shape[3]:
        found["compensators"] = (
            ("sample", "patch", "lag", "observable"),
            pairs.compensators,
            {
                "long_name": "integral of the observables' expected rates over the pair",
                "units": "1",
            },
        )
    if pairs.rate_excess.shape[2]:
        found["rate_excess"] = (
            ("sample", "patch", "observable"),
            pairs.rate_excess,
            {
                "long_name": "expected rates by the patch less those by the whole",
                "units": f"1/({unit})",
            },
        )
    return found


def record_times(horizons: dict[str, dict[str, Any]]) -> list[float]:
    """Return the sorted union of all horizons' record times."""
    times: set[float] = set()
    for horizon in horizons.values():
        times.update(horizon_times(HorizonConfig(**horizon)))
    return sorted(times)


def horizon_times(horizon: HorizonConfig) -> list[float]:
    """Return a horizon's record times.

    They are rounded to 15 digits, whatever their unit, so that equal times of two horizons are
    equal: in binary, 3 * 0.1 is not 0.3.
    """
    return [float(f"{i * horizon.spacing:.15g}") for i in range(horizon.points)]


def reference(job: Job) -> xr.Dataset:
    """Simulate one shard's trajectories of the large system."""
    config = job.config
    system = stage_system(job)
    initial, numbers = _dealt(job, system, config["replicas"])
    examples = _examples(len(initial), config["replicas"])
    work = job.work("reference")
    data = simulate_reference(
        system,
        tuple(config["large"]),
        initial=initial[numbers],
        numbers=numbers,
        times=record_times(config["horizons"]),
        seed=config["seed"],
        work=work,
        examples=examples,
    )
    data = pad_examples(data, len(examples))
    return data.assign_attrs(site_updates=work.cost.site_updates)


def equilibrium(job: Job) -> xr.Dataset:
    """Sample one shard's chains of the large system's equilibrium."""
    config, settings = job.config, job.config["equilibrium"]
    system = stage_system(job)
    initial, numbers = _dealt(job, system, settings["replicas"])
    work = job.work("equilibrium")
    data = sample_equilibrium(
        system,
        tuple(config["large"]),
        initial=initial[numbers],
        numbers=numbers,
        burn_in=settings["burn_in"],
        samples=settings["samples"],
        spacing=settings["spacing"],
        seed=config["seed"],
        work=work,
    )
    return data.assign_attrs(site_updates=work.cost.site_updates)


def order_equilibrium(data: xr.Dataset, config: dict[str, Any]) -> xr.Dataset:
    """Turn gathered chains into [initial, replica, sample, observable]."""
    values = data.observables.values
    ordered = values.reshape(-1, config["equilibrium"]["replicas"], *values.shape[1:])
    dims = ("initial", "replica", "sample", "observable")
    return xr.Dataset(
        {"observables": (dims, ordered, data.observables.attrs)},
        coords={"observable": data.observable},
        attrs=data.attrs,
    )


def _dealt(
    job: Job, system: PatchSystem, replicas: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Initial macrostates of all trajectories, and the numbers of those of one shard."""
    initial = initial_values(system, job.config["initial"]).repeat(replicas, axis=0)
    # Dealt out in turn, so that every shard has the same mixture and takes as long.
    return initial, np.arange(len(initial))[job.shard :: job.shards]


def _examples(trajectories: int, replicas: int) -> list[int]:
    """Number of the first trajectory of the first, the middle and the last initial macrostate."""
    begin = range(0, trajectories, replicas)
    return sorted({begin[0], begin[len(begin) // 2], begin[-1]})


def order_reference(data: xr.Dataset, config: dict[str, Any]) -> xr.Dataset:
    """Turn gathered trajectories into [initial, replica, time, observable]."""
    system = described_system(config)
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
            "example_states": data.example_states,
        },
        coords={
            "example_time": data.example_time,
            "component": list(system.component_names),
            "time": data.time,
            "observable": data.observable,
        },
        attrs=data.attrs,
    )
