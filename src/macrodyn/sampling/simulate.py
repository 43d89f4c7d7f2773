"""Step 1: simulate many small systems; and direct simulation of large ones for reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.lattice import Shape
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.groups import Groups, by_condition
from macrodyn.sampling.variables import axis_names, state_attributes
from macrodyn.streams import Seeds, seeds, substreams
from macrodyn.systems import System

Progress = Callable[[Iterable, str], Iterable]


def plain_progress(iterable: Iterable, _: str) -> Iterable:
    """Show no progress."""
    return iterable


def record(
    system: System,
    states: NDArray,
    times: Sequence[float],
    keys: Seeds,
    visit: Callable[[int, NDArray], None],
    progress: Progress = plain_progress,
    label: str = "simulate",
) -> NDArray:
    """Evolve whole systems and call ``visit(time index, states)`` at each time.

    Args:
        system: The system.
        states: States at time 0, [batch, channel, *lattice].
        times: Increasing times, >= 0.
        keys: One stream per state.
        visit: Called at each time.
        progress: Wraps the loop over the times to show progress.
        label: What the progress is called.

    Returns:
        The states at the last time.
    """
    now = 0.0
    for i, time in enumerate(progress(list(times), label)):
        if time > now:
            states = system.evolve(states, time - now, substreams(keys, i))
            now = time
        visit(i, states)
    return states


def simulate_small(
    system: System,
    groups: Groups,
    shape: Shape,
    *,
    replicas: int,
    times: Sequence[float],
    seed: int,
    cost: Cost,
    progress: Progress = plain_progress,
) -> xr.Dataset:
    """Make the snapshot set D_s for some groups.

    Args:
        system: The system.
        groups: Groups to simulate.
        shape: The small lattice.
        replicas: Small systems in each group.
        times: Snapshot times.
        seed: The study's seed.
        cost: Adds up what it costs.
        progress: Wraps the loop over the times.

    Returns:
        ``states`` [group, time, replica, channel, *lattice] with the groups' macrostates and
        conditions.
    """
    n_groups, n_times = len(groups), len(times)
    stored = np.empty((n_groups, n_times, replicas, system.channels, *shape), dtype=system.dtype)
    for part, which in by_condition(system, groups.condition_names, groups.condition_values):
        macrostate = np.repeat(groups.macrostate[which], replicas)
        numbers = (groups.index[which, None] * replicas + np.arange(replicas)).ravel()
        states = part.initial_states(macrostate, shape, seeds(seed, "initial", index=numbers))

        def visit(i: int, now: NDArray, rows: NDArray = which) -> None:
            stored[rows, i] = now.reshape(len(rows), replicas, *now.shape[1:])

        keys = seeds(seed, "simulate", index=numbers)
        record(part, states, times, keys, visit, progress)
    cost.add(n_groups * replicas * int(np.prod(shape)), max(times))
    dims = ("group", "time", "replica", "channel", *axis_names(len(shape)))
    return xr.Dataset(
        {
            "states": (dims, stored, state_attributes(system)),
            "macrostate": ("group", groups.macrostate, {"long_name": "initial macrostate"}),
            "condition_values": (("group", "condition"), groups.condition_values),
        },
        coords={
            "group": groups.index,
            "time": ("time", np.asarray(times, float), {"units": system.time_unit}),
            "condition": list(groups.condition_names),
        },
    )


def simulate_reference(
    system: System,
    shape: Shape,
    *,
    initial: NDArray[np.float64],
    numbers: NDArray[np.int64],
    times: Sequence[float],
    seed: int,
    cost: Cost,
    examples: int = 2,
    progress: Progress = plain_progress,
) -> xr.Dataset:
    """Simulate large systems directly, to compare with.

    Args:
        system: The system.
        shape: The large lattice.
        initial: Initial macrostate of each trajectory, [trajectory].
        numbers: Global numbers of the trajectories, which name their streams.
        times: Record times, beginning with 0.
        seed: The study's seed.
        cost: Adds up what it costs.
        examples: Trajectories whose final states are kept for figures.
        progress: Wraps the loop over the times.

    Returns:
        ``observables`` [trajectory, time, observable], ``final_states`` of the first examples.
    """
    states = system.initial_states(initial, shape, seeds(seed, "reference-initial", index=numbers))
    values = np.empty((len(initial), len(times), len(system.observables)))

    def visit(i: int, now: NDArray) -> None:
        values[:, i] = system.observe(now)

    keys = seeds(seed, "reference", index=numbers)
    final = record(system, states, times, keys, visit, progress, "reference")
    cost.add(len(initial) * int(np.prod(shape)), max(times))
    attributes = {"long_name": "macroscopic observables of the large system", "units": "1"}
    return xr.Dataset(
        {
            "observables": (("trajectory", "time", "observable"), values, attributes),
            "initial": ("trajectory", np.asarray(initial, float)),
            "number": ("trajectory", numbers),
            "final_states": (
                ("example", "channel", *axis_names(len(shape))),
                final[:examples],
                state_attributes(system),
            ),
        },
        coords={
            "time": ("time", np.asarray(times, float), {"units": system.time_unit}),
            "observable": list(system.observables),
        },
    )
