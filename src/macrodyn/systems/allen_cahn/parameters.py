"""Parameters of the Allen-Cahn equation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from macrodyn.systems.parameters import Parameters


class AllenCahnParameters(Parameters):
    """Parameters of `AllenCahn`; lengths are in units of the side of the square."""

    width: float = Field(
        default=0.0120075,
        gt=0,
        description="eps: width of an interface, whose profile is tanh(d / (sqrt(2) eps)). The "
        "published 10 h / (2 sqrt(2) artanh(0.9)), h = 1/200: u goes from -0.9 to 0.9 in 10 sites.",
    )
    roughness: float = Field(
        default=0.0,
        ge=0,
        description="Standard deviation of the random, smooth displacement of the edges of the "
        "initial rings, a length; 0: circles, as published.",
    )
    step: float = Field(
        default=0.3,
        gt=0,
        le=0.3,
        description="Longest time step of the integration, in units of h^2, the square of the "
        "distance of two sites. Beyond 0.3 it would be unstable; published: 0.1.",
    )
    precision: Literal["float32", "float64"] = Field(
        default="float32", description="Of the numbers that trajectories are computed with."
    )
    energy: Literal["consistent", "central"] = Field(
        default="consistent",
        description="Differences in the energy. consistent: between neighbours, so that the field "
        "moves down its gradient exactly; central: over two sites, as published.",
    )
