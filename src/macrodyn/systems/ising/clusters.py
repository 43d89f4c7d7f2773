"""Cluster updates of Ising spins, which leave the Boltzmann distribution as it is.

Source: Swendsen and Wang, Phys. Rev. Lett. 58, 86 (1987); with a field, each cluster is drawn by
its weight in it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from macrodyn.streams import Seeds
from macrodyn.systems.shared.philox import uniform_pair

_BONDS, _CLUSTERS = np.uint64(0), np.uint64(1)


def cluster_updates(
    spins: NDArray[np.int8], temperature: float, field: float, sweeps: int, seeds: Seeds
) -> NDArray[np.int8]:
    """Draw all spins anew, cluster by cluster.

    Args:
        spins: Shape [batch, rows, columns], periodic; left unchanged.
        temperature: T, in units of the coupling.
        field: h, in the same units.
        sweeps: How often all spins are drawn.
        seeds: One stream per state, shape [batch].

    Returns:
        The spins afterwards.
    """
    after = np.ascontiguousarray(spins, dtype=np.int8).copy()
    bond = -math.expm1(-2.0 / temperature)
    for state, key in zip(after, seeds, strict=True):
        _update(state, bond, 2.0 * field / temperature, int(sweeps), key)
    return after


@njit(cache=True)
def _update(spins, bond, field, sweeps, key):  # type: ignore[no-untyped-def]
    rows, columns = spins.shape
    sites = spins.size
    parent = np.empty(sites, np.int64)
    size = np.empty(sites, np.int64)
    drawn = np.empty(sites, np.int8)
    for sweep in range(sweeps):
        first = np.uint64(sweep) * np.uint64(sites)
        for site in range(sites):
            parent[site] = site
            size[site] = 1
        for site in range(sites):
            i, j = site // columns, site % columns
            right, below = uniform_pair(key, _BONDS, first + np.uint64(site))
            if right < bond and spins[i, j] == spins[i, (j + 1) % columns]:
                _join(parent, size, site, i * columns + (j + 1) % columns)
            if below < bond and spins[i, j] == spins[(i + 1) % rows, j]:
                _join(parent, size, site, (i + 1) % rows * columns + j)
        for site in range(sites):
            if parent[site] == site:
                chance, _ = uniform_pair(key, _CLUSTERS, first + np.uint64(site))
                up = 1.0 / (1.0 + math.exp(-field * size[site]))
                drawn[site] = 1 if chance < up else -1
        for site in range(sites):
            spins[site // columns, site % columns] = drawn[_root(parent, site)]


@njit(cache=True)
def _root(parent, site):  # type: ignore[no-untyped-def]
    while parent[site] != site:
        parent[site] = parent[parent[site]]
        site = parent[site]
    return site


@njit(cache=True)
def _join(parent, size, a, b):  # type: ignore[no-untyped-def]
    a, b = _root(parent, a), _root(parent, b)
    if a == b:
        return
    if size[a] < size[b]:
        a, b = b, a
    parent[b] = a
    size[a] += size[b]
