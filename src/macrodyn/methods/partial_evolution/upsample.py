"""Step 2 of the workflow: a shard of large snapshots from small ones."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, upsampling_levels
from macrodyn.methods.partial_evolution.chains import shown_record, upsample_chains
from macrodyn.methods.partial_evolution.config import RelaxationConfig, UpsampleConfig
from macrodyn.methods.partial_evolution.samples import as_samples, condition_names
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.stage_system import stage_system
from macrodyn.sampling.groups import by_condition
from macrodyn.sampling.relax import Relaxation
from macrodyn.sampling.upsample import upsample_pools
from macrodyn.sampling.variables import axis_names, state_attributes
from macrodyn.sampling.work import Work
from macrodyn.storage.netcdf import pad_examples, read_dataset
from macrodyn.streams import seeds, substreams
from macrodyn.systems import PatchSystem

# Snapshots of each level that are kept for figures.
EXAMPLES = 3


def upsample(job: Job) -> xr.Dataset:
    """Upsample and relax the snapshots of one shard's groups.

    Returns:
        The large snapshots, and a few examples of every level before and after relaxation.

    Raises:
        ValueError: If the lattices are equal and there are too few replicas to take.
    """
    config = job.config
    chains = UpsampleConfig(**config["upsample"]).chains
    system = stage_system(job, job.device)
    whole = read_dataset(job.input("small"))
    source = whole.isel(group=slice(job.shard, None, job.shards))
    if not chains:
        _check_replicas(source, config)
    shown = np.flatnonzero(np.isin(source.group.values, _example_groups(whole.group.values)))
    work = job.work("upsample", source.states.values, source.time.values)
    arrays = (upsample_chains if chains else _upsample)(system, source, config, shown, work)
    ages = [age for chain in chains for age in chain.ages] if chains else None
    data = as_samples(source, arrays.pop("states"), ages)
    data["states"].attrs = state_attributes(system)
    told = "age of the snapshot" if chains else "time of the small snapshot"
    data["time"].attrs = {"long_name": told, "units": system.time_unit}
    if arrays:
        data["example_number"] = ("example", source.group.values[shown])
    for name, states in arrays.items():
        axes = axis_names(system.dimension, f"{name.rpartition('_')[0]}_")
        data[name] = (("example", "channel", *axes), states, state_attributes(system))
    data = pad_examples(data, len(_example_groups(whole.group.values)))
    if chains:
        chain, record = shown_record(chains)
        ages_shown = {
            "example_from": chains[chain].start,
            "example_age": chains[chain].ages[record],
        }
        data = data.assign_attrs(ages_shown)
    return data.assign_attrs(site_updates=work.cost.site_updates)


def _check_replicas(source: xr.Dataset, config: dict[str, Any]) -> None:
    """Where nothing is upsampled, every large snapshot is a small system of its own."""
    replicas, settings = source.sizes["replica"], UpsampleConfig(**config["upsample"])
    if source.states.shape[4:] == tuple(config["large"]) and replicas < settings.begun:
        each = f" / {settings.records.number} records of each" if settings.records else ""
        raise ValueError(
            f"simulate.replicas ({replicas}) must be at least upsample.snapshots "
            f"({settings.snapshots}){each} where the small lattice is the large one"
        )


def _example_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose a few groups that are spread over all."""
    places = np.unique(np.linspace(0, len(groups) - 1, EXAMPLES).round())
    return groups[places.astype(int)]


def _upsample(
    system: PatchSystem,
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
    parts = by_condition(system, condition_names(source), source.condition_values.values)
    segments = list(product(parts, range(len(times))))
    for segment, block in work.blocks([len(rows) for (_, rows), _ in segments], arrays):
        (part, rows), t = segments[segment]
        rows = rows[block]
        final = small[rows, t, : settings.begun]
        levels = upsample_pools(
            part,
            small[rows, t],
            large,
            method=settings.method,
            number=settings.begun,
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
        if settings.equilibrate:
            names = [(int(groups[row]), t) for row in rows]
            final = _equilibrated(part, final, settings, config["seed"], names, work)
        arrays["states"][rows, t] = final
    return arrays


def _equilibrated(
    system: PatchSystem,
    states: NDArray,
    settings: UpsampleConfig,
    seed: int,
    names: list[tuple[int, int]],
    work: Work,
) -> NDArray:
    """Move snapshots of pools, [pool, begun, ...], by moves that lead to equilibrium.

    Returns:
        [pool, snapshot, ...], the records of a chain one after the other.
    """
    pools, begun, *state = states.shape
    keys = np.concatenate([seeds(seed, "equilibrate", *name, index=begun) for name in names])
    now = states.reshape(-1, *state)
    records = [system.equilibrate(now, settings.equilibrate, keys, first=True)]
    sweeps = settings.equilibrate
    if settings.records is not None:
        for i in range(1, settings.records.number):
            own = substreams(keys, i)
            records.append(system.equilibrate(records[-1], settings.records.spacing, own))
            sweeps += settings.records.spacing
    # A sweep tries every site about once.
    work.cost.add(now[0, 0].size * len(now), float(sweeps))
    return np.stack(records, axis=1).reshape(pools, -1, *state)


def _relaxation(settings: RelaxationConfig, age: float) -> Relaxation:
    duration = min(settings.duration, age) if settings.up_to_age else settings.duration
    return Relaxation(duration, settings.sweep)
