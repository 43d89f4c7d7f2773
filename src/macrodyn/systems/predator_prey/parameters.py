"""Parameters of the predator-prey field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from macrodyn.systems.shared.predation import PredationParameters


class PredatorPreyParameters(PredationParameters):
    """Parameters of the equations of `PredatorPrey`; time is in units of the prey's growth rate."""

    noise: float = Field(
        default=0.02, ge=0, description="s: noise of both densities per site and root of time."
    )
    step: float = Field(default=0.01, gt=0, description="Longest time step of the integration.")
    integrator: Literal["euler-maruyama", "runge-kutta"] = Field(
        default="euler-maruyama",
        description="Both have strong order 1; the weak order of runge-kutta is 2, at four times "
        "the evaluations of the drift.",
    )
    spacing: float | None = Field(
        default=0.005,
        gt=0,
        description="Distance of two sites in the x of the initial states, x = (i + 1/2) spacing. "
        "By default a wave is 40 sites long at every size. null: 1/n, so that every size has five "
        "waves.",
    )
