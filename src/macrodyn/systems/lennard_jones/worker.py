"""What LAMMPS does for the Lennard-Jones fluid, in a process of its own.

The commands are those of the published setting: ``lj/cut`` in reduced units, in a periodic cube.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.systems.shared.lammps.serving import serve

_BOX = """
clear
units lj
atom_style atomic
atom_modify map array sort 100 0
boundary p p p
region box block 0 {side!r} 0 {side!r} 0 {side!r} units box
create_box 1 box
mass 1 1.0
pair_style lj/cut {cutoff!r}
pair_coeff 1 1 1.0 1.0
"""
# Each output reaches the log at once, so that it can be read when LAMMPS has died.
_LOG = "thermo_modify flush yes"
_REAL, _WHOLE, _COMPONENTS = 1, 0, 3


def start(
    lmp: Any,
    *,
    atoms: int,
    side: float,
    cutoff: float,
    energy: float,
    positions: int,
    velocities: int,
) -> Iterator[tuple[NDArray, ...]]:
    """Yield barely relaxed random positions, and velocities: [atom, 6].

    Velocities are drawn before the relaxation, as in the published setting, without momentum. It
    moves positions only.

    The relaxation ends when the energy changes by less than a tenth in an iteration. Among many
    atoms a few that still overlap decide that, at thousands of times the energy of smaller
    systems, so that it must be repeated for a start to mean the same at every size.
    """
    lmp.commands_string(_BOX.format(side=side, cutoff=cutoff))
    lmp.commands_string(f"create_atoms 1 random {atoms} {positions} NULL")
    lmp.commands_string(f"velocity all create 1.0 {velocities} dist gaussian")
    lmp.commands_string(_LOG)
    before, reached = math.inf, math.inf
    while not reached <= energy:
        lmp.commands_string("minimize 1.0e-1 1.0e-4 1000 10000")
        before, reached = reached, lmp.get_thermo("pe")
        if not reached < before:
            raise RuntimeError(
                f"the relaxation stops at a potential energy of {reached:.4g} per atom, above "
                f"{energy:.4g}: give a higher system.parameters.start_energy"
            )
    yield (_gather(lmp, atoms, side, np.zeros((atoms, 3))),)


def follow(
    lmp: Any, state: NDArray, steps: NDArray, *, side: float, cutoff: float, step: float
) -> Iterator[tuple[NDArray, ...]]:
    """Yield a state [atom, 6] after each of some numbers of NVE steps, which grow."""
    boxes = place(lmp, state, side, cutoff)
    lmp.commands_string(f"fix move all nve\ntimestep {step!r}")
    done = 0
    for number in steps:
        if number == 0:
            yield (state,)
            continue
        # Without "pre" the neighbours and forces at hand are used: as if it were one run.
        lmp.command(f"run {number - done} pre {'no' if done else 'yes'} post no")
        done = number
        yield (_gather(lmp, len(state), side, boxes),)


def evaluate(
    lmp: Any, state: NDArray, *, side: float, cutoff: float
) -> Iterator[tuple[NDArray, ...]]:
    """Yield all forces [atom, 3], and temperature, potential energy of an atom, and pressure."""
    place(lmp, state, side, cutoff)
    lmp.command("run 0 post no")
    forces = np.array(lmp.gather_atoms("f", _REAL, _COMPONENTS)).reshape(-1, 3)
    yield forces, np.array([lmp.get_thermo(name) for name in ("temp", "pe", "press")])


def place(lmp: Any, state: NDArray, side: float, cutoff: float) -> NDArray:
    """Fill a box with atoms.

    Args:
        lmp: LAMMPS.
        state: Positions and velocities, shape [atom, 6].
        side: Side of the box.
        cutoff: Distance from which on atoms do not interact.

    Returns:
        In which image of the box each atom was, shape [atom, 3].

    Raises:
        RuntimeError: If LAMMPS does not take all atoms.
    """
    lmp.commands_string(_BOX.format(side=side, cutoff=cutoff) + _LOG)
    n = len(state)
    boxes = np.floor(state[:, :3] / side)
    x, v = state[:, :3] - boxes * side, state[:, 3:]
    made = lmp.create_atoms(n, range(1, n + 1), [1] * n, x.ravel().tolist(), v.ravel().tolist())
    if made != n:
        raise RuntimeError(f"LAMMPS has taken {made} of {n} atoms: positions must be finite")
    return boxes


def _gather(lmp: Any, atoms: int, side: float, boxes: NDArray) -> NDArray:
    """Read unwrapped positions and velocities, in the order of the atoms: [atom, 6]."""

    def read(name: str, kind: int, dtype: Any) -> NDArray:
        found = np.frombuffer(lmp.gather_atoms(name, kind, _COMPONENTS), dtype=dtype)
        if found.size != 3 * atoms:
            raise RuntimeError(f"LAMMPS has {found.size // 3} of {atoms} atoms left")
        return found.reshape(atoms, 3)

    x = read("x", _REAL, np.float64)
    images = read("image", _WHOLE, np.int32)
    return np.hstack([x + (images + boxes) * side, read("v", _REAL, np.float64)])


if __name__ == "__main__":
    serve({"start": start, "follow": follow, "evaluate": evaluate})
