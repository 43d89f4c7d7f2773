"""Methods are found through the entry point group ``macrodyn.methods``, as systems are."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from macrodyn.config.models import RunConfig
from macrodyn.methods.base import Method
from macrodyn.targets import load_target

GROUP = "macrodyn.methods"
BUILT_IN = {
    "partial-evolution": "macrodyn.methods.partial_evolution.method:PartialEvolution",
    "partial-forces": "macrodyn.methods.partial_forces.method:PartialForces",
}


class UnknownMethodError(ValueError):
    """A configuration names a method that no installed package provides."""


def available_methods() -> dict[str, EntryPoint]:
    """Return the entry points of all installed methods by name, built-in ones first."""
    found = {name: EntryPoint(name, target, GROUP) for name, target in BUILT_IN.items()}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return found


@cache
def find_method(name: str) -> Method:
    """Load a method.

    Args:
        name: The name of its entry point, or ``module:Class`` of an importable class.

    Raises:
        UnknownMethodError: If there is none of that name, or it is not a `Method`.
    """
    # Built-in methods are found without reading the metadata of every installed package.
    target = BUILT_IN.get(name) or (name if ":" in name else "")
    if not target:
        found = available_methods()
        if name not in found:
            raise UnknownMethodError(
                f"unknown method {name!r}; installed methods: {', '.join(sorted(found))}"
            )
        target = found[name].value
    try:
        cls = load_target(target)
    except Exception as error:  # own code may raise anything
        raise UnknownMethodError(f"cannot load method {name!r}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise UnknownMethodError(f"{name!r} is not a subclass of macrodyn.methods.base.Method")
    return cls()


def method_of(run: RunConfig) -> Method:
    """Return the method of a run."""
    return find_method(run.method)
