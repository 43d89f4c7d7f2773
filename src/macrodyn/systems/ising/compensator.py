"""Expected rates of change of (m, rho), at a moment and integrated along a path.

Both rates are sums over sites of terms that depend on the site's class alone: a flip of spin s
among neighbours of sum k changes the sum of spins by -2 s and the number of unlike bonds by s k.

Under uniformisation the N attempts in a time t fall at random: given the chain of states, each of
the N + 1 intervals between them lasts t / (N + 1) on average, whatever happened. So

    A = t / (N + 1) * sum_k L phi(x_k),  k = 0 ... N,

is the mean of the integral of L phi over the path given the chain: of the same mean as the
increment, for any t, and with less variance than the integral itself.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from macrodyn.systems.ising.kernels import (
    CLASSES,
    WORDS,
    _class,
    _flip,
    flip_thresholds,
    mirror,
    site_tables,
)
from macrodyn.systems.shared.philox import CHUNK, LANE_ATTEMPTS, LANE_COUNT, fill_words, poisson


def class_rates(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates of change of the sum of spins and of half the unlike bonds by a site of each class.

    Args:
        rates: Flip rates of the ten classes, see `kernels.flip_rates`.

    Returns:
        Shape [10, 2].
    """
    spin, neighbours = np.meshgrid([-1.0, 1.0], [-4.0, -2.0, 0.0, 2.0, 4.0], indexing="ij")
    changes = np.stack([-2.0 * spin, 0.5 * spin * neighbours], axis=-1)
    return rates[:, None] * changes.reshape(CLASSES, 2)


def class_covariances(rates: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """Covariance rates of the sum of spins and of half the unlike bonds by a site of each class.

    Args:
        rates: Flip rates of the ten classes, see `kernels.flip_rates`.

    Returns:
        Rates times the products of the first change with both, and of the second with both, shape
        [10, 2] each.
    """
    changes = class_rates(np.ones_like(rates))
    first, second = (rates[:, None] * changes[:, [k]] * changes for k in range(2))
    return first, second


@njit(parallel=True, cache=True)
def expected_rates(
    blocks: NDArray, periodic: bool, buffer: int, class_rates: NDArray
) -> NDArray[np.float64]:
    """Expected rates of (m, rho) by the sites of blocks, without those of a buffer.

    Args:
        blocks: Spins with a rim of one, [batch, rows + 2, columns + 2], int8.
        periodic: Whether the rim mirrors the block (it is then set here) or is frozen.
        buffer: Sites at each side that do not count.
        class_rates: See `class_rates`.

    Returns:
        [batch, 2], per site that counts.
    """
    batch, height, width = blocks.shape
    rows, columns = height - 2, width - 2
    place, ghosts, _ = site_tables(rows, columns, periodic)
    counted = _counted(rows, columns, buffer)
    result = np.empty((batch, 2), dtype=np.float64)
    for b in prange(batch):
        x = blocks[b].reshape(height * width)
        if periodic:
            mirror(x, place, ghosts)
        first = 0.0
        second = 0.0
        for s in range(place.size):
            if counted[s]:
                c = _class(x, place[s], width)
                first += class_rates[c, 0]
                second += class_rates[c, 1]
        result[b, 0] = first
        result[b, 1] = second
    return result / counted.sum()


@njit(cache=True)
def _counted(rows: int, columns: int, buffer: int) -> NDArray:
    """Which sites of a block belong to the patch, not to its buffer: [n]."""
    counted = np.zeros((rows, columns), dtype=np.bool_)
    counted[buffer : rows - buffer, buffer : columns - buffer] = True
    return counted.reshape(rows * columns)


@njit(parallel=True, cache=True)
def advance(
    blocks: NDArray,
    periodic: bool,
    buffer: int,
    rates: NDArray,
    class_rates: NDArray,
    duration: float,
    keys: NDArray,
) -> NDArray[np.float64]:
    """Advance padded blocks in place by uniformisation, and integrate their expected rates.

    The same streams as `kernels.advance`, and so the same states.

    Args:
        blocks: Spins with a rim of one, [batch, rows + 2, columns + 2], int8.
        periodic: Whether the rim mirrors the block (it is then set here) or is frozen.
        buffer: Sites at each side that move but do not count.
        rates: Rates of the ten classes.
        class_rates: See `class_rates`.
        duration: Time to advance by.
        keys: One stream per block, [batch], uint64.

    Returns:
        A of (m, rho), [batch, 2].
    """
    batch, height, width = blocks.shape
    rows, columns = height - 2, width - 2
    sites = rows * columns
    place, ghosts, site_at = site_tables(rows, columns, periodic)
    counted = _counted(rows, columns, buffer)
    thresholds = flip_thresholds(rates)
    result = np.empty((batch, 2), dtype=np.float64)
    for b in prange(batch):
        x = blocks[b].reshape(height * width)
        corner = x[0]
        if periodic:
            mirror(x, place, ghosts)
        attempts = poisson(duration * sites, keys[b], LANE_COUNT)
        first, second = _sum_rates(
            x, width, place, ghosts, site_at, counted, thresholds, class_rates, attempts, keys[b]
        )
        result[b, 0] = first
        result[b, 1] = second
        x[0] = corner
        result[b] *= duration / (attempts + 1)
    return result / counted.sum()


@njit(cache=True)
def _sum_rates(
    x: NDArray,
    width: int,
    place: NDArray,
    ghosts: NDArray,
    site_at: NDArray,
    counted: NDArray,
    thresholds: NDArray,
    class_rates: NDArray,
    attempts: int,
    key: np.uint64,
) -> tuple[float, float]:
    """Make attempts as `kernels.make_attempts` does, and sum L phi over the states between them."""
    words = np.empty(WORDS, dtype=np.uint32)
    cls = np.empty(place.size, dtype=np.int8)
    rate_0 = 0.0
    rate_1 = 0.0
    for s in range(place.size):
        c = _class(x, place[s], width)
        cls[s] = c
        if counted[s]:
            rate_0 += class_rates[c, 0]
            rate_1 += class_rates[c, 1]
    sum_0 = 0.0
    sum_1 = 0.0
    sites = np.uint64(place.size)
    unused = np.uint64((np.uint64(2**32) - sites) % sites)
    counter = np.uint64(0)
    left = attempts
    since = attempts + 1
    while left > 0:
        blocks = min(CHUNK, (left + 1) // 2)
        fill_words(words, key, LANE_ATTEMPTS, counter, blocks)
        counter += np.uint64(blocks)
        for a in range(2 * blocks):
            if left == 0:
                break
            drawn = np.uint64(words[a]) * sites
            if (drawn & np.uint64(0xFFFFFFFF)) < unused:
                continue
            left -= 1
            site = drawn >> np.uint64(32)
            p = place[site]
            if np.uint64(words[2 * blocks + a]) >= thresholds[cls[site]]:
                continue
            states = since - left - 1
            sum_0 += states * rate_0
            sum_1 += states * rate_1
            since = left + 1
            _flip(x, p, ghosts, site)
            for step in (0, -1, 1, -width, width):
                s = site_at[p + step]
                if s < 0:
                    continue
                c = _class(x, place[s], width)
                if counted[s]:
                    rate_0 += class_rates[c, 0] - class_rates[cls[s], 0]
                    rate_1 += class_rates[c, 1] - class_rates[cls[s], 1]
                cls[s] = c
    return sum_0 + since * rate_0, sum_1 + since * rate_1
