"""Check the class of a microscopic system before any job: what it says, and what its methods do.

What is missing or of another kind than the interface asks for would otherwise be found out in a
job, or in wrong results.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np

from macrodyn.config.models import Device
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun, Stop, Upsampling
from macrodyn.system_trial import Trial
from macrodyn.systems import Parameters, System
from macrodyn.systems.base import STATE_KINDS
from macrodyn.systems.parameters import plain_parameters
from macrodyn.systems.registry import describe_error
from macrodyn.trial_limit import tried

STOPS = get_args(Stop)
UPSAMPLINGS = get_args(Upsampling)
DEVICES = get_args(Device)


def check_class(cls: type[System]) -> Iterator[tuple[str, str]]:
    """Check what a class says of itself: nothing missing, types, lengths and values.

    Args:
        cls: The class of the system.

    Yields:
        The configuration's key that names the class, and all that is wrong with it in one message.
    """
    wrong = [f"the method {name} is missing" for name in sorted(cls.__abstractmethods__)]
    for name, (is_right, right) in _ATTRIBUTES.items():
        if not hasattr(cls, name):
            wrong.append(f"the attribute {name} is missing: it should be {right}")
        elif not is_right(getattr(cls, name)):
            wrong.append(f"{name} is {getattr(cls, name)!r}, but it should be {right}")
    # What depends on several of them is looked at where each by itself is right.
    yield from _message(cls, wrong or list(_disagreements(cls)))


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
        yield from _message(type(system), [f"its Parameters cannot read what they wrote: {reason}"])
        return
    differ = [name for name in model.model_fields if getattr(again, name) != getattr(given, name)]
    wrong = [
        f"its Parameters make {name} {getattr(again, name)!r} of their own "
        f"{getattr(given, name)!r}: a validator must leave what it has made as it is"
        for name in differ
    ]
    yield from _message(type(system), wrong)


def check_methods(run: PartialEvolutionRun, system: System) -> Iterator[tuple[str, str]]:
    """Try the methods of a system that is not built in, on a few states of the small size.

    Args:
        run: A run whose sizes and macrostates fit the system.
        system: Its system.

    Yields:
        The configuration's key that names the class, and all that is wrong with it in one message.
    """
    cls = type(system)
    # The tests of those that are built in say more, and their kernels take long to compile.
    if cls.__module__.split(".")[0] != "macrodyn":

        def trial() -> list[str]:
            here = Trial(system)
            here.run(run)
            return here.wrong

        yield from _message(cls, tried(run, system, trial))


def describe_failure(error: Exception, cls: type[System]) -> str:
    """Write an error that arose in a system's own code as a message.

    Args:
        error: The error.
        cls: The class of the system.
    """
    return f"{cls.__name__} raises {describe_error(error, cls.__module__)}"


def _message(cls: type[System], wrong: list[str]) -> Iterator[tuple[str, str]]:
    if wrong:
        yield "system.name", f"{cls.__name__}: {'; '.join(wrong)}"


def _is_whole(lowest: int, highest: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and lowest <= value <= highest


def _is_names(value: Any, allowed: tuple[str, ...] | None = None) -> bool:
    if not isinstance(value, tuple | list) or not value:
        return False
    words = all(isinstance(name, str) and name for name in value)
    return words and len(set(value)) == len(value) and (not allowed or set(value) <= set(allowed))


def _is_range(value: Any) -> bool:
    """Whether something is a lower and a higher number."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    numbers = all(isinstance(end, int | float) and not _is_bool(end) for end in value)
    return numbers and value[0] < value[1]


def _is_dtype(value: Any) -> bool:
    try:
        return value is not None and np.dtype(value).kind in "iuf"
    except TypeError:
        return False


def _is_mapping(is_right: Callable[[Any], bool], fewest: int = 0) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping)
        and len(value) >= fewest
        and all(isinstance(key, str) for key in value)
        and all(map(is_right, value.values()))
    )


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _tuple_of(words: tuple[str, ...]) -> str:
    return f"a tuple with some of {', '.join(map(repr, words))}"


# Whether a value is right, and what a right one is.
_ATTRIBUTES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "dimension": (_is_whole(1, 3), "1, 2 or 3"),
    "channels": (_is_whole(1), "a whole number of 1 or more"),
    "dtype": (_is_dtype, "a NumPy type of whole or real numbers, such as np.uint8"),
    "kind": (lambda value: value in STATE_KINDS, " or ".join(map(repr, STATE_KINDS))),
    "species": (_is_whole(0), "the number of species, a whole number"),
    "periodic": (_is_bool, "True or False"),
    "halo": (_is_whole(0), "a whole number of sites, 0 or more"),
    "long_range": (_is_bool, "True or False"),
    "observables": (_is_names, "a tuple of different names, such as ('density',)"),
    "bounds": (
        lambda value: isinstance(value, tuple | list) and all(map(_is_range, value)),
        "a tuple with (lowest, highest) for each observable, such as ((0.0, 1.0),)",
    ),
    "macrostates": (_is_mapping(_is_range, 1), "{name: (lowest, highest)}"),
    "time_unit": (_is_text, "the name of a unit, '1' if there is none"),
    "stops": (lambda value: _is_names(value, STOPS), _tuple_of(STOPS)),
    "upsamplings": (lambda value: _is_names(value, UPSAMPLINGS), _tuple_of(UPSAMPLINGS)),
    "devices": (
        lambda value: _is_names(value, DEVICES) and "cpu" in value,
        "('cpu',) or ('cpu', 'cuda')",
    ),
    "labels": (_is_mapping(_is_text), "{observable: text}"),
    "state_labels": (
        lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(k, int) and _is_text(v) for k, v in value.items())
        ),
        "{value of a site: text}",
    ),
    "version": (_is_whole(1), "a whole number of 1 or more"),
    "Parameters": (
        lambda value: isinstance(value, type) and issubclass(value, Parameters),
        "a subclass of macrodyn.systems.Parameters",
    ),
}


def _disagreements(cls: type[System]) -> Iterator[str]:
    """Yield what does not fit together among attributes that are right by themselves."""
    if len(cls.bounds) != len(cls.observables):
        yield f"bounds has {len(cls.bounds)} entries for {len(cls.observables)} observable(s)"
    named = (*cls.observables, *cls.macrostates)
    unknown = [name for name in cls.labels if name not in named]
    if unknown:
        yield f"labels names {unknown}, which are not among its observables {cls.observables}"
    closure = [name for name in cls.observables if re.fullmatch(r"closure_\d+", name)]
    if closure:
        yield f"observables are called {closure}, as closure variables are: choose other names"
    if cls.kind == "species" and np.dtype(cls.dtype).kind == "f":
        yield f"species are whole numbers, but dtype is {np.dtype(cls.dtype)}"
    if cls.kind == "species" and cls.species < 2:
        yield (
            f"species is {cls.species}: say how many there are, such as species = 2 for sites that "
            "hold 0 or 1 (some may be missing from the training data)"
        )
    if cls.kind != "species" and cls.species:
        yield f"species is {cls.species}, but a {cls.kind!r} has none: leave it out"
    if cls.kind == "species" and np.dtype(cls.dtype).kind in "iu":
        highest = int(np.iinfo(np.dtype(cls.dtype).str).max)
        if cls.species - 1 > highest:
            yield f"species is {cls.species}, but {np.dtype(cls.dtype)} counts to {highest}"
    if cls.kind == "species" and cls.channels != 1:
        yield f"species are one number a site, but channels is {cls.channels}"
    if cls.kind == "spin" and np.dtype(cls.dtype).kind == "u":
        yield f"spins are -1 and +1, which {np.dtype(cls.dtype)} cannot hold: take np.int8"
