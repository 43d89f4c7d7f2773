"""Equilibrium without kinetics: canonical Monte Carlo by exchanges of any two atoms.

Barriers that keep detailed balance in an energy lead to its Boltzmann distribution, however long
that takes a vacancy. Exchanges of atoms at any distance lead there too, by paths that no barrier
obstructs. A vacancy is exchanged like an atom, so that states are those of the kinetics.

Source: Metropolis et al., J. Chem. Phys. 21, 1087 (1953).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from macrodyn.streams import Seeds
from macrodyn.systems.nbmota.barriers import BOLTZMANN, BarrierModel, shell
from macrodyn.systems.shared.philox import uniform_pair

_PICK, _ACCEPT = np.uint64(0), np.uint64(1)


class Canonical:
    """Exchanges of atoms by the energy of a balanced model of barriers.

    Args:
        model: The model, whose energy of pairs it is.

    Raises:
        ValueError: If the model has no energy.
    """

    def __init__(self, model: BarrierModel) -> None:
        if not model.balanced:
            raise ValueError(
                f"the barriers of {model.source} come without an energy: they have no equilibrium "
                "that is known"
            )
        self._energies = model.energies.astype(np.float64)
        offsets = [shell(int(square)) for square in model.shells]
        self._shells = np.repeat(np.arange(len(offsets)), [len(part) for part in offsets])
        self._offsets = np.concatenate(offsets)

    @property
    def least_cells(self) -> int:
        """Fewest cells along an axis: no atom may be its own neighbour."""
        return int(np.abs(self._offsets).max()) // 2 + 1

    def exchange(
        self,
        states: NDArray[np.uint8],
        temperature: NDArray[np.float64] | float,
        sweeps: int,
        seeds: Seeds,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Exchange atoms of whole periodic systems.

        Args:
            states: Species, shape [batch, 2, *cells]; left unchanged.
            temperature: In K, of each state or of all.
            sweeps: Attempts for each site.
            seeds: One stream per state, shape [batch].

        Returns:
            The states afterwards, and the share of attempts with unlike atoms that were accepted,
            shape [batch].

        Raises:
            ValueError: If there are too few cells.
        """
        if min(states.shape[2:]) < self.least_cells:
            raise ValueError(
                f"a system of {states.shape[2:]} cells is too small for these energies: use "
                f"{self.least_cells} or more along each axis"
            )
        after = np.ascontiguousarray(states, dtype=np.uint8).copy()
        n = len(after)
        beta = 1.0 / (BOLTZMANN * np.broadcast_to(np.asarray(temperature, np.float64), (n,)))
        accepted = np.empty(n)
        attempts = int(sweeps) * after[0].size
        for i in range(n):
            accepted[i] = _exchange(
                after[i], beta[i], attempts, seeds[i], self._offsets, self._shells, self._energies
            )
        return after, accepted


@njit(cache=True)
def _exchange(state, beta, attempts, key, offsets, shells, energies):  # type: ignore[no-untyped-def]
    """Exchange atoms of one state in place; the share of accepted attempts of unlike atoms."""
    nx, ny, nz = state.shape[1:]
    sites = state.size
    a, b = np.empty(4, np.int64), np.empty(4, np.int64)
    tried, accepted = 0, 0
    for attempt in range(attempts):
        first, second = uniform_pair(key, _PICK, np.uint64(attempt))
        _site(min(int(first * sites), sites - 1), nx, ny, nz, a)
        _site(min(int(second * sites), sites - 1), nx, ny, nz, b)
        one = state[a[0], a[1], a[2], a[3]]
        other = state[b[0], b[1], b[2], b[3]]
        if one == other:
            continue
        tried += 1
        # A pair of the two is counted twice, before and after alike.
        change = -_energy(state, a, offsets, shells, energies)
        change -= _energy(state, b, offsets, shells, energies)
        state[a[0], a[1], a[2], a[3]] = other
        state[b[0], b[1], b[2], b[3]] = one
        change += _energy(state, a, offsets, shells, energies)
        change += _energy(state, b, offsets, shells, energies)
        if change > 0.0:
            chance, _ = uniform_pair(key, _ACCEPT, np.uint64(attempt))
            if chance >= np.exp(-beta * change):
                state[a[0], a[1], a[2], a[3]] = one
                state[b[0], b[1], b[2], b[3]] = other
                continue
        accepted += 1
    return accepted / max(tried, 1)


@njit(cache=True)
def _site(number, nx, ny, nz, found):  # type: ignore[no-untyped-def]
    """Channel and cell of a site by its number."""
    found[3] = number % nz
    number //= nz
    found[2] = number % ny
    number //= ny
    found[1] = number % nx
    found[0] = number // nx


@njit(cache=True)
def _energy(state, site, offsets, shells, energies):  # type: ignore[no-untyped-def]
    """Energy of the pairs of one site."""
    nx, ny, nz = state.shape[1:]
    c = site[0]
    species = state[c, site[1], site[2], site[3]]
    total = 0.0
    for k in range(len(offsets)):
        x = c + offsets[k, 0]
        y = c + offsets[k, 1]
        z = c + offsets[k, 2]
        other = x & 1
        i = site[1] + ((x - other) >> 1)
        j = site[2] + ((y - other) >> 1)
        m = site[3] + ((z - other) >> 1)
        if i < 0:
            i += nx
        elif i >= nx:
            i -= nx
        if j < 0:
            j += ny
        elif j >= ny:
            j -= ny
        if m < 0:
            m += nz
        elif m >= nz:
            m -= nz
        total += energies[shells[k], species, state[other, i, j, m]]
    return total
