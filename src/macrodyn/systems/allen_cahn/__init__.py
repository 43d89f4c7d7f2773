"""Allen-Cahn equation on a square. Its class, with kernels, is loaded when asked for."""

from typing import TYPE_CHECKING, Any

from macrodyn.systems.allen_cahn.parameters import AllenCahnParameters

if TYPE_CHECKING:
    from macrodyn.systems.allen_cahn.system import AllenCahn

__all__ = ["AllenCahn", "AllenCahnParameters"]


def __getattr__(name: str) -> Any:
    if name != "AllenCahn":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from macrodyn.systems.allen_cahn.system import AllenCahn

    return AllenCahn
