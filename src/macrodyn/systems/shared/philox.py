"""Philox-4x32-10, the counter-based generator of the microscopic kernels.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11. The bits
depend on (key, counter) alone; blocks of them are made in one vectorised loop.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Weyl and multiplier constants of the paper.
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_TWO_32 = 2.0**32

# A spin kernel's sequences: what its attempts draw, their number, and what single events draw.
LANE_ATTEMPTS, LANE_COUNT, LANE_EVENTS = np.uint64(0), np.uint64(1), np.uint64(2)
CHUNK = 128  # blocks of random words made at once: 256 attempts


@njit(inline="always")
def philox_block(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds on one counter; all words are uint64 that hold 32 bits."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@njit(cache=True)
def fill_words(
    words: NDArray, key: np.uint64, lane: np.uint64, first: np.uint64, blocks: int
) -> None:
    """Fill ``words[:4 * blocks]`` (uint32) with counters ``first ... first + blocks - 1``.

    Args:
        words: Output, uint32.
        key: 64-bit key of the stream, uint64.
        lane: Which of the key's independent sequences, uint64 below 2^32.
        first: First counter, uint64.
        blocks: How many counters.
    """
    k0 = key & _LOW
    k1 = key >> _32
    for i in range(blocks):
        counter = first + np.uint64(i)
        a, b, c, d = philox_block(counter & _LOW, counter >> _32, lane, np.uint64(0), k0, k1)
        words[i] = np.uint32(a)
        words[blocks + i] = np.uint32(b)
        words[2 * blocks + i] = np.uint32(c)
        words[3 * blocks + i] = np.uint32(d)


@njit(inline="always")
def uniform52(high, low):  # type: ignore[no-untyped-def]
    """Make a uniform number in (0, 1), never 0 or 1, with 52 random bits from two 32-bit words."""
    bits = ((np.uint64(high) << _32) | np.uint64(low)) >> np.uint64(12)
    return (np.float64(bits) + 0.5) * 2.0**-52


@njit(cache=True)
def uniform_pair(key: np.uint64, lane: np.uint64, counter: np.uint64) -> tuple[float, float]:
    """Two uniform numbers in (0, 1) at one counter of a stream."""
    a, b, c, d = philox_block(
        counter & _LOW, counter >> _32, lane, np.uint64(0), key & _LOW, key >> _32
    )
    return uniform52(a, b), uniform52(c, d)


@njit(cache=True)
def poisson(mean: float, key: np.uint64, lane: np.uint64) -> int:
    """Draw one Poisson number, exact up to rounding of the uniform numbers.

    Small means by inversion; means of 10 and more by transformed rejection with squeeze (PTRS;
    Hormann, Insurance: Mathematics and Economics 12, 39 (1993)).

    Args:
        mean: The mean, >= 0.
        key: 64-bit key of the stream.
        lane: The stream's sequence that is used up by this draw.
    """
    if mean <= 0.0:
        return 0
    if mean < 10.0:
        u, _ = uniform_pair(key, lane, np.uint64(0))
        term = math.exp(-mean)
        total, k = term, 0
        while u > total and k < 200:
            k += 1
            term *= mean / k
            total += term
        return k
    root = math.sqrt(mean)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    squeeze = 0.9277 - 3.6224 / (b - 2.0)
    log_mean = math.log(mean)
    counter = np.uint64(0)
    while True:
        u, v = uniform_pair(key, lane, counter)
        counter += np.uint64(1)
        u -= 0.5
        us = 0.5 - abs(u)
        k = math.floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= squeeze:
            return int(k)
        if k < 0 or (us < 0.013 and v > us):
            continue
        if math.log(v * inverse_alpha / (a / (us * us) + b)) <= (
            k * log_mean - mean - math.lgamma(k + 1.0)
        ):
            return int(k)
