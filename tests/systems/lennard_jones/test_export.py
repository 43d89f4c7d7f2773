"""States of the fluid as atoms of ASE."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from macrodyn.systems.lennard_jones import as_atoms


def test_state_becomes_periodic_atoms(tmp_path):
    io = pytest.importorskip("ase.io", reason="the package ase is missing: macrodyn[atomistic]")
    rng = np.random.default_rng(1)
    state = np.hstack([rng.uniform(-5, 20, (20, 3)), rng.normal(size=(20, 3))])
    atoms = as_atoms(state, 6.0, "Ar")
    assert atoms.pbc.all()
    np.testing.assert_allclose(atoms.cell.lengths(), 6.0)
    np.testing.assert_allclose(atoms.positions, state[:, :3] % 6.0, atol=1e-12)
    np.testing.assert_allclose(atoms.get_velocities(), state[:, 3:])
    assert set(atoms.get_masses()) == {1.0}
    atoms.write(tmp_path / "fluid.xyz")
    np.testing.assert_allclose(
        io.read(tmp_path / "fluid.xyz").positions, atoms.positions, atol=1e-6
    )


def test_what_is_no_state_is_refused():
    pytest.importorskip("ase", reason="the package ase is missing: macrodyn[atomistic]")
    with pytest.raises(ValueError, match=r"\(20, 3\) should be \[atom, 6\]"):
        as_atoms(np.zeros((20, 3)), 6.0)


def test_missing_ase_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ase", None)
    with pytest.raises(ImportError, match=r"ASE is missing .*macrodyn\[atomistic\]"):
        as_atoms(np.zeros((20, 6)), 6.0)
