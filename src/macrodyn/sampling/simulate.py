"""Step 1: simulate many small systems; and direct simulation of large ones for reference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.sampling.groups import Groups, by_condition
from macrodyn.sampling.variables import axis_names, state_attributes
from macrodyn.sampling.work import Work
from macrodyn.streams import Seeds, seeds, substreams
from macrodyn.systems import PatchSystem


def simulate_small(
    system: PatchSystem,
    groups: Groups,
    shape: Shape,
    *,
    replicas: int,
    times: Sequence[float],
    seed: int,
    work: Work,
) -> xr.Dataset:
    """Make the snapshot set D_s for some groups.

    Args:
        system: The system.
        groups: Groups to simulate.
        shape: The small lattice.
        replicas: Small systems in each group.
        times: Snapshot times, increasing, >= 0.
        seed: The study's seed.
        work: Goes through the trajectories, and adds up what they cost.

    Returns:
        ``states`` [group, time, replica, channel, *lattice] with the groups' macrostates and
        conditions.
    """
    parts = list(by_condition(system, groups.condition_names, groups.condition_values))
    # Trajectories stand in the order of the parts: each part, an interval of time, is a segment.
    order = np.concatenate([which for _, which in parts])
    group, replica = np.repeat(order, replicas), np.tile(np.arange(replicas), len(order))
    numbers = groups.index[group] * replicas + replica
    first = np.cumsum([0, *(len(which) * replicas for _, which in parts)])
    rows_of = [slice(a, b) for a, b in pairwise(first)]
    begin = seeds(seed, "initial", index=numbers)
    macrostate = groups.macrostate[group]
    keys = seeds(seed, "simulate", index=numbers)
    arrays = {
        "now": np.concatenate(
            [
                part.initial_states(macrostate[rows], shape, begin[rows])
                for (part, _), rows in zip(parts, rows_of, strict=True)
            ]
        ),
        "states": np.empty(
            (len(groups), len(times), replicas, system.channels, *shape), system.dtype
        ),
    }
    segments = list(product(range(len(parts)), range(len(times))))
    for segment, block in work.blocks(
        [rows_of[p].stop - rows_of[p].start for p, _ in segments], arrays
    ):
        p, i = segments[segment]
        rows = slice(rows_of[p].start + block.start, rows_of[p].start + block.stop)
        _advance(parts[p][0], arrays["now"], rows, times, i, keys)
        arrays["states"][group[rows], i, replica[rows]] = arrays["now"][rows]
        work.cost.add((block.stop - block.start) * int(np.prod(shape)), _interval(times, i))
    dims = ("group", "time", "replica", "channel", *axis_names(len(shape)))
    return xr.Dataset(
        {
            "states": (dims, arrays["states"], state_attributes(system)),
            "macrostate": (
                ("group", "component"),
                groups.macrostate,
                {"long_name": "initial macrostate"},
            ),
            "condition_values": (("group", "condition"), groups.condition_values),
        },
        coords={
            "group": groups.index,
            "time": ("time", np.asarray(times, float), {"units": system.time_unit}),
            "component": list(groups.components),
            "condition": list(groups.condition_names),
        },
    )


def simulate_reference(
    system: PatchSystem,
    shape: Shape,
    *,
    initial: NDArray[np.float64],
    numbers: NDArray[np.int64],
    times: Sequence[float],
    seed: int,
    work: Work,
    examples: Sequence[int] = (0,),
    example_bytes: int = 2**25,
) -> xr.Dataset:
    """Simulate large systems directly, to compare with.

    Args:
        system: The system.
        shape: The large lattice.
        initial: Initial macrostate of each trajectory, [trajectory, component].
        numbers: Global numbers of the trajectories, which name their streams.
        times: Record times, increasing, >= 0.
        seed: The study's seed.
        work: Goes through the trajectories, and adds up what they cost.
        examples: Global numbers of trajectories whose states are kept for figures.
        example_bytes: Most memory for these states. Where those of all record times need more,
            early times are kept more densely than late ones.

    Returns:
        ``observables`` [trajectory, time, observable], and of the examples among them
        ``example_states`` [example, example_time, channel, *lattice].
    """
    begin = seeds(seed, "reference-initial", index=numbers)
    keys = seeds(seed, "reference", index=numbers)
    now = system.initial_states(initial, shape, begin)
    shown = np.flatnonzero(np.isin(numbers, examples))
    moments = _thinned(len(times), example_bytes // (max(len(examples), 1) * now[:1].nbytes))
    arrays = {
        "now": now,
        "values": np.empty((len(initial), len(times), len(system.observables))),
        "examples": np.empty((len(shown), len(moments), *now.shape[1:]), now.dtype),
    }
    for i, rows in work.blocks([len(initial)] * len(times), arrays):
        _advance(system, arrays["now"], rows, times, i, keys)
        arrays["values"][rows, i] = system.observe(arrays["now"][rows])
        for example in np.flatnonzero((shown >= rows.start) & (shown < rows.stop)):
            arrays["examples"][example, moments == i] = arrays["now"][shown[example]]
        work.cost.add((rows.stop - rows.start) * int(np.prod(shape)), _interval(times, i))
    attributes = {"long_name": "macroscopic observables of the large system", "units": "1"}
    return xr.Dataset(
        {
            "observables": (
                ("trajectory", "time", "observable"),
                arrays["values"],
                attributes,
            ),
            "number": ("trajectory", numbers),
            "example_states": (
                ("example", "example_time", "channel", *axis_names(len(shape))),
                arrays["examples"],
                state_attributes(system),
            ),
            "example_number": ("example", numbers[shown]),
        },
        coords={
            "example_time": (
                "example_time",
                np.asarray(times, float)[moments],
                {"long_name": "time of the example's state", "units": system.time_unit},
            ),
            "time": ("time", np.asarray(times, float), {"units": system.time_unit}),
            "observable": list(system.observable_names),
        },
    )


def _thinned(count: int, most: int) -> NDArray[np.int64]:
    """Choose at least two of so many record times, the first and the last among them.

    Small systems are seen at early times: these are kept more densely.
    """
    if count <= most:
        return np.arange(count)
    places = np.geomspace(1, count, max(most, 2)).round().astype(np.int64) - 1
    return np.unique(places)


def _interval(times: Sequence[float], i: int) -> float:
    """Time from the record before record i, or from 0."""
    return times[i] - (times[i - 1] if i else 0.0)


def _advance(
    system: PatchSystem, now: NDArray, rows: slice, times: Sequence[float], i: int, keys: Seeds
) -> None:
    """Evolve some states, in place, from the record before record i to it."""
    if times[i] > (times[i - 1] if i else 0.0):
        now[rows] = system.evolve(now[rows], _interval(times, i), substreams(keys[rows], i))
