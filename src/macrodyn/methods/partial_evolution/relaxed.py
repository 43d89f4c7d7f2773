"""For how long each large snapshot of a run relaxed, and whether that was enough."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.relaxation import RelaxationTest, compare_relaxations
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.partial_evolution.diagnose import shortest_lag


def records(run: PartialEvolutionRun) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Age of each record of a group, in the order of the snapshots, and for how long it relaxed.

    The latter is NaN of snapshots that were not put together from small ones: these go on from
    states of the large system, and no time is too short for them.
    """
    upsample, times = run.upsample, np.array(run.simulate.times, dtype=float)
    if upsample.chains:
        known = [
            (age, time if chain.start > 0 else np.nan)
            for chain in upsample.chains
            for age, time in zip(chain.ages, chain.after, strict=True)
        ]
        ages, relaxed = np.array(known).T
        return ages, relaxed
    if run.sizes.small == run.trained[0]:
        return times, np.full_like(times, np.nan)
    longest = upsample.relaxation.duration
    short = upsample.relaxation.up_to_age
    return times, np.minimum(times, longest) if short else np.full_like(times, longest)


def judge_relaxation(
    run: PartialEvolutionRun, latents: xr.Dataset, drift: NDArray[np.float64]
) -> RelaxationTest:
    """Compare the increments of the shortest lag by the snapshots' relaxation.

    Args:
        run: The run.
        latents: Its latents, group by group, as the snapshots were made.
        drift: The mean drift at the samples, shape [sample, variable].

    Raises:
        Unavailable: If the snapshots tell nothing of it.
    """
    group = np.asarray(latents["group"].values, np.int64)
    ages, relaxed = (np.repeat(values, run.upsample.snapshots) for values in records(run))
    number = len(group) // len(ages)
    if not np.array_equal(latents["time"].values, np.tile(ages, number)):
        raise Unavailable("the snapshots do not stand in the order in which they were made")
    relaxed = np.tile(relaxed, number)
    rows = np.flatnonzero(np.isfinite(relaxed))
    if not len(rows):
        raise Unavailable("no snapshot was put together from small ones")
    increment, elapsed = shortest_lag(latents)
    return compare_relaxations(
        increment[rows],
        elapsed[rows],
        drift[rows],
        duration=relaxed[rows],
        group=group[rows],
    )
