"""Two-dimensional Ising model. Its class, with kernels, is loaded when asked for."""

from typing import TYPE_CHECKING, Any

from macrodyn.systems.ising.parameters import IsingParameters

if TYPE_CHECKING:
    from macrodyn.systems.ising.system import Ising

__all__ = ["Ising", "IsingParameters"]


def __getattr__(name: str) -> Any:
    if name != "Ising":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from macrodyn.systems.ising.system import Ising

    return Ising
