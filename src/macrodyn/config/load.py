"""Load and check a configuration: every error at once, each with its key's path, before any job."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from macrodyn.config.errors import problems, shown
from macrodyn.config.file import ConfigFileError, check_size, read_config
from macrodyn.config.models import RunConfig, StudyConfig
from macrodyn.config.text import Document, Written
from macrodyn.environment import EnvironmentFault
from macrodyn.paths import StrPath
from macrodyn.run_check import check_factor, check_numbers, check_sampling, check_sizes
from macrodyn.run_limits import (
    check_amounts,
    check_change,
    check_events,
    check_neighbours,
    check_steps,
    check_training,
)
from macrodyn.system_check import check_class, check_methods, check_parameters, describe_failure
from macrodyn.systems import System, UnknownSystemError, system_class

__all__ = [
    "ConfigError",
    "Study",
    "check_run",
    "load_study",
    "make_system",
    "merge",
]

# What else stands in a study's folder.
RESERVED_RUN_NAMES = {
    "stages",
    "summary",
    "report",
    "figures",
    "logs",
    "pages",
    "checkpoint",
}
# A run's folder must take no file's place.
RESERVED_ENDINGS = (".csv", ".html", ".json", ".zip")


def is_reserved(run: str) -> bool:
    """Whether a run of this name would stand where something else of a study does.

    Upper and lower case count as the same, as on some file systems they are.
    """
    name = run.lower()
    return name in RESERVED_RUN_NAMES or name.endswith(RESERVED_ENDINGS)


class ConfigError(ValueError):
    """A configuration is wrong; the message lists each wrong key and what to do."""


@dataclass(frozen=True)
class Study:
    """A checked study.

    Attributes:
        name: Its name, that of its folder.
        title: A line that says what it is.
        runs: The runs by name, each with the base merged in.
        warnings: What is allowed but hardly meant, a line each; only of systems that were checked.
    """

    name: str
    title: str
    runs: dict[str, RunConfig]
    warnings: tuple[str, ...] = ()


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; anything that is not a mapping replaces what was there."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def load_study(
    source: StrPath | dict[str, Any],
    where: str = "",
    *,
    check_systems: bool = True,
    documents: Sequence[Document] = (),
) -> Study:
    """Read and check a configuration.

    Args:
        source: A YAML file, or its content as a mapping.
        where: Name of the file for messages, if ``source`` is a mapping.
        check_systems: Check each run against its microscopic system as well, for which the
            system is loaded; jobs of a study that has been checked need not.
        documents: The files from which ``source``, if a mapping, was read, those that go before
            last: values are shown as they are written there.

    Returns:
        The study with its runs.

    Raises:
        ConfigError: With one line for each wrong key.
        EnvironmentFault: If the machine keeps a system from being loaded or tried.
    """
    try:
        if isinstance(source, str | os.PathLike):
            where = where or str(source)
            documents = [read_config(source)]
            content = documents[0].content
        else:
            content = source
            check_size(content, where)
    except ConfigFileError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(content, dict) or not content:
        raise ConfigError(_no_keys(content, where or "the configuration"))
    try:
        study = StudyConfig.model_validate(content)
    except ValidationError as error:
        told = problems(error, content, StudyConfig, _written(documents, ()))
        raise _config_error(where, told) from None
    base = {k: v for k, v in content.items() if k not in ("study", "title", "runs")}
    runs: dict[str, RunConfig] = {}
    wrong: dict[str, str] = {}
    warnings: list[str] = []
    for name, changes in study.runs.items():
        prefix = f"runs.{name}."
        if is_reserved(name):
            wrong[f"runs.{name}"] = (
                "this name is reserved for what else is in the folder: choose another"
            )
            continue
        execution = (changes or {}).get("execution")
        if isinstance(execution, dict) and "checkpoint_minutes" in execution:
            wrong[f"{prefix}execution.checkpoint_minutes"] = (
                "is the same for all runs, which share jobs: set it at the top of the file"
            )
            continue
        merged = merge(base, changes or {})
        written = _written(documents, ("runs", name), ())
        try:
            runs[name] = RunConfig.model_validate(merged)
        except ValidationError as error:
            told = problems(error, merged, RunConfig, written)
            wrong.update({prefix + path: said for path, said in told.items()})
            continue
        for path, message in check_run(runs[name], written) if check_systems else ():
            changed = path.split(".")[0] in (changes or {})
            wrong[(prefix if changed else "") + path] = message
        if check_systems and not wrong:
            warnings += [f"runs.{name}: {said}" for said in _extrapolations(runs[name])]
    if wrong:
        raise _config_error(where, wrong)
    return Study(study.study, study.title, runs, tuple(warnings))


def make_system(run: RunConfig) -> System:
    """Make the run's system with its own parameters.

    Raises:
        UnknownSystemError: If no installed package provides it.
        ValidationError: If a parameter is wrong.
    """
    cls = system_class(run.system.name)
    return cls(cls.Parameters.model_validate(run.system.parameters))


def _written(documents: Sequence[Document], *places: tuple[str, ...]) -> Written:
    """Make what finds the text of a value: in the last file and first place where it stands."""

    def find(path: Sequence[Any], value: Any) -> str | None:
        texts = (d.text((*at, *path), value) for d in reversed(documents) for at in places)
        return next((text for text in texts if text is not None), None)

    return find


def check_run(run: RunConfig, written: Written | None = None) -> Iterator[tuple[str, str]]:
    """Check what is wrong across the keys of one run.

    Args:
        run: The run.
        written: Finds the text of a value in the file that it was read from.

    Yields:
        Path of a key, and a message.
    """

    def below(*keys: str) -> Written:
        return lambda path, value: written((*keys, *path), value) if written else None

    yield from check_numbers(run)
    yield from check_training(run)
    yield from check_steps(run)
    try:
        cls = system_class(run.system.name)
        incomplete = list(check_class(cls))
        if incomplete:
            yield from incomplete
            return
        system = make_system(run)
    except UnknownSystemError as error:
        yield "system.name", str(error)
        return
    except ValidationError as error:
        given = run.system.parameters
        told = problems(error, given, cls.Parameters, below("system", "parameters"))
        for path, message in told.items():
            yield f"system.parameters.{path}".rstrip("."), message
        return
    except EnvironmentFault:
        raise
    except Exception as error:  # own code may raise anything
        yield "system.name", describe_failure(error, cls)
        return
    yield from check_parameters(system)
    wrong_conditions = list(_check_conditions(run, system))
    yield from wrong_conditions
    wrong_sizes = list(check_sizes(run, system))
    yield from wrong_sizes
    wrong_sampling = list(check_sampling(run, system))
    yield from wrong_sampling
    if wrong_sizes:
        return
    yield from check_factor(run)
    beyond = [*check_neighbours(run, system), *check_amounts(run, system)]
    yield from beyond
    if not (wrong_conditions or wrong_sampling or beyond):
        yield from check_events(run, system)
        wrong_methods = list(check_methods(run, system))
        yield from wrong_methods or check_change(run, system)


def _extrapolations(run: RunConfig) -> Iterator[str]:
    """Yield the conditions that are evaluated outside of the values that are sampled."""
    parameters = make_system(run).parameters
    for name, values in run.conditions.items():
        value, low, high = float(getattr(parameters, name)), min(values), max(values)
        if not low <= value <= high:
            yield (
                f"{name} is evaluated at {value:g} (system.parameters.{name}), outside of the "
                f"sampled values {low:g} to {high:g} (conditions.{name}): the model extrapolates"
            )


def _check_conditions(run: RunConfig, system: System) -> Iterator[tuple[str, str]]:
    """Check that the system takes all values of the conditions."""
    cls = type(system)
    for name, values in run.conditions.items():
        try:
            for value in values:
                system.with_parameters(**{name: value})
        except ValidationError as error:
            told = problems(error, {name: value}, cls.Parameters)
            yield f"conditions.{name}", "; ".join(told.values())
        except Exception as error:
            yield f"conditions.{name}", describe_failure(error, cls)


def _no_keys(content: Any, where: str) -> str:
    """Say what a file should hold that holds no keys."""
    empty = content in (None, {})
    found = "is empty" if empty else f"must hold keys and values, not {shown(content)}"
    return f"{where} {found}: a study needs at least study, system, sizes and runs (docs/guide.md)"


def _config_error(where: str, wrong: dict[str, str]) -> ConfigError:
    lines = [f"  {path}: {message}" for path, message in wrong.items()]
    return ConfigError("\n".join([f"{where or 'configuration'} is wrong:", *lines]))
