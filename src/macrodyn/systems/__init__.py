"""The microscopic systems and how they are found."""

from macrodyn.systems.base import System
from macrodyn.systems.force_system import ForceSystem
from macrodyn.systems.parameters import Parameters
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.registry import UnknownSystemError, available_systems, system_class
from macrodyn.systems.space import Component, Grid, Observable, Particles

__all__ = [
    "Component",
    "ForceSystem",
    "Grid",
    "Observable",
    "Parameters",
    "Particles",
    "PatchSystem",
    "System",
    "UnknownSystemError",
    "available_systems",
    "system_class",
]
