"""Load and check a configuration: every error at once, each with its key's path, before any job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from macrodyn.config import RunConfig, StudyConfig
from macrodyn.config_errors import problems, shown
from macrodyn.config_file import ConfigFileError, check_size, read_config
from macrodyn.paths import StrPath
from macrodyn.run_check import check_factor, check_numbers, check_sampling, check_sizes
from macrodyn.system_check import check_class, check_methods, describe_failure
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
    "summary.csv",
    "summary.html",
    "summary.json",
    "report.html",
    "report.zip",
    "provenance.html",
    "study.json",
}


class ConfigError(ValueError):
    """A configuration is wrong; the message lists each wrong key and what to do."""


@dataclass(frozen=True)
class Study:
    """A checked study.

    Attributes:
        name: Its name, that of its folder.
        title: A line that says what it is.
        runs: The runs by name, each with the base merged in.
    """

    name: str
    title: str
    runs: dict[str, RunConfig]


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; anything that is not a mapping replaces what was there."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def load_study(
    source: StrPath | dict[str, Any], where: str = "", *, check_systems: bool = True
) -> Study:
    """Read and check a configuration.

    Args:
        source: A YAML file, or its content as a mapping.
        where: Name of the file for messages, if ``source`` is a mapping.
        check_systems: Check each run against its microscopic system as well, for which the
            system is loaded; jobs of a study that has been checked need not.

    Returns:
        The study with its runs.

    Raises:
        ConfigError: With one line for each wrong key.
    """
    try:
        if isinstance(source, str | os.PathLike):
            where = where or str(source)
            content: Any = read_config(source)
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
        raise _config_error(where, problems(error, content)) from None
    base = {k: v for k, v in content.items() if k not in ("study", "title", "runs")}
    runs: dict[str, RunConfig] = {}
    wrong: dict[str, str] = {}
    for name, changes in study.runs.items():
        prefix = f"runs.{name}."
        if name in RESERVED_RUN_NAMES:
            wrong[f"runs.{name}"] = "this name is reserved, choose another"
            continue
        execution = (changes or {}).get("execution")
        if isinstance(execution, dict) and "checkpoint_minutes" in execution:
            wrong[f"{prefix}execution.checkpoint_minutes"] = (
                "is the same for all runs, which share jobs: set it at the top of the file"
            )
            continue
        merged = merge(base, changes or {})
        try:
            runs[name] = RunConfig.model_validate(merged)
        except ValidationError as error:
            wrong.update({prefix + path: said for path, said in problems(error, merged).items()})
            continue
        for path, message in check_run(runs[name]) if check_systems else ():
            changed = path.split(".")[0] in (changes or {})
            wrong[(prefix if changed else "") + path] = message
    if wrong:
        raise _config_error(where, wrong)
    return Study(study.study, study.title, runs)


def make_system(run: RunConfig) -> System:
    """Make the run's system with its own parameters.

    Raises:
        UnknownSystemError: If no installed package provides it.
        ValidationError: If a parameter is wrong.
    """
    cls = system_class(run.system.name)
    return cls(cls.Parameters.model_validate(run.system.parameters))


def check_run(run: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield (key path, message) for what is wrong across the keys of one run."""
    yield from check_numbers(run)
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
        for path, message in problems(error, run.system.parameters).items():
            yield f"system.parameters.{path}".rstrip("."), message
        return
    except Exception as error:  # own code may raise anything
        yield "system.name", describe_failure(error, cls)
        return
    for name, values in run.conditions.items():
        try:
            for value in values:
                system.with_parameters(**{name: value})
        except ValidationError as error:
            yield f"conditions.{name}", "; ".join(problems(error, {name: value}).values())
        except Exception as error:
            yield f"conditions.{name}", describe_failure(error, cls)
    wrong_sizes = list(check_sizes(run, system))
    yield from wrong_sizes
    wrong_sampling = list(check_sampling(run, system))
    yield from wrong_sampling
    if not wrong_sizes:
        yield from check_factor(run)
    if not (wrong_sizes or wrong_sampling):
        yield from check_methods(run, system)


def _no_keys(content: Any, where: str) -> str:
    """Say what a file should hold that holds no keys."""
    empty = content in (None, {})
    found = "is empty" if empty else f"must hold keys and values, not {shown(content)}"
    return f"{where} {found}: a study needs at least study, system, sizes and runs (docs/guide.md)"


def _config_error(where: str, wrong: dict[str, str]) -> ConfigError:
    lines = [f"  {path}: {message}" for path, message in wrong.items()]
    return ConfigError("\n".join([f"{where or 'configuration'} is wrong:", *lines]))
