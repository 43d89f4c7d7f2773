"""States of the Lennard-Jones fluid for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms


def as_atoms(state: NDArray[np.float64], box: float, symbol: str = "X") -> Atoms:
    """Turn a state into atoms of ASE, to draw or to write: ``as_atoms(...).write("fluid.xyz")``.

    Args:
        state: Shape [atom, 6]: unwrapped positions and velocities, in reduced units, which are
            kept. ASE takes its own units, so that its temperature is not the fluid's.
        box: Side of the box, `LennardJones.box`.
        symbol: What atoms are drawn as; X stands for no element, and masses are 1 all the same.

    Returns:
        Periodic atoms, positions wrapped into the box.

    Raises:
        ImportError: If ASE is not installed.
        ValueError: If the state is of another shape.
    """
    try:
        from ase import Atoms
    except ImportError as error:
        raise ImportError(
            f"ASE is missing ({error}): install it with pip install 'macrodyn[atomistic]'"
        ) from error
    if state.ndim != 2 or state.shape[1] != 6:
        raise ValueError(f"a state of shape {state.shape} should be [atom, 6]")
    atoms = Atoms([symbol] * len(state), positions=state[:, :3], cell=np.full(3, box), pbc=True)
    atoms.set_masses(np.ones(len(state)))
    atoms.set_velocities(state[:, 3:])
    atoms.wrap()
    return atoms
