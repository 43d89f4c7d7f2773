"""Parameters of the built-in systems, apart from their kernels, which take long to load.

A study is planned anew in each of its jobs, and a plan depends on the parameters alone.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from macrodyn.systems.base import Parameters


class IsingParameters(Parameters):
    """Parameters of H = -sum_<ij> s_i s_j - h sum_i s_i with unit coupling."""

    temperature: float = Field(gt=0, description="Temperature, in units of the coupling / k_B.")
    field: float = Field(default=0.0, description="Magnetic field h, in units of the coupling.")
    algorithm: Literal["auto", "uniformisation", "n-fold"] = Field(
        default="auto",
        description="Exact continuous-time algorithm; auto takes the n-fold way where few "
        "attempts are accepted.",
    )


class CurieWeissParameters(Parameters):
    """Parameters of H = -(1/n) sum_{i<j} s_i s_j - h sum_i s_i with unit coupling."""

    temperature: float = Field(gt=0, description="Temperature, in units of the coupling / k_B.")
    field: float = Field(default=0.0, description="Magnetic field h, in units of the coupling.")


class PredatorPreyParameters(Parameters):
    """Parameters of the equations of `PredatorPrey`; time is in units of the prey's growth rate."""

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


BUILT_IN_PARAMETERS: dict[str, type[Parameters]] = {
    "ising": IsingParameters,
    "curie-weiss": CurieWeissParameters,
    "predator-prey": PredatorPreyParameters,
}


def plain_parameters(parameters: Parameters) -> dict[str, Any]:
    """Write the parameters of a system as plain values that its model reads again.

    Raises:
        PydanticSerializationError: If a value has no plain form.
    """
    return parameters.model_dump(mode="json", round_trip=True, by_alias=True)
