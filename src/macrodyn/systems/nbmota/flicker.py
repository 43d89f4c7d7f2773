"""Exact exits of a vacancy that jumps to and fro among a few states.

The states form a tree: each is reached from another by one jump of the same vacancy. With A the
rates among them and, on its diagonal, less all rates out of a state, what is still within after a
time t is exp(A t). A chain on a tree keeps detailed balance whatever its rates are, so that A is
similar to a symmetric matrix.

Source: Novotny, Phys. Rev. Lett. 74, 1 (1995), for absorbing Markov chains in kinetic Monte Carlo.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LARGEST = 4
"""Most states of a chain."""
# Bisections and Newton steps until the time of an exit has settled.
_STEPS = 200


@njit(cache=True)
def leave(within, out, start, first, second, limit):  # type: ignore[no-untyped-def]
    """Draw when a chain is left, and from which of its states.

    Args:
        within: Rates from state to state of the chain, zero but along its tree, shape [n, n]; where
            one direction is not zero, nor is the other.
        out: Rate out of the chain from each state, shape [n], not all zero.
        start: Where it is at first.
        first: A uniform number, for the time.
        second: A uniform number, for the state.
        limit: Time after which it does not matter.

    Returns:
        The time of the exit, or the limit if that comes first; the state that it is in at the time,
        given that it leaves then, or has not left; what is left of the second number, which is
        uniform again; and whether it has left.
    """
    n = len(out)
    # Logarithms of the weights in which the chain keeps detailed balance.
    weight = np.full(n, np.nan)
    weight[start] = 0.0
    for _ in range(n):
        for i in range(n):
            for j in range(n):
                if within[i, j] > 0.0 and not np.isnan(weight[i]) and np.isnan(weight[j]):
                    weight[j] = weight[i] + math.log(within[i, j] / within[j, i])
    symmetric = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            symmetric[i, j] = math.sqrt(within[i, j] * within[j, i])
        symmetric[i, i] = -(within[i].sum() + out[i])
    values, vectors = np.linalg.eigh(symmetric)
    # What is in state j at t is the sum over k of parts[j, k] exp(values[k] t).
    parts = np.empty((n, n))
    for j in range(n):
        parts[j] = math.exp(0.5 * weight[j]) * vectors[start] * vectors[j]
    together = parts.sum(axis=0)
    left = _left(together, values, limit)[0] <= first
    time = limit
    if left:
        time = _time_of(together, values, first, limit)
    chances = np.empty(n)
    for j in range(n):
        chances[j] = max((parts[j] * np.exp(values * time)).sum(), 0.0)
        if left:
            chances[j] *= out[j]
    aim = second * chances.sum()
    for j in range(n):
        if aim < chances[j] or j == n - 1:
            break
        aim -= chances[j]
    return time, j, min(aim / chances[j], 1.0), left


@njit(cache=True)
def _left(together, values, time):  # type: ignore[no-untyped-def]
    """What is still in the chain after a time, and its slope."""
    if not np.isfinite(time):
        return 0.0, 0.0
    share, slope = 0.0, 0.0
    for k in range(len(values)):
        part = together[k] * math.exp(values[k] * time)
        share += part
        slope += values[k] * part
    return share, slope


@njit(cache=True)
def _time_of(together, values, share, limit):  # type: ignore[no-untyped-def]
    """The time at which a share is still in the chain: Newton's steps within a bracket."""
    low, high = 0.0, limit
    time = -math.log(share) / -values.max()
    if not low < time < high:
        time = 0.5 * high
    for _ in range(_STEPS):
        found, slope = _left(together, values, time)
        if found > share:
            low = time
        else:
            high = time
        # In the logarithm of the share, which is nearly a line in the end.
        step = 0.0
        if found > 0.0 and slope < 0.0:
            step = found * math.log(share / found) / slope
        new = time + step
        if not low < new < high:
            new = 0.5 * (low + high) if np.isfinite(high) else 2.0 * time
        if abs(new - time) <= 1e-14 * time:
            return new
        time = new
    return time
