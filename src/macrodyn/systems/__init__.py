"""The microscopic systems and how they are found."""

from macrodyn.systems.base import Parameters, System
from macrodyn.systems.registry import UnknownSystemError, available_systems, system_class

__all__ = ["Parameters", "System", "UnknownSystemError", "available_systems", "system_class"]
