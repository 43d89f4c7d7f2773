"""Load and check a configuration: every error at once, each with its key's path, before any job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from macrodyn.config import MARKS, RunConfig, StudyConfig
from macrodyn.config_file import ConfigFileError, check_size, read_config
from macrodyn.lattice import PatchGeometry, Tiling, upsampling_levels
from macrodyn.sampling.groups import initial_ranges, initial_values
from macrodyn.streams import seeds
from macrodyn.systems import System, UnknownSystemError, system_class

# What else stands in a study's folder.
RESERVED_RUN_NAMES = {
    "stages",
    "summary",
    "report",
    "figures",
    "logs",
    "summary.csv",
    "summary.html",
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
    source: Path | dict[str, Any], where: str = "", *, check_systems: bool = True
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
        if isinstance(source, Path):
            where = where or str(source)
            content = read_config(source)
        else:
            content = source
            check_size(content, where)
    except ConfigFileError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{where or 'the configuration'} must be a mapping of keys")
    try:
        study = StudyConfig.model_validate(content)
    except ValidationError as error:
        raise _config_error(where, list(dict(_messages(error, "")).items())) from None
    base = {k: v for k, v in content.items() if k not in ("study", "title", "runs")}
    runs: dict[str, RunConfig] = {}
    problems: dict[str, str] = {}
    for name, changes in study.runs.items():
        prefix = f"runs.{name}."
        if name in RESERVED_RUN_NAMES:
            problems[f"runs.{name}"] = "this name is reserved, choose another"
            continue
        if "checkpoint_minutes" in ((changes or {}).get("execution") or {}):
            problems[f"{prefix}execution.checkpoint_minutes"] = (
                "is the same for all runs, which share jobs: set it at the top of the file"
            )
            continue
        try:
            runs[name] = RunConfig.model_validate(merge(base, changes or {}))
        except ValidationError as error:
            problems.update(_messages(error, prefix))
            continue
        for path, message in check_run(runs[name]) if check_systems else ():
            changed = path.split(".")[0] in (changes or {})
            problems[(prefix if changed else "") + path] = message
    if problems:
        raise _config_error(where, list(problems.items()))
    return Study(study.study, study.title, runs)


def make_system(run: RunConfig) -> System:
    """Make the run's system with its own parameters.

    Raises:
        UnknownSystemError: If no installed package provides it.
        ValidationError: If a parameter is wrong.
    """
    cls = system_class(run.system.name)
    return cls(cls.Parameters.model_validate(run.system.parameters))


def patch_shape(run: RunConfig) -> tuple[int, ...]:
    """Return the patch of a run: its own, or the small size."""
    return run.sizes.patch or run.sizes.small


def check_run(run: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield (key path, message) for what is wrong across the keys of one run."""
    try:
        system = make_system(run)
    except UnknownSystemError as error:
        yield "system.name", str(error)
        return
    except ValidationError as error:
        yield from _messages(error, "system.parameters.")
        return
    for name, values in run.conditions.items():
        try:
            for value in values:
                system.with_parameters(**{name: value})
        except ValidationError as error:
            yield f"conditions.{name}", "; ".join(m for _, m in _messages(error, ""))
    wrong_sizes = list(_check_sizes(run, system))
    yield from wrong_sizes
    yield from _check_sampling(run, system)
    if not wrong_sizes:
        yield from _check_factor(run)


def _check_sizes(run: RunConfig, system: System) -> Iterator[tuple[str, str]]:
    sizes = {"small": run.sizes.small, "large": run.sizes.large, "patch": patch_shape(run)}
    given = [k for k in sizes if k != "patch" or run.sizes.patch]
    wrong = [k for k in given if len(sizes[k]) != system.dimension]
    for key in wrong:
        yield (
            f"sizes.{key}",
            f"{list(sizes[key])} has {len(sizes[key])} side(s), but {run.system.name} lives in "
            f"{system.dimension} dimension(s)",
        )
    if wrong:
        return
    for part in ("small", "patch"):
        try:
            Tiling(sizes["large"], sizes[part])
        except ValueError:
            key = part if part == "small" or run.sizes.patch else "small"
            yield (
                f"sizes.{key}",
                f"{list(sizes[part])} does not divide the large lattice {list(sizes['large'])}: "
                "every side must be a divisor",
            )
            return
    if any(p > n for p, n in zip(sizes["patch"], sizes["small"], strict=True)):
        yield (
            "sizes.patch",
            f"{list(sizes['patch'])} is larger than the small lattice {list(sizes['small'])}: what "
            "is evolved must not be larger than what is simulated",
        )
        return
    for level in upsampling_levels(sizes["small"], sizes["large"]):
        if any(n % p for p, n in zip(sizes["patch"], level, strict=True)):
            yield (
                "sizes.patch",
                f"{list(sizes['patch'])} does not divide {list(level)}, a level between the small "
                "and the large lattice that is relaxed patch by patch: choose another patch",
            )
            return
    if run.evolve.boundary == "periodic" and run.evolve.buffer:
        yield "evolve.buffer", "a periodic patch has no surroundings: set it to 0"
        return
    try:
        PatchGeometry(sizes["patch"], system.halo, run.evolve.buffer, run.evolve.boundary).check(
            sizes["large"]
        )
    except ValueError as error:
        yield "evolve.buffer", str(error)
    number = Tiling(sizes["large"], sizes["patch"]).number
    if run.evolve.patches > number:
        yield (
            "evolve.patches",
            f"{run.evolve.patches} is more than the K = {number} patches there are",
        )


def _check_sampling(run: RunConfig, system: System) -> Iterator[tuple[str, str]]:
    yield from _check_macrostates(run, system)
    times = run.simulate.times
    if list(times) != sorted(set(times)):
        yield "simulate.times", "must grow from entry to entry"
    lags = run.evolve.lags
    if lags[0] != 1 or list(lags) != sorted(set(lags)):
        yield "evolve.lags", "must begin with 1 and grow from entry to entry"
    if run.evolve.stop not in system.stops:
        yield "evolve.stop", f"{run.system.name} knows only {', '.join(system.stops)}"
    if run.upsample.method not in system.upsamplings:
        yield "upsample.method", f"{run.system.name} knows only {', '.join(system.upsamplings)}"


def _check_macrostates(run: RunConfig, system: System) -> Iterator[tuple[str, str]]:
    found = {}
    try:
        ranges = initial_ranges(system, run.simulate.initial_range)
        found["simulate.initial_range"] = {name: list(ends) for name, ends in ranges.items()}
        for name, (low, high) in ranges.items():
            if not low < high:
                yield (
                    "simulate.initial_range",
                    f"[{low}, {high}] is empty{_of(system, name)}: give the lower end first",
                )
    except ValueError as error:
        yield "simulate.initial_range", str(error)
    try:
        values = initial_values(system, run.evaluate.initial)
        found["evaluate.initial"] = {
            name: list(dict.fromkeys(column.tolist()))
            for name, column in zip(system.macrostates, values.T, strict=True)
        }
    except ValueError as error:
        yield "evaluate.initial", str(error)
    for key, by_name in found.items():
        for name, given in by_name.items():
            lowest, highest = system.macrostates[name]
            outside = [value for value in given if not lowest <= value <= highest]
            if outside:
                yield (
                    key,
                    f"{outside} is outside [{lowest}, {highest}], the range of {run.system.name}'s "
                    f"initial macrostates{_of(system, name)}",
                )
                return
    yield from _check_combinations(run, system, found)


def _check_combinations(
    run: RunConfig, system: System, found: dict[str, dict[str, list[float]]]
) -> Iterator[tuple[str, str]]:
    """Try whether there are initial states of extreme macrostates: ranges do not tell all."""
    if len(run.sizes.small) != system.dimension:
        return
    for key, by_name in found.items():
        ends = [sorted({min(values), max(values)}) for values in by_name.values()]
        corners = np.array(list(product(*ends)))
        try:
            system.initial_states(corners, run.sizes.small, seeds(0, "check", index=len(corners)))
        except ValueError as error:
            yield key, str(error)


def _of(system: System, component: str) -> str:
    """Name a component of the macrostates, where there are several."""
    return f" ({component})" if len(system.macrostates) > 1 else ""


def _check_factor(run: RunConfig) -> Iterator[tuple[str, str]]:
    if run.dynamics.covariance_factor == "estimated" and run.evolve.patches < 2:
        number = Tiling(run.sizes.large, patch_shape(run)).number
        if number > 1:
            yield (
                "dynamics.covariance_factor",
                "cannot be estimated from one patch a snapshot: set evolve.patches to 2 or more",
            )


def _messages(error: ValidationError, prefix: str) -> Iterator[tuple[str, str]]:
    for item in error.errors():
        place = [part for part in item["loc"] if part not in MARKS]
        message = item["msg"]
        if place[-3:-2] == ["parameters"]:
            # One error for each type that the value does not have; what it may be is one thing.
            place, message = place[:-1], "should be a number, a word, true, false or null"
        path = ".".join(map(str, place))
        if item["type"] == "extra_forbidden":
            message = "unknown key: remove it or correct its spelling"
        elif item["type"] == "missing":
            message = "is missing"
        elif not isinstance(item["input"], dict):
            message = f"{message[0].lower()}{message[1:]}, not {item['input']!r}"
        yield prefix + path, message


def _config_error(where: str, problems: list[tuple[str, str]]) -> ConfigError:
    lines = [f"  {path}: {message}" for path, message in problems]
    return ConfigError("\n".join([f"{where or 'configuration'} is wrong:", *lines]))
