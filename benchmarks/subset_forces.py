"""Forces on fifty atoms of a Lennard-Jones fluid, beside LAMMPS, which computes those on all.

    python benchmarks/subset_forces.py

One row a size, in milliseconds of one core:

- LAMMPS: ``run 0``, the forces on all atoms, neighbour lists included;
- ... again: ``run 1 pre no`` without an integrator, with the neighbour lists at hand;
- ... part: ``run 0`` of the fifty atoms and their neighbours alone, as one does it with a potential
  that only LAMMPS has; finding them and filling the box is counted in;
- ours: `lennard_jones_forces`, sorting all atoms into cells included;
- ... sorted: the same with a `CellList` at hand;
- ... all: on all atoms.

All forces on the fifty are compared with LAMMPS' on the whole. Each figure is the median of several
timings that alternate between them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from scipy.spatial import cKDTree

from macrodyn import seeds
from macrodyn.systems.lennard_jones import (
    CellList,
    LennardJones,
    LennardJonesParameters,
    lennard_jones_forces,
)
from macrodyn.systems.lennard_jones.worker import place
from macrodyn.systems.shared.lammps.loading import open_lammps

SIZES, CHOSEN, REPEATS, CUTOFF = (800, 6400, 51_200), 50, 15, 2.5


def forces_of(lmp: Any) -> np.ndarray:
    """Forces on all atoms that LAMMPS has."""
    return np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)


def part_forces(lmp: Any, state: np.ndarray, chosen: np.ndarray, side: float) -> np.ndarray:
    """Forces by a LAMMPS that has only the chosen atoms and what is within the cutoff of them."""
    x = state[:, :3] % side
    tree = cKDTree(x, boxsize=side)
    near = np.unique(np.concatenate(tree.query_ball_point(x[chosen], CUTOFF)).astype(int))
    place(lmp, state[near], side, CUTOFF)
    lmp.command("run 0 post no")
    return forces_of(lmp)[np.searchsorted(near, chosen)]


def measure(number: int) -> dict[str, float]:
    """Medians in milliseconds."""
    system = LennardJones(LennardJonesParameters(cutoff=CUTOFF))
    side = system.box(number)
    states = system.initial_states(np.array([[0.7]]), (number,), seeds(1, "start", index=1))
    state = system.trajectories(states, np.array([0.05]), seeds(1, "start", index=1))[0, 0]
    chosen = np.random.default_rng(1).choice(number, CHOSEN, replace=False)
    everything = np.arange(number)
    cells = CellList.of(state, side, CUTOFF)

    whole, part = (open_lammps(["-log", "none", "-screen", "none", "-nocite"]) for _ in range(2))
    place(whole, state, side, CUTOFF)
    whole.command("run 0 post no")
    expected = forces_of(whole)

    rows: dict[str, Callable[[], Any]] = {
        "LAMMPS": lambda: whole.command("run 0 post no"),
        "again": lambda: whole.command("run 1 pre no post no"),
        "part": lambda: part_forces(part, state, chosen, side),
        "ours": lambda: lennard_jones_forces(state, chosen, side, CUTOFF),
        "sorted": lambda: lennard_jones_forces(cells, chosen),
        "all": lambda: lennard_jones_forces(cells, everything),
    }
    scale = np.abs(expected).max()
    for name, of_which in (("part", chosen), ("ours", chosen), ("sorted", chosen), ("all", ...)):
        if not np.abs(rows[name]() - expected[of_which]).max() < 1e-10 * scale:
            raise SystemExit(f"{name}: the forces are not LAMMPS'")
    samples: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, row in rows.items():
            begin = time.perf_counter()
            row()
            samples[name].append(1e3 * (time.perf_counter() - begin))
    whole.close()
    part.close()
    return {name: float(np.median(values)) for name, values in samples.items()}


def main() -> None:
    """Print the table."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, one used; Numba {numba.__version__}")
    print(f"{CHOSEN} atoms, cutoff {CUTOFF}; medians of {REPEATS} timings, milliseconds\n")
    print(
        f"{'atoms':>6} | {'LAMMPS':>8} {'again':>8} {'part':>8} | {'ours':>8} {'sorted':>8} "
        f"{'all':>8} | {'LAMMPS/ours':>11} {'part/ours':>9} {'LAMMPS/all':>10}"
    )
    for number in SIZES:
        r = measure(number)
        print(
            f"{number:6} | {r['LAMMPS']:8.2f} {r['again']:8.2f} {r['part']:8.2f} | "
            f"{r['ours']:8.3f} {r['sorted']:8.3f} {r['all']:8.2f} | "
            f"{r['LAMMPS'] / r['ours']:11.0f} {r['part'] / r['ours']:9.1f} "
            f"{r['LAMMPS'] / r['all']:10.2f}"
        )


if __name__ == "__main__":
    main()
