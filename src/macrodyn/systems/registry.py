"""Systems are found through the entry point group ``macrodyn.systems``.

A package of your own adds a system with two lines of its ``pyproject.toml``::

    [project.entry-points."macrodyn.systems"]
    my_system = "my_package.my_module:MySystem"
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from macrodyn.systems.base import System

GROUP = "macrodyn.systems"
BUILT_IN = {
    "ising": "macrodyn.systems.ising:Ising",
    "curie-weiss": "macrodyn.systems.curie_weiss:CurieWeiss",
    "predator-prey": "macrodyn.systems.predator_prey:PredatorPrey",
}


class UnknownSystemError(ValueError):
    """A configuration names a system that no installed package provides."""


def available_systems() -> dict[str, EntryPoint]:
    """Return the entry points of all installed systems by name, built-in ones first."""
    found = {name: EntryPoint(name, target, GROUP) for name, target in BUILT_IN.items()}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return found


@cache
def system_class(name: str) -> type[System]:
    """Load the class of a system.

    It is looked for once: that reads the metadata of every installed package, and a study with
    many jobs asks for it in each of them.

    So a configuration chooses code that runs, by design: a subclass of ``System`` that can be
    imported where the workflow runs. It names a module, never a file, and brings no code itself.

    Args:
        name: The name of its entry point, or ``module:Class`` of an importable class.

    Raises:
        UnknownSystemError: If there is none of that name, or it is not a ``System``.
    """
    found = available_systems()
    if name in found:
        loaded = found[name].load()
    elif ":" in name:
        module, _, attribute = name.partition(":")
        try:
            loaded = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise UnknownSystemError(f"cannot load system {name!r}: {error}") from error
    else:
        raise UnknownSystemError(
            f"unknown system {name!r}; installed systems: {', '.join(sorted(found))}"
        )
    if not (isinstance(loaded, type) and issubclass(loaded, System)):
        raise UnknownSystemError(f"{name!r} is not a subclass of macrodyn.systems.System")
    return loaded
