"""Deterministic predator-prey field. Its class, with kernels, is loaded when asked for."""

from typing import TYPE_CHECKING, Any

from macrodyn.systems.predator_prey_pde.parameters import PredatorPreyPDEParameters

if TYPE_CHECKING:
    from macrodyn.systems.predator_prey_pde.system import PredatorPreyPDE

__all__ = ["PredatorPreyPDE", "PredatorPreyPDEParameters"]


def __getattr__(name: str) -> Any:
    if name != "PredatorPreyPDE":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from macrodyn.systems.predator_prey_pde.system import PredatorPreyPDE

    return PredatorPreyPDE
