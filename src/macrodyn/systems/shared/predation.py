"""Parameters of the reaction of prey and predators, with noise or without."""

from __future__ import annotations

from pydantic import Field

from macrodyn.systems.parameters import Parameters


class PredationParameters(Parameters):
    """Of du/dt = u (1 - u - v) + D lap u, dv/dt = a v (u - b) + lap v.

    Time is in units of the prey's growth rate. Defaults are those of arXiv:2410.23938.
    """

    conversion: float = Field(
        default=3.0, gt=0, description="a: growth rate of predators per unit of prey density."
    )
    threshold: float = Field(
        default=0.4,
        ge=0,
        description="b: prey density at which predators neither grow nor decline; they die at the "
        "rate a b.",
    )
    diffusion: float = Field(
        default=0.0,
        ge=0,
        description="D: diffusion of prey between neighbour sites; that of predators is 1.",
    )
