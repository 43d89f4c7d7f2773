"""Systems are found through the entry point group ``macrodyn.systems``.

A package of your own adds a system with two lines of its ``pyproject.toml``::

    [project.entry-points."macrodyn.systems"]
    my_system = "my_package.my_module:MySystem"
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from macrodyn.environment import environment_fault
from macrodyn.systems.allen_cahn.parameters import AllenCahnParameters
from macrodyn.systems.base import System
from macrodyn.systems.curie_weiss.parameters import CurieWeissParameters
from macrodyn.systems.ising.parameters import IsingParameters
from macrodyn.systems.lennard_jones.parameters import LennardJonesParameters
from macrodyn.systems.nbmota.parameters import NbMoTaParameters
from macrodyn.systems.parameters import Parameters
from macrodyn.systems.predator_prey.parameters import PredatorPreyParameters
from macrodyn.systems.predator_prey_pde.parameters import PredatorPreyPDEParameters
from macrodyn.targets import import_named, load_target

GROUP = "macrodyn.systems"
BUILT_IN = {
    "ising": "macrodyn.systems.ising:Ising",
    "curie-weiss": "macrodyn.systems.curie_weiss:CurieWeiss",
    "predator-prey": "macrodyn.systems.predator_prey:PredatorPrey",
    "predator-prey-pde": "macrodyn.systems.predator_prey_pde:PredatorPreyPDE",
    "allen-cahn": "macrodyn.systems.allen_cahn:AllenCahn",
    "lennard-jones": "macrodyn.systems.lennard_jones:LennardJones",
    "lennard-jones-thermo": "macrodyn.systems.lennard_jones:LennardJonesThermo",
    "nbmota": "macrodyn.systems.nbmota:NbMoTa",
}
# Known without loading kernels, as a study is planned anew in each of its jobs.
BUILT_IN_PARAMETERS: dict[str, type[Parameters]] = {
    "ising": IsingParameters,
    "curie-weiss": CurieWeissParameters,
    "predator-prey": PredatorPreyParameters,
    "predator-prey-pde": PredatorPreyPDEParameters,
    "allen-cahn": AllenCahnParameters,
    "lennard-jones": LennardJonesParameters,
    "lennard-jones-thermo": LennardJonesParameters,
    "nbmota": NbMoTaParameters,
}
# `System.prepare` of those of them that have stages of their own, for the same reason.
BUILT_IN_PREPARE = {"nbmota": "macrodyn.systems.nbmota.stages:prepare"}
# `System.version` of those of them that say another than 1.
BUILT_IN_VERSIONS: dict[str, int] = {"predator-prey": 2}


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
        EnvironmentFault: If this machine keeps it from being loaded, such as by a folder for
            compiled functions that cannot be written to.
    """
    found = available_systems()
    if name not in found and ":" not in name:
        raise UnknownSystemError(
            f"unknown system {name!r}; installed systems: {', '.join(sorted(found))}"
        )
    module, _, attribute = (found[name].value if name in found else name).partition(":")
    try:
        loaded = _load(module, attribute)
    except ImportError as error:
        raise UnknownSystemError(f"cannot load system {name!r}: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, System)):
        raise UnknownSystemError(f"{name!r} is not a subclass of macrodyn.systems.System")
    return loaded


def system_version(name: str) -> int:
    """Return `System.version` of a system; a built-in one is not loaded for it, as that takes long.

    Args:
        name: As for `system_class`.

    Raises:
        UnknownSystemError: If the system cannot be loaded.
    """
    return BUILT_IN_VERSIONS.get(name, 1) if name in BUILT_IN else system_class(name).version


def prepared_stages(name: str, parameters: Mapping[str, Any], planner: Any) -> dict[str, Any]:
    """Return the stages that must run before a system can be used, by role.

    A built-in system without any is not loaded for it, nor is one asked whose parameters are wrong,
    which the check of the configuration says.

    Args:
        name: As for `system_class`.
        parameters: Its parameters, as plain values.
        planner: Makes the stages.
    """
    if name in BUILT_IN and name not in BUILT_IN_PREPARE:
        return {}
    try:
        read = parameters_class(name).model_validate(dict(parameters))
    except (UnknownSystemError, ValidationError):
        return {}
    if name in BUILT_IN_PREPARE:
        prepare = load_target(BUILT_IN_PREPARE[name])
    else:
        prepare = system_class(name).prepare
    return dict(prepare(read, planner))


def parameters_class(name: str) -> type[Parameters]:
    """Return the model of a system's parameters; a built-in one is not loaded for it.

    Args:
        name: As for `system_class`.

    Raises:
        UnknownSystemError: If the system cannot be loaded.
    """
    return BUILT_IN_PARAMETERS.get(name) or system_class(name).Parameters


def describe_error(error: Exception, module: str) -> str:
    """Write an error that a system's own code raised: its type, its text, and where it arose.

    Args:
        error: The error.
        module: Name of the system's module.

    Returns:
        One line that ends with the file and line of the innermost call in the system's package, or
        of the innermost call at all where none is in it.

    Raises:
        EnvironmentFault: If the error is none of the code but of the machine it runs on.
    """
    if fault := environment_fault(error):
        raise fault from error
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        # The line that cannot be read is in no call.
        text, place = error.msg, (error.filename, error.lineno)
    else:
        package = module.split(".")[0]
        calls = list(traceback.walk_tb(error.__traceback__))
        own = [c for c in calls if str(c[0].f_globals.get("__name__")).split(".")[0] == package]
        frame, line = (own or calls)[-1]
        place = (frame.f_code.co_filename, line)
    return f"{type(error).__name__}: {text} ({place[0]}:{place[1]})"


def _load(module: str, attribute: str) -> Any:
    """Import an attribute of a module.

    Raises:
        ImportError: Whatever is wrong with it, with what to do where that is known.
        EnvironmentFault: If it is the machine.
    """
    try:
        # A package may import what it is asked for.
        found = getattr(import_named(module), attribute, None)
    except Exception as error:  # a module may raise anything while it is imported
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            cause = f"{error}: install the package or add its folder to PYTHONPATH"
        elif module.strip(".") != module or not module:
            cause = "name it as package.module:Class"
        else:
            cause = describe_error(error, module)
        raise ImportError(cause) from error
    if found is None:
        raise ImportError(f"module {module!r} has no attribute {attribute!r}")
    return found
