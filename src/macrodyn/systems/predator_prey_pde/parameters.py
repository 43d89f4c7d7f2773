"""Parameters of the deterministic predator-prey field."""

from __future__ import annotations

from pydantic import Field

from macrodyn.systems.shared.predation import PredationParameters


class PredatorPreyPDEParameters(PredationParameters):
    """Parameters of the equations of `PredatorPreyPDE`; time is in units of the prey's growth rate.

    Defaults are those of arXiv:2410.23938, where they mean the same.
    """

    step: float = Field(default=0.01, gt=0, description="Longest time step of the integration.")
    spacing: float | None = Field(
        default=0.01,
        gt=0,
        description="Distance of two sites in the x of the initial states, x = (i + 1/2) spacing. "
        "By default a wave is 20 sites long at every size, as the published ones on 50 sites are. "
        "null: 1/n, so that every size has five waves.",
    )
