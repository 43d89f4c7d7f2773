"""Exact continuous-time Glauber dynamics of spins in the mean field of all others.

A spin's rate depends on its own sign and on how many spins of the whole are up, and on nothing
else. All kernels therefore take a block of spins and the number of spins up outside it, which stay
as they are: one kernel serves whole systems and patches. Rates are tabulated, level by level; a
level is a number of spins up in the whole.

Two algorithms that are equal in distribution:

- *Uniformisation* (Jensen 1953): every rate is <= 1, so in a time t there are Poisson(n t)
  attempts, each at a uniform site of the n of the block, accepted with the site's rate.
- *Rejection-free* (Bortz, Kalos, Lebowitz 1975), with two classes of sites, up and down: each step
  is a flip. It is the faster where few attempts are accepted, and can count events.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from macrodyn.systems.shared.philox import (
    CHUNK,
    LANE_ATTEMPTS,
    LANE_COUNT,
    LANE_EVENTS,
    fill_words,
    poisson,
    uniform_pair,
)

# Below this mean rate a flip of the rejection-free way costs less than the attempts it replaces.
FEW_ACCEPTED = 0.15


def flip_rates(
    magnetisation: ArrayLike, sites: int, temperature: float, field: float
) -> NDArray[np.float64]:
    """Glauber rates of a down spin and of an up spin.

    The flip of s_i changes H = -(1/n) sum_{i<j} s_i s_j - h sum_i s_i by
    dE_i = 2 s_i ((M - s_i) / n + h), with M the sum of all spins; its rate is
    1 / (1 + exp(dE_i / T)).

    Args:
        magnetisation: M / n of the whole, any shape.
        sites: n, sites of the whole.
        temperature: T > 0, in units of the coupling over k_B.
        field: h, in units of the coupling.

    Returns:
        Shape [..., 2]: the rate of a spin -1, of a spin +1, per sweep.
    """
    m = np.asarray(magnetisation, dtype=np.float64)
    with np.errstate(over="ignore"):
        down = 2.0 * (m + 1.0 / sites + field) / temperature
        up = -2.0 * (m - 1.0 / sites + field) / temperature
    return np.stack([expit(down), expit(up)], axis=-1)


def rate_table(
    lowest: int, highest: int, sites: int, temperature: float, field: float
) -> NDArray[np.float64]:
    """Flip rates by level.

    Args:
        lowest: The least number of spins up in the whole.
        highest: The greatest.
        sites: n, sites of the whole.
        temperature: T > 0.
        field: h.

    Returns:
        Shape [highest - lowest + 1, 2]: see `flip_rates`; row 0 belongs to ``lowest``.
    """
    ups = np.arange(lowest, highest + 1)
    return flip_rates((2 * ups - sites) / sites, sites, temperature, field)


@njit(cache=True)
def flip_thresholds(rates: NDArray) -> NDArray:
    """Flip probabilities [levels, 2] times 2^32, to be compared with random words, uint64."""
    thresholds = np.empty(rates.shape, dtype=np.uint64)
    for row in range(rates.shape[0]):
        for s in range(2):
            thresholds[row, s] = np.uint64(np.round(rates[row, s] * 2.0**32))
    return thresholds


@njit(cache=True)
def make_attempts(
    x: NDArray, level: int, thresholds: NDArray, attempts: int, key: np.uint64
) -> int:
    """Make a number of attempts on one block, in place: uniformisation.

    Args:
        x: Spins, flat, int8.
        level: Row of the table at which the whole begins.
        thresholds: Flip probabilities of down and up spins times 2^32, [levels, 2], uint64.
        attempts: Number of attempts.
        key: 64-bit key of the stream.

    Returns:
        The number of flips.
    """
    words = np.empty(4 * CHUNK, dtype=np.uint32)
    sites = np.uint64(x.size)
    # Words whose product with n has a low half below this would favour some sites: not used.
    unused = np.uint64((np.uint64(2**32) - sites) % sites)
    counter = np.uint64(0)
    flips = np.int64(0)
    row = np.int64(level)
    left = attempts
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
            threshold = thresholds[row, (spin + 1) >> 1]
            # Half of the attempts may be accepted: a branch here would be guessed wrongly.
            accepted = np.int64(np.uint64(words[2 * blocks + a]) < threshold)
            x[site] = spin * (1 - 2 * accepted)
            row -= spin * accepted
            flips += accepted
    return int(flips)


@njit(inline="always")
def sort_sites(x, order):  # type: ignore[no-untyped-def]
    """List the sites, those down, then those up; return the numbers of both."""
    downs, ups = 0, 0
    for site in range(x.size):
        if x[site] < 0:
            order[downs] = site
            downs += 1
        else:
            ups += 1
            order[x.size - ups] = site
    return downs, ups


@njit(inline="always")
def choose_site(order, downs, ups, rates, level, v):  # type: ignore[no-untyped-def]
    """Choose the site that flips, by a uniform number v, and the spin that it gets.

    It changes places with the one at the border of its class, which moves.
    """
    upwards, downwards = downs * rates[level, 0], ups * rates[level, 1]
    target = v * (upwards + downwards)
    if downwards == 0.0 or target < upwards:
        chosen = min(int(target / rates[level, 0]), downs - 1)
        border = downs - 1
        step = 1
    else:
        chosen = downs + min(int((target - upwards) / rates[level, 1]), ups - 1)
        border = downs
        step = -1
    site = order[chosen]
    order[chosen] = order[border]
    order[border] = site
    return site, step


@njit(cache=True)
def make_flips(
    x: NDArray, level: int, rates: NDArray, duration: float, events: int, key: np.uint64
) -> tuple[int, float]:
    """Advance one block flip by flip, in place: the rejection-free way.

    Args:
        x: Spins, flat, int8.
        level: Row of the table at which the whole begins.
        rates: Rates of down and up spins, [levels, 2].
        duration: Time to advance by, used if ``events`` is negative.
        events: Number of flips to make, or -1.
        key: 64-bit key of the stream.

    Returns:
        The number of flips and the time that passed; infinity if events that were asked for can
        never happen, all rates being zero.
    """
    order = np.empty(x.size, dtype=np.int64)
    downs, ups = sort_sites(x, order)
    time = 0.0
    flips = 0
    counter = np.uint64(0)
    while events < 0 or flips < events:
        total = downs * rates[level, 0] + ups * rates[level, 1]
        if total <= 0.0:
            return flips, duration if events < 0 else np.inf
        u, v = uniform_pair(key, LANE_EVENTS, counter)
        counter += np.uint64(1)
        wait = -math.log(u) / total
        if events < 0 and time + wait > duration:
            return flips, duration
        time += wait
        site, step = choose_site(order, downs, ups, rates, level, v)
        x[site] = step
        downs -= step
        ups += step
        level += step
        flips += 1
    return flips, time


@njit(parallel=True, cache=True)
def advance(
    blocks: NDArray,
    levels: NDArray,
    rates: NDArray,
    duration: float,
    events: int,
    keys: NDArray,
    few: float,
) -> tuple[NDArray, NDArray, NDArray]:
    """Advance a batch of blocks in place, one thread a block at a time.

    Args:
        blocks: Spins that move, [batch, sites], int8.
        levels: Row of the table at which each whole would be with all these spins down, [batch].
        rates: Rates of down and up spins, [levels, 2], see `rate_table`.
        duration: Time to advance by.
        events: Number of flips to make instead, or -1.
        keys: One stream per block, [batch], uint64.
        few: Mean rate below which a block goes the rejection-free way, as all do with events.

    Returns:
        Elapsed time [batch], site updates (attempts, or flips of the rejection-free way) [batch],
        flips [batch].
    """
    batch, sites = blocks.shape
    thresholds = flip_thresholds(rates)
    elapsed = np.empty(batch, dtype=np.float64)
    updates = np.empty(batch, dtype=np.int64)
    flips = np.empty(batch, dtype=np.int64)
    for b in prange(batch):
        x = blocks[b]
        ups = 0
        for site in range(sites):
            ups += x[site] > 0
        level = levels[b] + ups
        mean_rate = ((sites - ups) * rates[level, 0] + ups * rates[level, 1]) / sites
        if events >= 0 or mean_rate < few:
            f, t = make_flips(x, level, rates, duration, events, keys[b])
            elapsed[b], updates[b], flips[b] = t, f, f
        else:
            attempts = poisson(duration * sites, keys[b], LANE_COUNT)
            f = make_attempts(x, level, thresholds, attempts, keys[b])
            elapsed[b], updates[b], flips[b] = duration, attempts, f
    return elapsed, updates, flips
