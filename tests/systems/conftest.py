"""Exact results for small Ising blocks, from nothing but the energies of all their states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from macrodyn.systems.curie_weiss import kernels as curie_weiss_kernels


@dataclass(frozen=True)
class Enumeration:
    """All 2^n states of a block: periodic, or inside a frozen surrounding.

    Attributes:
        states: [2^n, rows, columns]; spin i (row-major among the active ones) of state k is bit i.
        active: Whether a site of the block can flip, [rows, columns].
        temperature: T.
        field: h.
        periodic: Whether the block is wrapped onto itself.
    """

    states: np.ndarray
    active: np.ndarray
    temperature: float
    field: float
    periodic: bool

    @property
    def bonds(self) -> np.ndarray:
        """Sum of s_i s_j over neighbour bonds."""
        s = self.states.astype(int)
        if self.periodic:
            return sum((s * np.roll(s, -1, axis)).sum(axis=(1, 2)) for axis in (1, 2))
        down, right = s[:, 1:] * s[:, :-1], s[:, :, 1:] * s[:, :, :-1]
        return down.sum(axis=(1, 2)) + right.sum(axis=(1, 2))

    @property
    def energy(self) -> np.ndarray:
        return -self.bonds - self.field * self.states.sum(axis=(1, 2), dtype=int)

    @property
    def probability(self) -> np.ndarray:
        weight = np.exp(-(self.energy - self.energy.min()) / self.temperature)
        return weight / weight.sum()

    @property
    def classes(self) -> np.ndarray:
        """Number of each state's (m, energy) class."""
        key = np.stack([self.states.sum(axis=(1, 2), dtype=int), self.bonds], axis=1)
        return np.unique(key, axis=0, return_inverse=True)[1].reshape(-1)

    @property
    def rates(self) -> np.ndarray:
        """Glauber rate of each spin's flip in each state, [2^n, n]."""
        index = np.arange(len(self.states))[:, None] ^ (1 << np.arange(self.active.sum()))
        change = self.energy[index] - self.energy[:, None]
        return 1.0 / (1.0 + np.exp(change / self.temperature))

    @property
    def generator(self) -> np.ndarray:
        """Generator Q of the master equation dp/dt = p Q."""
        rates = self.rates
        q = np.zeros((len(rates), len(rates)))
        for i in range(rates.shape[1]):
            q[np.arange(len(rates)), np.arange(len(rates)) ^ (1 << i)] += rates[:, i]
        return q - np.diag(q.sum(axis=1))

    def number(self, states: np.ndarray) -> np.ndarray:
        """Numbers of given states [batch, rows, columns]."""
        bits = states[:, self.active] > 0
        return bits @ (1 << np.arange(bits.shape[1]))


@pytest.fixture(scope="session")
def enumerate_block():
    def make(shape, temperature, field, surroundings=None, active=None):
        if active is None:
            active = np.ones(shape, dtype=bool)
        n = int(active.sum())
        spins = (np.arange(2**n)[:, None] >> np.arange(n) & 1) * 2 - 1
        base = np.zeros(shape) if surroundings is None else surroundings
        states = np.repeat(base[None].astype(np.int8), 2**n, axis=0)
        states[:, active] = spins
        return Enumeration(states, active, temperature, field, surroundings is None)

    return make


@pytest.fixture(scope="session")
def random_spins():
    def draw(shape, seed=0, up=0.5):
        return np.where(np.random.default_rng(seed).random(shape) < up, 1, -1).astype(np.int8)

    return draw


@pytest.fixture(params=["uniformisation", "rejection-free"])
def algorithm(request, monkeypatch):
    """Evolve every Curie-Weiss block by one algorithm, whatever its mean rate."""
    few = 0.0 if request.param == "uniformisation" else 2.0
    monkeypatch.setattr(curie_weiss_kernels, "FEW_ACCEPTED", few)
    return request.param
