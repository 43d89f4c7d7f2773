"""Barriers of a vacancy's eight jumps from the species around it: compiled, with a cache."""

from __future__ import annotations

import numpy as np
from numba import njit

from macrodyn.systems.nbmota.crystal import VACANCY

SLOTS = 1 << 15
"""Slots of the cache of surroundings, a power of two."""
# How many slots are looked at for one.
_PROBES = 4


@njit(cache=True)
def look(state, vacancy, channels, cells, around):  # type: ignore[no-untyped-def]
    """Read the species around a vacancy."""
    c = vacancy[0]
    nx, ny, nz = state.shape[1:]
    for j in range(channels.shape[1]):
        x = vacancy[1] + cells[c, j, 0]
        y = vacancy[2] + cells[c, j, 1]
        z = vacancy[3] + cells[c, j, 2]
        # Farther than a period away only in the smallest blocks.
        while x < 0:
            x += nx
        while x >= nx:
            x -= nx
        while y < 0:
            y += ny
        while y >= ny:
            y -= ny
        while z < 0:
            z += nz
        while z >= nz:
            z -= nz
        around[j] = state[channels[c, j], x, y, z]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def evaluate(around, jumpers, nets, adds, barriers):  # type: ignore[no-untyped-def]
    """Barriers of the eight jumps from the species around a vacancy."""
    sites, rows, table, bias, weights, biases, out, level, rectified = nets
    width = table.shape[2]
    x = np.empty((8, width), np.float32)
    for d in range(8):
        atom = around[jumpers[d]]
        for w in range(width):
            x[d, w] = bias[atom, w]
        # Four at a time: a row of x is then read and written a quarter as often.
        whole = rows.shape[1] // 4 * 4
        for k in range(0, whole, 4):
            a, b, c, e = rows[d, k], rows[d, k + 1], rows[d, k + 2], rows[d, k + 3]
            of_a, of_b = around[sites[d, k]], around[sites[d, k + 1]]
            of_c, of_e = around[sites[d, k + 2]], around[sites[d, k + 3]]
            for w in range(width):
                x[d, w] += (table[a, of_a, w] + table[b, of_b, w]) + (
                    table[c, of_c, w] + table[e, of_e, w]
                )
        for k in range(whole, rows.shape[1]):
            row, species = rows[d, k], around[sites[d, k]]
            for w in range(width):
                x[d, w] += table[row, species, w]
    _activate(x, rectified)
    y = np.empty_like(x)
    for layer in range(len(biases)):
        _layer(x, weights[layer], biases[layer], y)
        x, y = y, x
        _activate(x, rectified)
    kinds = adds.shape[1]
    added = np.zeros(8 * kinds)
    even = len(adds) // 2 * 2
    for j in range(0, even, 2):
        one, other = around[j], around[j + 1]
        for w in range(len(added)):
            added[w] += adds[j, one, w] + adds[j + 1, other, w]
    for j in range(even, len(adds)):
        for w in range(len(added)):
            added[w] += adds[j, around[j], w]
    for d in range(8):
        atom = around[jumpers[d]]
        if atom == VACANCY:
            barriers[d] = np.inf
            continue
        total = np.float32(0.0)
        for w in range(width):
            total += x[d, w] * out[atom, w]
        barriers[d] = total + level[atom] + added[kinds * d + atom]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _layer(x, weights, biases, y):  # type: ignore[no-untyped-def]
    """Write x W + b to y, eight rows, as many inputs as outputs.

    So small a product is several times faster as these loops than by a library: four rows share
    what is read of W, and two of its rows are added at once.
    """
    width = weights.shape[0]
    even = width // 2 * 2
    for d in range(0, 8, 4):
        for w in range(width):
            y[d, w] = y[d + 1, w] = y[d + 2, w] = y[d + 3, w] = biases[w]
        for k in range(0, even, 2):
            a0, a1, a2, a3 = x[d, k], x[d + 1, k], x[d + 2, k], x[d + 3, k]
            b0, b1, b2, b3 = x[d, k + 1], x[d + 1, k + 1], x[d + 2, k + 1], x[d + 3, k + 1]
            for w in range(width):
                first, second = weights[k, w], weights[k + 1, w]
                y[d, w] += a0 * first + b0 * second
                y[d + 1, w] += a1 * first + b1 * second
                y[d + 2, w] += a2 * first + b2 * second
                y[d + 3, w] += a3 * first + b3 * second
        for k in range(even, width):
            for row in range(d, d + 4):
                for w in range(width):
                    y[row, w] += x[row, k] * weights[k, w]


@njit(cache=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _activate(x, rectified):  # type: ignore[no-untyped-def]
    one, two, most = np.float32(1.0), np.float32(2.0), np.float32(9.0)
    for d in range(x.shape[0]):
        for w in range(x.shape[1]):
            if rectified:
                x[d, w] = max(x[d, w], np.float32(0.0))
            else:
                # A hyperbolic tangent to 1e-7 that a compiler makes of many numbers at once.
                e = np.exp(-two * min(abs(x[d, w]), most))
                x[d, w] = np.copysign((one - e) / (one + e), x[d, w])


@njit(cache=True)
def _digest(around):  # type: ignore[no-untyped-def]
    """A 64-bit digest of the species around a vacancy, never 0.

    Two of a million different surroundings share one with a chance of 1e-8.
    """
    value = np.uint64(0x243F6A8885A308D3)
    word = np.uint64(0)
    for j in range(len(around)):
        word = (word << np.uint64(2)) | np.uint64(around[j])
        if j % 32 == 31 or j == len(around) - 1:
            value = (value ^ word) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(29)
            value *= np.uint64(0xBF58476D1CE4E5B9)
            value ^= value >> np.uint64(32)
            word = np.uint64(0)
    return value | np.uint64(1)


@njit(cache=True)
def recall(around, jumpers, nets, adds, memory, barriers):  # type: ignore[no-untyped-def]
    """Barriers from the cache, or computed and kept; whether they were computed."""
    keys, kept = memory
    if len(keys) == 0:
        evaluate(around, jumpers, nets, adds, barriers)
        return 1
    key = _digest(around)
    first = np.int64(key >> np.uint64(33)) % len(keys)
    slot = first
    for probe in range(_PROBES):
        here = (first + probe) % len(keys)
        if keys[here] == key:
            barriers[:] = kept[here]
            return 0
        if keys[here] == 0:
            slot = here
            break
    evaluate(around, jumpers, nets, adds, barriers)
    keys[slot] = key
    kept[slot] = barriers
    return 1
