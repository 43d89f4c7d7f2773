"""Correlations of pairs of sites at a distance, and how the evolution of a patch changes them."""

from __future__ import annotations

from math import prod

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from macrodyn.closure.evolved import EvolvedPatches
from macrodyn.lattice import Shape

Floats = NDArray[np.float64]


def correlations(states: NDArray, distance: int, *, periodic: bool, species: bool) -> Floats:
    """Mean of s_i s_{i+r} over all pairs of sites at a distance along any axis.

    On a lattice with ends there are fewer pairs than sites along an axis.

    Args:
        states: Shape [batch, channel, *lattice].
        distance: r, in sites.
        periodic: Whether the lattice closes on itself.
        species: Whether sites hold species: then the share of pairs that are equal.

    Returns:
        Shape [batch, channel].
    """
    sums = np.zeros(states.shape[:2])
    sites = tuple(range(2, states.ndim))
    for axis in sites:
        if periodic:
            one, other = states, np.roll(states, -distance, axis)
        else:
            length = states.shape[axis]
            one = np.take(states, range(length - distance), axis)
            other = np.take(states, range(distance, length), axis)
        if species:
            sums += (one == other).sum(axis=sites)
        elif states.dtype.kind == "f":
            sums += (one.astype(np.float64) * other).sum(axis=sites)
        else:
            sums += (one.astype(np.int64) * other).sum(axis=sites)
    return sums / _pairs(states.shape[2:], distance, periodic)


def correlation_increments(evolved: EvolvedPatches, distance: int, *, species: bool) -> Floats:
    """K times what each patch changes of the correlations of its state.

    A pair counts by its ends inside the patch, wherever the other end is. The product is linear in
    either end, so that the share of the patch beside a buffer (`PatchGeometry.attribute`) is the
    sum over its sites of (y_i - x_i) (S_i(x) + S_i(y)) / 2, with x the state before, y after, and S
    the sum over the sites at the distance; pairs inside the patch are met from both ends.

    Args:
        evolved: The patches; of a frozen boundary.
        distance: r, in sites.
        species: Whether sites hold species, of which the products are those of their indicators.

    Returns:
        Shape [batch, M, lag, channel].
    """
    lattice, patch = evolved.lattice, evolved.geometry
    lead = 3 - len(lattice)

    def three(values: Shape, fill: int) -> NDArray[np.int64]:
        return np.array([*[fill] * lead, *values], dtype=np.int64)

    batch, number, lags, channels = evolved.moved.shape[:4]
    origins = np.zeros((batch, number, 3), dtype=np.int64)
    origins[..., lead:] = evolved.origins
    out = np.zeros((batch, number, lags, channels))
    _change_of_sums(
        np.ascontiguousarray(evolved.states).reshape(batch, channels, -1),
        np.ascontiguousarray(evolved.moved).reshape(batch, number, lags, channels, -1),
        origins,
        three(lattice, 1),
        three(patch.shape, 1),
        three((patch.buffer,) * len(lattice), 0),
        three((distance,) * len(lattice), 0),
        evolved.periodic,
        species,
        out,
    )
    patches = prod(lattice) / prod(patch.shape)
    return out * (patches / _pairs(lattice, distance, evolved.periodic))


def _pairs(lattice: Shape, distance: int, periodic: bool) -> float:
    """Number of pairs of sites at a distance, along all axes."""
    sites = prod(lattice)
    return float(sum(sites if periodic else sites // n * (n - distance) for n in lattice))


@njit(cache=True, parallel=True)
def _change_of_sums(  # type: ignore[no-untyped-def]
    states, moved, origins, lattice, side, buffer, distance, periodic, species, out
):
    """Sum over the sites of each patch; all lattices are three-dimensional, sides of 1 included."""
    active = side + 2 * buffer
    for b in prange(states.shape[0]):
        at = np.empty(3, np.int64)
        other = np.empty(3, np.int64)
        for p in range(moved.shape[1]):
            for site in range(side[0] * side[1] * side[2]):
                inner = np.array(
                    [site // (side[1] * side[2]), site // side[2] % side[1], site % side[2]]
                )
                for axis in range(3):
                    at[axis] = origins[b, p, axis] + inner[axis]
                    if periodic:
                        at[axis] %= lattice[axis]
                here = (at[0] * lattice[1] + at[1]) * lattice[2] + at[2]
                local = _flat(inner + buffer, active)
                for axis in range(3):
                    if distance[axis] == 0:
                        continue
                    for sign in (-1, 1):
                        for k in range(3):
                            other[k] = at[k]
                        other[axis] += sign * distance[axis]
                        if periodic:
                            other[axis] %= lattice[axis]
                        elif other[axis] < 0 or other[axis] >= lattice[axis]:
                            continue
                        there = (other[0] * lattice[1] + other[1]) * lattice[2] + other[2]
                        for k in range(3):
                            other[k] += buffer[k] - origins[b, p, k]
                            if periodic:
                                other[k] %= lattice[k]
                        inside = True
                        for k in range(3):
                            inside = inside and 0 <= other[k] < active[k]
                        place = _flat(other, active) if inside else 0
                        for c in range(states.shape[1]):
                            x, u = states[b, c, here], states[b, c, there]
                            for lag in range(moved.shape[2]):
                                y = moved[b, p, lag, c, local]
                                if x == y:
                                    continue
                                v = moved[b, p, lag, c, place] if inside else u
                                if species:
                                    gain = (u == y) + (v == y) - (u == x) - (v == x)
                                    out[b, p, lag, c] += 0.5 * gain
                                else:
                                    total = np.float64(u) + np.float64(v)
                                    change = np.float64(y) - np.float64(x)
                                    out[b, p, lag, c] += 0.5 * change * total


@njit(cache=True)
def _flat(at, sides):  # type: ignore[no-untyped-def]
    return (at[0] * sides[1] + at[1]) * sides[2] + at[2]
