"""Expected rate of change of m by patches, at a moment and integrated along a path.

A flip of spin s changes the sum of spins by -2 s, so that u spins up among the p of a patch, with
the rates w of their level, change its mean spin at the rate

    L m = (2 / p) ((p - u) w_down - u w_up).

Under uniformisation the N attempts in a time t fall at random: given the chain of states, each of
the N + 1 intervals between them lasts t / (N + 1) on average. The sum of L m over the states, times
that, has the mean of the increment for any t. The rejection-free way knows its waiting times and
integrates L m over them.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from macrodyn.systems.curie_weiss.kernels import choose_site, flip_thresholds, sort_sites
from macrodyn.systems.shared.philox import (
    CHUNK,
    LANE_ATTEMPTS,
    LANE_COUNT,
    LANE_EVENTS,
    fill_words,
    poisson,
    uniform_pair,
)


def expected_rates(
    blocks: NDArray, levels: NDArray, rates: NDArray, counted: NDArray
) -> NDArray[np.float64]:
    """Expected rates of the mean spin of patches, given the spins that move with them.

    Args:
        blocks: Spins that move, [batch, sites], int8.
        levels: Row of the table at which each whole would be with all these spins down, [batch].
        rates: Rates of down and up spins, [levels, 2], see `kernels.rate_table`.
        counted: Whether a site belongs to the patch, not to its buffer, [sites].

    Returns:
        Per sweep, [batch].
    """
    up = blocks > 0
    down_rate, up_rate = rates[levels + up.sum(axis=1)].T
    patch, ups = int(counted.sum()), up[:, counted].sum(axis=1)
    return 2.0 / patch * ((patch - ups) * down_rate - ups * up_rate)


@njit(parallel=True, cache=True)
def advance(
    blocks: NDArray,
    levels: NDArray,
    rates: NDArray,
    counted: NDArray,
    duration: float,
    keys: NDArray,
    few: float,
) -> NDArray[np.float64]:
    """Advance a batch of blocks in place, and integrate their expected rates.

    The same algorithms and streams as `kernels.advance`, and so the same states.

    Args:
        blocks: Spins that move, [batch, sites], int8.
        levels: Row of the table at which each whole would be with all these spins down, [batch].
        rates: Rates of down and up spins, [levels, 2].
        counted: Whether a site belongs to the patch, not to its buffer, [sites].
        duration: Time to advance by.
        keys: One stream per block, [batch], uint64.
        few: Mean rate below which a block goes the rejection-free way.

    Returns:
        A of the patches' mean spins, [batch].
    """
    batch, sites = blocks.shape
    thresholds = flip_thresholds(rates)
    result = np.empty(batch, dtype=np.float64)
    for b in prange(batch):
        x = blocks[b]
        ups = 0
        for site in range(sites):
            ups += x[site] > 0
        level = levels[b] + ups
        mean_rate = ((sites - ups) * rates[level, 0] + ups * rates[level, 1]) / sites
        if mean_rate < few:
            result[b] = _integrate_flips(x, level, rates, counted, duration, keys[b])
        else:
            attempts = poisson(duration * sites, keys[b], LANE_COUNT)
            total = _sum_attempts(x, level, rates, thresholds, counted, attempts, keys[b])
            result[b] = total * duration / (attempts + 1)
    return 2.0 / counted.sum() * result


@njit(cache=True)
def _counts(x: NDArray, counted: NDArray) -> tuple[int, int]:
    """Spins down and spins up of the patch."""
    downs, ups = 0, 0
    for site in range(x.size):
        if counted[site]:
            ups += x[site] > 0
            downs += x[site] < 0
    return downs, ups


@njit(cache=True)
def _sum_attempts(
    x: NDArray,
    level: int,
    rates: NDArray,
    thresholds: NDArray,
    counted: NDArray,
    attempts: int,
    key: np.uint64,
) -> float:
    """Make attempts as `kernels.make_attempts` does, and sum p L m / 2 over the N + 1 states."""
    words = np.empty(4 * CHUNK, dtype=np.uint32)
    sites = np.uint64(x.size)
    unused = np.uint64((np.uint64(2**32) - sites) % sites)
    counter = np.uint64(0)
    row = np.int64(level)
    left = attempts
    downs, ups = _counts(x, counted)
    total = downs * rates[row, 0] - ups * rates[row, 1]
    while left > 0:
        blocks = min(CHUNK, (left + 1) // 2)
        fill_words(words, key, LANE_ATTEMPTS, counter, blocks)
        counter += np.uint64(blocks)
        for a in range(2 * blocks):
            drawn = np.uint64(words[a]) * sites
            if left == 0 or (drawn & np.uint64(0xFFFFFFFF)) < unused:
                continue
            left -= 1
            site = drawn >> np.uint64(32)
            spin = np.int64(x[site])
            accepted = np.int64(np.uint64(words[2 * blocks + a]) < thresholds[row, (spin + 1) >> 1])
            x[site] = spin * (1 - 2 * accepted)
            row -= spin * accepted
            step = int(spin * accepted * counted[site])
            downs += step
            ups -= step
            total += downs * rates[row, 0] - ups * rates[row, 1]
    return total


@njit(cache=True)
def _integrate_flips(
    x: NDArray, level: int, rates: NDArray, counted: NDArray, duration: float, key: np.uint64
) -> float:
    """Advance flip by flip as `kernels.make_flips` does, and integrate p L m / 2."""
    order = np.empty(x.size, dtype=np.int64)
    downs, ups = sort_sites(x, order)
    patch_downs, patch_ups = _counts(x, counted)
    integral = 0.0
    time = 0.0
    counter = np.uint64(0)
    while True:
        rate = patch_downs * rates[level, 0] - patch_ups * rates[level, 1]
        total = downs * rates[level, 0] + ups * rates[level, 1]
        if total <= 0.0:
            return integral + (duration - time) * rate
        u, v = uniform_pair(key, LANE_EVENTS, counter)
        counter += np.uint64(1)
        wait = -math.log(u) / total
        if time + wait > duration:
            return integral + (duration - time) * rate
        time += wait
        integral += wait * rate
        site, step = choose_site(order, downs, ups, rates, level, v)
        x[site] = step
        downs -= step
        ups += step
        level += step
        if counted[site]:
            patch_downs -= step
            patch_ups += step
