"""Parameters of the Ising model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from macrodyn.systems.parameters import Parameters


class IsingParameters(Parameters):
    """Parameters of H = -sum_<ij> s_i s_j - h sum_i s_i with unit coupling."""

    temperature: float = Field(gt=0, description="Temperature, in units of the coupling / k_B.")
    field: float = Field(default=0.0, description="Magnetic field h, in units of the coupling.")
    algorithm: Literal["auto", "uniformisation", "n-fold"] = Field(
        default="auto",
        description="Exact continuous-time algorithm; auto takes the n-fold way where few "
        "attempts are accepted.",
    )
