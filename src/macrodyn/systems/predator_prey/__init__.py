"""Stochastic predator-prey field. Its class, with kernels, is loaded when asked for."""

from typing import TYPE_CHECKING, Any

from macrodyn.systems.predator_prey.parameters import PredatorPreyParameters

if TYPE_CHECKING:
    from macrodyn.systems.predator_prey.system import PredatorPrey

__all__ = ["PredatorPrey", "PredatorPreyParameters"]


def __getattr__(name: str) -> Any:
    if name != "PredatorPrey":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from macrodyn.systems.predator_prey.system import PredatorPrey

    return PredatorPrey
