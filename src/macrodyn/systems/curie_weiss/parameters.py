"""Parameters of the Curie-Weiss model."""

from __future__ import annotations

from pydantic import Field

from macrodyn.systems.parameters import Parameters


class CurieWeissParameters(Parameters):
    """Parameters of H = -(1/n) sum_{i<j} s_i s_j - h sum_i s_i with unit coupling."""

    temperature: float = Field(gt=0, description="Temperature, in units of the coupling / k_B.")
    field: float = Field(default=0.0, description="Magnetic field h, in units of the coupling.")
