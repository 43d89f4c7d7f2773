"""One form of all configurations that mean the same, from which digests are made.

A parameter that is left out is its default, 2 is 2.0, and the order of parameters means nothing.
The models of the configuration see to their own keys; the parameters are the system's, whose model
reads them here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from macrodyn.config.models import RunConfig
from macrodyn.config.sweep import merge, swept
from macrodyn.methods.registry import method_of
from macrodyn.systems.parameters import Parameters, plain_parameters
from macrodyn.systems.registry import UnknownSystemError, parameters_class, system_version

_LOGGER = logging.getLogger("macrodyn")


def canonical_run(run: RunConfig) -> RunConfig:
    """Return a run with all parameters of its system as the system reads them.

    A study's folder may have been copied to where the system is not installed, and its status is
    still wanted: its parameters are then taken as they are, and the record of a study has them in
    full. A warning says what is missing.

    Args:
        run: A run.

    Returns:
        The run; what is named by the user, and has no order, is sorted.
    """
    try:
        parameters = _complete(parameters_class(run.system.name), run.system.parameters)
    except UnknownSystemError as error:
        _warn_once(f"{error}. Until then its stages are taken to be of version 1.")
        parameters = dict(sorted(run.system.parameters.items()))
    system = run.system.model_copy(update={"parameters": parameters})
    canonical: RunConfig = method_of(run).canonical(run.model_copy(update={"system": system}))
    return canonical


def completed(
    content: dict[str, Any], runs: Mapping[str, RunConfig], analyses: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Write a configuration with its sweep carried out, and the parameters of all runs in full.

    Args:
        content: The configuration.
        runs: Its runs in canonical form.
        analyses: Names of the runs of each of its analyses.
    """
    full = {
        name: merge(changes, {"system": {"parameters": runs[name].system.parameters}})
        for name, changes, _ in swept(content["runs"], content.get("sweep") or {})
    }
    asked = content.get("analyses")
    told = (
        {name: {**asked[name], "runs": list(of)} for name, of in analyses.items()} if asked else {}
    )
    rest = {k: v for k, v in content.items() if k != "sweep"}
    return {**rest, "runs": full, **({"analyses": told} if asked else {})}


def version_of(name: str) -> dict[str, int]:
    """Return what the version of a system adds to its configuration: nothing for the first."""
    try:
        version = system_version(name)
    except UnknownSystemError:
        return {}
    return {} if version == 1 else {"version": version}


def _complete(model: type[Parameters], given: dict[str, Any]) -> dict[str, Any]:
    """Return all parameters; as given where the model does not read what it has written."""
    try:
        read = model.model_validate(given)
        parameters = plain_parameters(read)
        if model.model_validate(parameters) == read:
            return parameters
    except (ValidationError, PydanticSerializationError):
        # Wrong parameters are told by the check of the configuration, not here.
        pass
    return dict(sorted(given.items()))


@cache
def _warn_once(message: str) -> None:
    """Log a warning, once however many runs it concerns."""
    _LOGGER.warning(message)
