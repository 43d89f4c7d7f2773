"""Names and attributes that the sampling stages' files share."""

from __future__ import annotations

from macrodyn.systems import PatchSystem


def axis_names(dimension: int, prefix: str = "") -> tuple[str, ...]:
    """Names of the lattice's axes."""
    return tuple(prefix + name for name in ("x", "y", "z")[:dimension])


def state_attributes(system: PatchSystem) -> dict[str, str]:
    """Attributes of a variable that holds microscopic states."""
    return {"long_name": f"microscopic states ({system.kind})", "units": "1"}
