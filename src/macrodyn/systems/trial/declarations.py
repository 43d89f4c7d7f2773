"""Check what the class of a microscopic system says of itself, before any job.

What is missing or of another kind than the interface asks for would otherwise be found out in a
job, or in wrong results.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

from macrodyn.systems.base import DEVICES, System
from macrodyn.systems.force_system import ForceSystem
from macrodyn.systems.parameters import Parameters, plain_parameters
from macrodyn.systems.patch_system import PatchSystem, Stop, Upsampling
from macrodyn.systems.registry import describe_error
from macrodyn.systems.space import Component, Grid, Observable, Particles, is_whole

STOPS = get_args(Stop)
UPSAMPLINGS = get_args(Upsampling)
WHERE = "docs/own-system.md#what-the-class-says"


def check_class(cls: type[System], capability: type[System] = System) -> Iterator[tuple[str, str]]:
    """Check what a class says of itself: nothing missing, types and values.

    Args:
        cls: The class of the system.
        capability: What the method that it is used with asks for, such as `PatchSystem`.

    Yields:
        The configuration's key that names the class, and all that is wrong with it in one message.
    """
    wrong = []
    if not issubclass(cls, capability):
        is_a = next(c for c in (PatchSystem, ForceSystem, System) if issubclass(cls, c))
        wrong.append(f"is a {is_a.__name__}: derive it from {capability.__name__} ({WHERE})")
    wrong += [f"the method {name} is missing" for name in sorted(cls.__abstractmethods__)]
    for name, (is_right, right) in _attributes(cls).items():
        if not hasattr(cls, name):
            wrong.append(f"the attribute {name} is missing: it should be {right}")
        elif not is_right(getattr(cls, name)):
            wrong.append(_wrong(name, getattr(cls, name), right))
    wrong += [
        f"{name} {now} ({WHERE})"
        for name, now in _FORMER.items()
        if not issubclass(cls, ForceSystem) and _says(cls, name)
    ]
    try:
        inspect.signature(cls).bind(None, device="cpu", prepared={})
    except TypeError:
        wrong.append(
            "__init__ takes no device or prepared: write __init__(self, parameters, **named) and "
            f"super().__init__(parameters, **named) ({WHERE})"
        )
    yield from message(cls, wrong)


def check_parameters(system: System) -> Iterator[tuple[str, str]]:
    """Check that the parameters mean the same when they are read again, as each job does.

    Args:
        system: The system with the run's parameters.

    Yields:
        The configuration's key that names the class, and what is wrong with its parameters.
    """
    model, given = type(system.parameters), system.parameters
    try:
        again = model.model_validate(plain_parameters(given))
    except ValueError as error:  # of pydantic, too, when it reads and when it writes
        reason = " ".join(str(error).split())
        yield from message(type(system), [f"its Parameters cannot read what they wrote: {reason}"])
        return
    differ = [name for name in model.model_fields if getattr(again, name) != getattr(given, name)]
    wrong = [
        f"its Parameters make {name} {getattr(again, name)!r} of their own "
        f"{getattr(given, name)!r}: a validator must leave what it has made as it is"
        for name in differ
    ]
    yield from message(type(system), wrong)


def describe_failure(error: Exception, cls: type[System]) -> str:
    """Write an error that arose in a system's own code as a message.

    Args:
        error: The error.
        cls: The class of the system.
    """
    return f"{cls.__name__} raises {describe_error(error, cls.__module__)}"


def message(cls: type[System], wrong: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the configuration's key that names a class, and all that is wrong with it."""
    if wrong:
        yield "system.name", f"{cls.__name__}: {'; '.join(wrong)}"


def _says(cls: type[System], name: str) -> bool:
    """Whether a class has an attribute that it has not from `PatchSystem`."""
    value = getattr(cls, name, None)
    return value is not None and value is not getattr(PatchSystem, name, None)


def _wrong(name: str, value: Any, right: str) -> str:
    if name == "observables" and _are_different(value, str):
        return f"observables is a tuple of names: give Observable objects ({WHERE})"
    return f"{name} is {value!r}, but it should be {right}"


def _are_different(value: Any, kind: type, among: tuple[str, ...] = ()) -> bool:
    """Whether something is a tuple with different objects of a kind, of different names."""
    if not isinstance(value, tuple | list) or not value:
        return False
    if not all(isinstance(one, kind) and one for one in value):
        return False
    names = [getattr(one, "name", one) for one in value]
    return len(set(names)) == len(names) and (not among or set(names) <= set(among))


def _some_of(words: tuple[str, ...]) -> tuple[Callable[[Any], bool], str]:
    right = f"a tuple with some of {', '.join(map(repr, words))}"
    return lambda value: _are_different(value, str, words), right


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _attributes(cls: type[System]) -> dict[str, tuple[Callable[[Any], bool], str]]:
    """For each attribute of a class: whether a value is right, and what a right one is."""
    particles = issubclass(cls, ForceSystem)
    space = Particles if particles else Grid if issubclass(cls, PatchSystem) else Grid | Particles
    example = "Particles(components)" if particles else "Grid(kind, dimension)"
    found: dict[str, tuple[Callable[[Any], bool], str]] = {
        "space": (lambda value: isinstance(value, space), f"what a state is, as {example}"),
        "observables": (
            lambda value: _are_different(value, Observable),
            "a tuple of different ones, such as (Observable('density', (0.0, 1.0)),)",
        ),
        "macrostate": (
            lambda value: _are_different(value, Component),
            "a tuple of different ones, such as (Component('density', 0.0, 1.0),)",
        ),
        "time_unit": (
            lambda value: isinstance(value, str) and value != "",
            "the name of a unit, '1' if there is none",
        ),
        "devices": (
            lambda value: _are_different(value, str, DEVICES) and "cpu" in value,
            "('cpu',) or ('cpu', 'cuda')",
        ),
        "version": (lambda value: is_whole(value, 1), "a whole number of 1 or more"),
        "Parameters": (
            lambda value: isinstance(value, type) and issubclass(value, Parameters),
            "a subclass of macrodyn.systems.Parameters",
        ),
    }
    if issubclass(cls, PatchSystem):
        found |= {
            "periodic": (_is_bool, "True or False"),
            "halo": (lambda value: is_whole(value, 0), "a whole number of sites, 0 or more"),
            "long_range": (_is_bool, "True or False"),
            "least_buffer": (lambda value: is_whole(value, 0), "a whole number of 0 or more"),
            "stops": _some_of(STOPS),
            "upsamplings": _some_of(UPSAMPLINGS),
        }
    if particles:
        declared = getattr(cls, "space", None)
        components = declared.components if isinstance(declared, Particles) else ()
        found |= {
            "known": (
                lambda value: isinstance(value, tuple) and set(value) < set(components),
                "a tuple of components whose rates of change the state holds; not all of them",
            ),
            "together": (_is_bool, "True or False"),
        }
    return found


_OF_SPACE = "is part of the space: space = Grid(kind, dimension, channels=..., species=...)"
# What systems said before, and where it stands now.
_FORMER = {
    "bounds": "are part of the observables: Observable(name, bounds=(lowest, highest))",
    "labels": "are part of the observables: Observable(name, label=...)",
    "macrostates": "is macrostate now, a tuple of Component(name, lowest, highest)",
    **dict.fromkeys(("dimension", "channels", "kind", "species"), _OF_SPACE),
    "dtype": "is part of the space and follows from its kind: give another as Grid(dtype=...)",
    "state_labels": "are part of the space: Grid(labels={value: text})",
    "on": "is not called: __init__ takes the device, and self.device says it",
}
