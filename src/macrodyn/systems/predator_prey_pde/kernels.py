"""Two fields on a line that react and diffuse: rates of change, and classical Runge-Kutta steps.

While it is integrated a state is an array [species, 1 + site + 1]: beyond each end stands a copy of
the end site, at every evaluation, so that nothing flows out. States are advanced one by one, each
in the cache of its thread, so that neither batch nor threads change a bit of it.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

PREY, PREDATOR = 0, 1


@njit(inline="always")
def prey_rate(u, v, left, right, diffusion):  # type: ignore[no-untyped-def]
    """Rate of change of the prey at a site, of its densities and its neighbours' prey."""
    return u * (1.0 - u - v) + diffusion * ((right - u) - (u - left))


@njit(inline="always")
def predator_rate(u, v, left, right, conversion, threshold):  # type: ignore[no-untyped-def]
    """Rate of change of the predators at a site, of its densities and its neighbours' predators."""
    return conversion * v * (u - threshold) + ((right - v) - (v - left))


@njit(parallel=True, cache=True)
def forces(
    states: NDArray, coordinates: NDArray, conversion: float, threshold: float, diffusion: float
) -> NDArray:
    """Rates of change of some coordinates: a site is looked at only with its two neighbours.

    Args:
        states: Shape [batch, site, species].
        coordinates: Numbers of the coordinates, shape [batch, p]; they must exist.
        conversion: a.
        threshold: b.
        diffusion: D.

    Returns:
        Shape [batch, p].
    """
    found = np.empty(coordinates.shape, dtype=np.float64)
    last = states.shape[1] - 1
    for b in prange(coordinates.shape[0]):
        x = states[b]
        for k in range(coordinates.shape[1]):
            site, species = divmod(coordinates[b, k], 2)
            left, right = x[max(site - 1, 0), species], x[min(site + 1, last), species]
            u, v = x[site, PREY], x[site, PREDATOR]
            if species == PREY:
                found[b, k] = prey_rate(u, v, left, right, diffusion)
            else:
                found[b, k] = predator_rate(u, v, left, right, conversion, threshold)
    return found


@njit(inline="always")
def _close(x):  # type: ignore[no-untyped-def]
    """Set what stands beyond the ends."""
    for species in range(2):
        x[species, 0] = x[species, 1]
        x[species, -1] = x[species, -2]


@njit(cache=True)
def _rates(x: NDArray, out: NDArray, conversion: float, threshold: float, diffusion: float) -> None:
    """Write the rates of change of a state [species, 1 + site + 1] into ``out`` [species, site]."""
    _close(x)
    u, v = x[PREY], x[PREDATOR]
    for i in range(out.shape[1]):
        here = i + 1
        out[PREY, i] = prey_rate(u[here], v[here], u[i], u[i + 2], diffusion)
        out[PREDATOR, i] = predator_rate(u[here], v[here], v[i], v[i + 2], conversion, threshold)


@njit(cache=True)
def _stage(x: NDArray, slope: NDArray, step: float, out: NDArray) -> None:
    """Write ``x + step * slope`` into ``out``, both with their ends."""
    for species in range(2):
        for i in range(slope.shape[1]):
            out[species, i + 1] = x[species, i + 1] + step * slope[species, i]


@njit(cache=True)
def _finish(x: NDArray, slopes: NDArray, sixth: float) -> None:
    """Add to ``x`` the mean of four slopes [4, species, site] over a step of 6 ``sixth``."""
    for species in range(2):
        for i in range(slopes.shape[2]):
            middle = slopes[1, species, i] + slopes[2, species, i]
            outer = slopes[0, species, i] + slopes[3, species, i]
            x[species, i + 1] += sixth * (outer + 2.0 * middle)


@njit(parallel=True, cache=True)
def advance(
    states: NDArray,
    steps: NDArray,
    lengths: NDArray,
    conversion: float,
    threshold: float,
    diffusion: float,
    records: NDArray,
) -> None:
    """Advance states by the classical Runge-Kutta scheme of order 4, recording them on the way.

    Args:
        states: Shape [batch, site, species]; left unchanged.
        steps: Number of steps before each record, shape [time].
        lengths: Their length, shape [time].
        conversion: a.
        threshold: b.
        diffusion: D.
        records: Output, shape [batch, time, site, species].
    """
    sites = states.shape[1]
    for b in prange(states.shape[0]):
        x, stage = np.empty((2, sites + 2)), np.empty((2, sites + 2))
        slopes = np.empty((4, 2, sites))
        for i in range(sites):
            x[PREY, i + 1], x[PREDATOR, i + 1] = states[b, i, PREY], states[b, i, PREDATOR]
        for record in range(steps.size):
            h = lengths[record]
            for _ in range(steps[record]):
                _rates(x, slopes[0], conversion, threshold, diffusion)
                _stage(x, slopes[0], 0.5 * h, stage)
                _rates(stage, slopes[1], conversion, threshold, diffusion)
                _stage(x, slopes[1], 0.5 * h, stage)
                _rates(stage, slopes[2], conversion, threshold, diffusion)
                _stage(x, slopes[2], h, stage)
                _rates(stage, slopes[3], conversion, threshold, diffusion)
                _finish(x, slopes, h / 6.0)
            for i in range(sites):
                records[b, record, i, PREY] = x[PREY, i + 1]
                records[b, record, i, PREDATOR] = x[PREDATOR, i + 1]
