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
def evaluate(around, jumpers, nets, pairs, barriers):  # type: ignore[no-untyped-def]
    """Barriers of the eight jumps from the species around a vacancy."""
    sites, rows, table, lines, bias, weights, biases, out, level, rectified = nets
    places, steps, changes = pairs
    width = table.shape[2]
    x = np.empty((8, width), np.float32)
    for d in range(8):
        atom = around[jumpers[d]]
        for w in range(width):
            x[d, w] = bias[atom, w]
        for k in range(rows.shape[1]):
            row, species = rows[d, k], around[sites[d, k]]
            for w in range(width):
                x[d, w] += table[row, species, w]
    _activate(x, rectified)
    for layer in range(len(biases)):
        y = np.dot(x, weights[layer])
        for d in range(8):
            for w in range(width):
                y[d, w] += biases[layer, w]
        x = y
        _activate(x, rectified)
    for d in range(8):
        atom = around[jumpers[d]]
        if atom == VACANCY:
            barriers[d] = np.inf
            continue
        total = np.float32(0.0)
        for w in range(width):
            total += x[d, w] * out[atom, w]
        if len(lines):
            for k in range(rows.shape[1]):
                total += lines[rows[d, k], atom, around[sites[d, k]]]
        change = 0.0
        if len(changes):
            for k in range(steps.shape[1]):
                change += changes[steps[d, k], atom, around[places[d, k]]]
        barriers[d] = total + level[atom] + 0.5 * change


@njit(cache=True)
def _activate(x, rectified):  # type: ignore[no-untyped-def]
    for d in range(x.shape[0]):
        for w in range(x.shape[1]):
            if rectified:
                x[d, w] = max(x[d, w], np.float32(0.0))
            else:
                x[d, w] = np.tanh(x[d, w])


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
def recall(around, jumpers, nets, pairs, memory, barriers):  # type: ignore[no-untyped-def]
    """Barriers from the cache, or computed and kept; whether they were computed."""
    keys, kept = memory
    if len(keys) == 0:
        evaluate(around, jumpers, nets, pairs, barriers)
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
    evaluate(around, jumpers, nets, pairs, barriers)
    keys[slot] = key
    kept[slot] = barriers
    return 1
