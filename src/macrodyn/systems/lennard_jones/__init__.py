"""The Lennard-Jones fluid. Its classes and kernels are loaded when asked for."""

from macrodyn.lazy import lazy_names
from macrodyn.systems.lennard_jones.parameters import LennardJonesParameters

__getattr__, _ = lazy_names(
    __name__,
    {
        "system": ("LennardJones",),
        "thermo": ("LennardJonesThermo",),
        "cells": ("CellList",),
        "pair": ("lennard_jones_forces",),
        "export": ("as_atoms",),
    },
)
__all__ = [
    "CellList",
    "LennardJones",
    "LennardJonesParameters",
    "LennardJonesThermo",
    "as_atoms",
    "lennard_jones_forces",
]
