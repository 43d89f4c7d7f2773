"""Parameters of the Lennard-Jones fluid."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from macrodyn.systems.parameters import Parameters

# LAMMPS' generators of positions and velocities take seeds up to here.
LARGEST_SEED = 900_000_000


class LennardJonesParameters(Parameters):
    """Parameters of `LennardJones`, in reduced units: of lengths σ, energies ε and masses m.

    The defaults are the published ones.
    """

    density: float = Field(
        default=0.8, gt=0, le=1.5, description="Atoms per volume: the box is a cube of side ∛(n/ρ)."
    )
    cutoff: float = Field(
        default=2.5,
        ge=1,
        le=10,
        description="Distance beyond which atoms do not interact; nothing is shifted or added.",
    )
    step: float = Field(
        default=0.001, gt=0, le=0.01, description="Time step; record times are multiples of it."
    )
    start: Literal["shared", "independent"] = Field(
        default="shared",
        description="shared: all states of a size begin at the same positions with the same "
        "directions of the velocities, and differ in their temperature only. independent: each "
        "begins at its own.",
    )
    start_energy: float = Field(
        default=-4.15,
        description="Potential energy per atom below which a start counts as relaxed: the "
        "published relaxation, which ends far too early for some thousands of atoms and more, is "
        "repeated until then. With the default the published states of 800 and 2,700 atoms stay "
        "as they are.",
    )
    start_seed: int = Field(
        default=34141, ge=1, le=LARGEST_SEED, description="Seed of shared positions."
    )
    velocity_seed: int = Field(
        default=87878, ge=1, le=LARGEST_SEED, description="Seed of shared velocities."
    )
