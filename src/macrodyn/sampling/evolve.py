"""Step 3: pairs before and after a short time, for m patches of each snapshot or for the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import ALONE, PatchGeometry, Surroundings, Tiling
from macrodyn.sampling.cost import Cost
from macrodyn.streams import Seeds, substreams
from macrodyn.systems import PatchSystem
from macrodyn.systems.windows import cut_windows, whole_window

EVENTS_IN_BUFFER = (
    "events in the buffer would be counted as the patch's, which would move less by an unknown "
    "part: set evolve.buffer to 0, or evolve.stop to time"
)


@dataclass(frozen=True)
class Pairs:
    """States before and after, and what they mean for the observables.

    Attributes:
        before: [sample, patch, channel, *patch].
        after: [sample, patch, lag, channel, *patch].
        increments: Observables' increments, [sample, patch, lag, observable].
        elapsed: Physical time, [sample, patch, lag].
        compensators: Integral of the observables' expected rates along the path, of the same mean
            as the increments, [sample, patch, lag, observable]; no observable where the system
            does not say them, or events end the evolution.
        rate_excess: Expected rates by the patch less those by the whole, before, [sample, patch,
            observable]: of mean zero over the patches that may be drawn. No observable where the
            system does not say them.
        origins: First site of each patch, [sample, patch, dimension].
        moved: Patches with their buffers afterwards, [sample, patch, lag, channel, *patch.active];
            no channel where there is no buffer, as ``after`` tells all.
        noise: Noise that has driven the same sites, shaped alike; no channel where the system does
            not tell it.
    """

    before: NDArray
    after: NDArray
    increments: NDArray[np.float64]
    elapsed: NDArray[np.float64]
    compensators: NDArray[np.float64]
    rate_excess: NDArray[np.float64]
    origins: NDArray[np.int64]
    moved: NDArray
    noise: NDArray


def evolve_patches(
    system: PatchSystem,
    states: NDArray,
    patch: PatchGeometry,
    *,
    number: int,
    dt: float,
    lags: Sequence[int],
    keys: Seeds,
    cost: Cost,
    events: int | None = None,
) -> Pairs:
    """Evolve m randomly chosen patches of every snapshot, its surroundings frozen.

    Each patch is evolved alone; patches of one snapshot do not see each other's evolution.

    Args:
        system: The system.
        states: Large snapshots, [sample, channel, *lattice].
        patch: Geometry of the patches.
        number: m, how many of the K patches of the tiling; drawn without repeats.
        dt: Physical time of a pair.
        lags: Increasing multiples of dt (or of ``events``) to record.
        keys: One stream per snapshot.
        cost: Adds up what it costs.
        events: If given, each lag's unit is this number of events instead of dt.

    Returns:
        Pairs with a patch axis of length m.

    Raises:
        ValueError: If windows do not fit into the lattice, or if events would be those of a buffer
            as well.
    """
    patch.check(states.shape[2:], system.periodic)
    if events is not None and patch.buffer:
        raise ValueError(EVENTS_IN_BUFFER)
    tiling = Tiling(states.shape[2:], patch.shape)
    origins = tiling.origins()
    chosen = np.stack(
        [
            np.random.Generator(np.random.Philox(key=int(key))).permutation(tiling.number)[:number]
            for key in substreams(keys, 0)
        ]
    )
    windows, around = cut_windows(system, states, origins[chosen], patch)
    patch_keys = substreams(np.repeat(keys, number), np.tile(np.arange(1, number + 1), len(states)))

    def evolve(now: NDArray, units: int, k: Seeds) -> _Step:
        if events is None and system.knows_rates:
            return _compensated(system, now, patch, units * dt, k, around)
        count = None if events is None else units * events
        return _Step(*system.evolve_patch(now, patch, units * dt, k, count, around))

    pairs = _evolve_lags(
        windows,
        evolve,
        lambda before, after: system.observable_increment(before, after, patch, around),
        patch,
        lags,
        patch_keys,
    )
    if not np.isfinite(pairs["elapsed"]).all():
        raise ValueError(
            "a patch waits for ever for its events: set evolve.stop to time, or choose other "
            "system.parameters"
        )
    cost.add(int(np.prod(patch.active)), pairs["elapsed"][..., -1])
    batched = {name: a.reshape(len(states), number, *a.shape[1:]) for name, a in pairs.items()}
    excess = np.empty((len(states), number, 0))
    if system.knows_rates:
        rates = system.expected_rates(windows, patch, around).reshape(len(states), number, -1)
        excess = rates - system.expected_rates(*whole_window(system, states))[:, None]
    return Pairs(**batched, rate_excess=excess, origins=origins[chosen])


def evolve_whole(
    system: PatchSystem,
    states: NDArray,
    *,
    dt: float,
    lags: Sequence[int],
    keys: Seeds,
    cost: Cost,
) -> Pairs:
    """Evolve whole systems: the exact pairs of a system of that size.

    To a system that says its expected rates the whole is a patch without surroundings.

    Args:
        system: The system.
        states: Snapshots, [sample, channel, *lattice].
        dt: Physical time of a pair.
        lags: Increasing multiples of dt to record.
        keys: One stream per snapshot.
        cost: Adds up what it costs.

    Returns:
        Pairs with a patch axis of length 1: the whole.
    """
    windows, around = states, ALONE
    patch = PatchGeometry(states.shape[2:], boundary="periodic")
    if system.knows_rates:
        windows, patch, around = whole_window(system, states)

    def evolve(now: NDArray, units: int, k: Seeds) -> _Step:
        if system.knows_rates:
            return _compensated(system, now, patch, units * dt, k, around)
        return _Step(system.evolve(now, units * dt, k), np.full(len(now), units * dt))

    def increment(before: NDArray, after: NDArray) -> NDArray:
        before, after = patch.cut(before), patch.cut(after)
        return system.observe(np.ascontiguousarray(after)) - system.observe(
            np.ascontiguousarray(before)
        )

    pairs = _evolve_lags(windows, evolve, increment, patch, lags, substreams(keys, 1))
    cost.add(len(states) * int(np.prod(states.shape[2:])), dt * max(lags))
    first = np.zeros((len(states), 1, states.ndim - 2), dtype=np.int64)
    nothing = np.empty((len(states), 1, 0))
    batched = {name: a[:, None] for name, a in pairs.items()}
    return Pairs(**batched, rate_excess=nothing, origins=first)


class _Step(NamedTuple):
    """Windows afterwards, the time that passed, A and the noise where the system tells them."""

    windows: NDArray
    elapsed: NDArray[np.float64]
    compensator: NDArray[np.float64] | None = None
    noise: NDArray | None = None


def _compensated(
    system: PatchSystem,
    windows: NDArray,
    patch: PatchGeometry,
    duration: float,
    keys: Seeds,
    around: Surroundings,
) -> _Step:
    """Evolve with compensators, and with noise where the system tells it."""
    noise = None
    if system.knows_noise:
        now, compensator, noise = system.evolve_driven(windows, patch, duration, keys, around)
    else:
        now, compensator = system.evolve_compensated(windows, patch, duration, keys, around)
    return _Step(now, np.full(len(now), duration), compensator, noise)


def _evolve_lags(
    states: NDArray,
    evolve: Callable[[NDArray, int, Seeds], _Step],
    increment: Callable[[NDArray, NDArray], NDArray],
    patch: PatchGeometry,
    lags: Sequence[int],
    keys: Seeds,
) -> dict[str, NDArray]:
    """Evolve from lag to lag; everything is still flat: [sample, lag, ...]."""
    moving: tuple[Any, ...] = (..., *patch.moving)
    after, increments, elapsed, moved, compensators, noises = [], [], [], [], [], []
    now, done, time = states, 0, np.zeros(len(states))
    integral: NDArray | float = 0.0
    kicks: NDArray | float = 0.0
    for i, lag in enumerate(lags):
        step = evolve(now, lag - done, substreams(keys, i))
        now, done, time = step.windows, lag, time + step.elapsed
        integral = integral + _or_nothing(step.compensator, (len(now), 0))
        kicks = kicks + _or_nothing(step.noise, (len(now), 0, *now.shape[2:]))
        after.append(patch.cut(now))
        moved.append(now[moving] if patch.buffer else now[moving][:, :0])
        increments.append(increment(states, now))
        elapsed.append(time)
        compensators.append(integral)
        noises.append(kicks[moving])
    several = {
        "after": after,
        "increments": increments,
        "elapsed": elapsed,
        "moved": moved,
        "compensators": compensators,
        "noise": noises,
    }
    stacked = {name: np.stack(parts, axis=1) for name, parts in several.items()}
    return {"before": patch.cut(states), **stacked}


def _or_nothing(values: NDArray | None, shape: tuple[int, ...]) -> NDArray:
    return np.empty(shape) if values is None else values
