"""What the methods of a system are tried on: such as the study will call them with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from macrodyn.lattice import Boundary, Shape


@dataclass(frozen=True, kw_only=True)
class ForceCase:
    """A system with forces and what its methods are tried on.

    Attributes:
        system: Its name, as for `macrodyn.systems.system_class`.
        parameters: Its parameters, as plain values.
        macrostates: Two initial macrostates.
        size: Sites along each axis; of particles their number.
        times: Two record times.
    """

    system: str
    parameters: dict[str, Any]
    macrostates: tuple[tuple[float, ...], tuple[float, ...]]
    size: Shape
    times: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A system of patches and what its methods are tried on.

    Attributes:
        system: Its name, as for `macrodyn.systems.system_class`.
        parameters: Its parameters, as plain values.
        ranges: Lowest and highest value of each component of the initial macrostates.
        small: Sites of a small system along each axis.
        large: Sites of a large one.
        patch: Sides of a patch of it.
        buffer: Sites around the patch that evolve with it.
        boundary: What surrounds it.
        duration: Time for which it evolves.
        events: Whether it stops after as many events as it has sites.
    """

    system: str
    parameters: dict[str, Any]
    ranges: tuple[tuple[float, float], ...]
    small: Shape
    large: Shape
    patch: Shape
    buffer: int
    boundary: Boundary
    duration: float
    events: bool
