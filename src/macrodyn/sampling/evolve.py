"""Step 3: pairs before and after a short time, for m patches of each snapshot or for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Tiling
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.patches import cut_windows
from macrodyn.streams import Seeds, substreams
from macrodyn.systems import System


@dataclass(frozen=True)
class Pairs:
    """States before and after, and what they mean for the observables.

    Attributes:
        before: [sample, patch, channel, *patch].
        after: [sample, patch, lag, channel, *patch].
        increments: Observables' increments, [sample, patch, lag, observable].
        elapsed: Physical time, [sample, patch, lag].
    """

    before: NDArray
    after: NDArray
    increments: NDArray[np.float64]
    elapsed: NDArray[np.float64]


def evolve_patches(
    system: System,
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
    """
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
    pairs = _evolve_lags(
        windows,
        lambda now, units, k: system.evolve_patch(
            now, patch, units * dt, k, None if events is None else units * events, around
        ),
        lambda before, after: system.observable_increment(before, after, patch, around),
        patch.cut,
        lags,
        patch_keys,
    )
    if not np.isfinite(pairs.elapsed).all():
        raise ValueError(
            "a patch waits for ever for its events: set evolve.stop to time, or choose other "
            "system.parameters"
        )
    cost.add(int(np.prod(patch.active)), pairs.elapsed[..., -1])
    return Pairs(*(a.reshape(len(states), number, *a.shape[1:]) for a in vars(pairs).values()))


def evolve_whole(
    system: System,
    states: NDArray,
    *,
    dt: float,
    lags: Sequence[int],
    keys: Seeds,
    cost: Cost,
) -> Pairs:
    """Evolve whole systems: the exact pairs of a system of that size.

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

    def evolve(now: NDArray, units: int, k: Seeds) -> tuple[NDArray, NDArray]:
        return system.evolve(now, units * dt, k), np.full(len(now), units * dt)

    pairs = _evolve_lags(
        states,
        evolve,
        lambda before, after: system.observe(after) - system.observe(before),
        lambda s: s,
        lags,
        substreams(keys, 1),
    )
    cost.add(len(states) * int(np.prod(states.shape[2:])), dt * max(lags))
    return Pairs(*(a[:, None] for a in vars(pairs).values()))


def _evolve_lags(states, evolve, increment, cut, lags, keys):  # type: ignore[no-untyped-def]
    """Evolve from lag to lag; everything is still flat: [sample, lag, ...]."""
    after, increments, elapsed = [], [], []
    now, done, time = states, 0, np.zeros(len(states))
    for i, lag in enumerate(lags):
        now, passed = evolve(now, lag - done, substreams(keys, i))
        time, done = time + passed, lag
        after.append(cut(now))
        increments.append(increment(states, now))
        elapsed.append(time)
    return Pairs(
        cut(states),
        np.stack(after, axis=1),
        np.stack(increments, axis=1),
        np.stack(elapsed, axis=1),
    )
