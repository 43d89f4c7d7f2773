"""Equal time steps between the times at which a trajectory is recorded."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def step_count(duration: float, step: float) -> int:
    """Number of equal steps that make up a duration, none longer than ``step``.

    A duration that is a multiple of the step to within 1e-9 of itself takes just that many; zero
    takes none.

    Args:
        duration: Time to integrate over, >= 0.
        step: Longest step.

    Returns:
        The smallest sufficient number of steps.
    """
    if duration == 0:
        return 0
    return max(1, math.ceil(duration / step * (1.0 - 1e-9)))


def record_steps(
    times: NDArray[np.float64], step: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cut the time before each record, from 0 or from the record before, into equal steps.

    Args:
        times: Record times, growing, shape [time]; the first may be 0.
        step: Longest step.

    Returns:
        Number of steps before each record and their length, shape [time] each.

    Raises:
        ValueError: If the times are negative, not finite, or do not grow.
    """
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1:
        raise ValueError(f"times have the shape {times.shape}: give one list of record times")
    durations = np.diff(times, prepend=0.0)
    right = np.isfinite(durations) & (durations > 0)
    right[:1] |= times[:1] == 0
    if not right.all():
        number = int(np.flatnonzero(~right)[0])
        raise ValueError(
            f"record time {number} is {times[number]}: times must be finite, grow, and begin at 0 "
            "or later"
        )
    counts = np.array([step_count(float(one), step) for one in durations], dtype=np.int64)
    return counts, durations / np.maximum(counts, 1)
