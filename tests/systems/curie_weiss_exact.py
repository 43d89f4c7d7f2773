"""Exact results for few Curie-Weiss spins, and windows of their patches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from macrodyn.lattice import Surroundings, Tiling, gather
from macrodyn.systems.curie_weiss import CurieWeiss, CurieWeissParameters

LATTICE, PATCH = (12, 8), (4, 4)
DEFAULT = (1.1, 0.1)


def make(temperature=DEFAULT[0], field=DEFAULT[1]):
    return CurieWeiss(CurieWeissParameters(temperature=temperature, field=field))


def energy(spins, field):
    """H of states [..., n], pair by pair."""
    s = spins.astype(float)
    n = s.shape[-1]
    pairs = sum(s[..., i] * s[..., j] for i, j in combinations(range(n), 2))
    return -pairs / n - field * s.sum(axis=-1)


def site_rates(spins, temperature, field):
    """Glauber rate of each site of states [..., n], from the energy before and after its flip."""
    n = spins.shape[-1]
    flipped = spins[..., None, :] * (1 - 2 * np.eye(n, dtype=int))
    change = energy(flipped, field) - energy(spins, field)[..., None]
    return 1.0 / (1.0 + np.exp(change / temperature))


@dataclass(frozen=True)
class Enumeration:
    """All states of the sites that move, the others as they are; moving spin i is bit i."""

    states: np.ndarray
    moving: np.ndarray
    temperature: float
    field: float

    @classmethod
    def of(cls, whole, moving, temperature, field):
        bits = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving)) & 1
        states = np.repeat(whole[None].astype(int), len(bits), axis=0)
        states[:, moving] = 2 * bits - 1
        return cls(states, moving, temperature, field)

    @property
    def probability(self):
        weight = np.exp(-energy(self.states, self.field) / self.temperature)
        return weight / weight.sum()

    @property
    def rates(self):
        return site_rates(self.states, self.temperature, self.field)[:, self.moving]

    @property
    def neighbours(self):
        return np.arange(len(self.states))[:, None] ^ (1 << np.arange(len(self.moving)))

    @property
    def generator(self):
        q = np.zeros((len(self.states), len(self.states)))
        np.put_along_axis(q, self.neighbours, self.rates, axis=1)
        return q - np.diag(q.sum(axis=1))

    def counts(self, moved):
        """How often each state occurs among the moving spins of states [batch, moving]."""
        numbers = (moved > 0) @ (1 << np.arange(moved.shape[1]))
        return np.bincount(numbers, minlength=len(self.states))


def chain(sites, temperature, field, moving=None, frozen=0):
    """Generator of the number of spins up among those that move, beside a frozen sum of spins."""
    moving = sites if moving is None else moving
    ups = np.arange(moving + 1)
    total = 2 * ups - moving + frozen
    h = -(total**2 - sites) / (2 * sites) - field * total
    change = np.diff(h) / temperature
    q = np.diag((moving - ups[:-1]) / (1 + np.exp(change)), 1)
    q += np.diag(ups[1:] / (1 + np.exp(-change)), -1)
    return q - np.diag(q.sum(axis=1))


def windows_of(system, states, geometry):
    """Windows [batch * K, ...] of all patches of states, and what surrounds each."""
    origins = Tiling(states.shape[2:], geometry.shape).origins()
    windows = gather(states, origins - geometry.margin, geometry.window)
    active = gather(states, origins - geometry.buffer, geometry.active)
    rest = system.rest(states, active)
    return windows.reshape(-1, *windows.shape[2:]), Surroundings(rest=rest.reshape(-1, 2))
