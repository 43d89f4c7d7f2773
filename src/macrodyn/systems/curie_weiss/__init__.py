"""Curie-Weiss model. Its class, with kernels, is loaded when asked for."""

from typing import TYPE_CHECKING, Any

from macrodyn.systems.curie_weiss.parameters import CurieWeissParameters

if TYPE_CHECKING:
    from macrodyn.systems.curie_weiss.system import CurieWeiss

__all__ = ["CurieWeiss", "CurieWeissParameters"]


def __getattr__(name: str) -> Any:
    if name != "CurieWeiss":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from macrodyn.systems.curie_weiss.system import CurieWeiss

    return CurieWeiss
