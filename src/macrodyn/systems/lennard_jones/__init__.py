"""The Lennard-Jones fluid. Its classes and kernels are loaded when asked for."""

from macrodyn.lazy import lazy_names
from macrodyn.systems.lennard_jones.parameters import LennardJonesParameters

_find, _names = lazy_names(
    __name__,
    {
        "system": ("LennardJones", "LennardJonesThermo"),
        "cells": ("CellList",),
        "pair": ("lennard_jones_forces",),
        "export": ("as_atoms",),
    },
)
__all__ = ["CellList", "LennardJones", "LennardJonesParameters", "LennardJonesThermo"]
__getattr__ = _find
