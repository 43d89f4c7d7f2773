"""Parameters of the alloy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from macrodyn.systems.parameters import Parameters

SHIPPED, TRAINED = "shipped", "trained"


class NbMoTaParameters(Parameters):
    """Parameters of `NbMoTa`."""

    temperature: float = Field(default=2000.0, gt=0, description="Temperature T, in K.")
    barriers: str = Field(
        default=SHIPPED,
        min_length=1,
        description="shipped: the model that comes with the package, of barriers that LAMMPS found "
        "with the embedded-atom potential. trained: such a model, made anew. Both keep detailed "
        "balance. Else the file of the published network's weights (nkk_weights.npy).",
    )
    configurations: int = Field(
        default=400, ge=4, description="Cells whose eight barriers are computed, if trained."
    )
    cells: int = Field(
        default=5, ge=4, le=12, description="Sides of these cells along each axis of them."
    )
    swaps: int = Field(
        default=2500, ge=0, description="Exchanges of atoms by which annealed cells are annealed."
    )
    potential: str = Field(
        default="",
        description="Commands of LAMMPS that set the potential of types 1, 2, 3 for Nb, Mo, Ta, "
        "a line each, such as pair_style and pair_coeff, with whole paths of files. None: the "
        "embedded-atom potential of Zhou and Johnson.",
    )
    training_steps: int = Field(
        default=4000, ge=1, description="Most steps of the training of the barrier model."
    )
    unit_barrier: float = Field(
        default=1.0,
        ge=0,
        description="Barrier E of the unit of time, exp(E/kT)/ν, in eV: in that unit a jump takes "
        "about as long at every temperature.",
    )
    flicker: Literal[0, 2, 3, 4] = Field(
        default=0,
        description="Most states among which a vacancy that jumps to and fro is not followed jump "
        "by jump: when it leaves them, and where to, is drawn at once from the exact distribution. "
        "0: every jump is made.",
    )
    sites_per_vacancy: int = Field(
        default=1024,
        ge=2,
        description="A system has one vacancy for so many sites, and at least one.",
    )
