"""Checks across the keys of one run: numbers, ranges and times that must fit together.

Each check yields (key path, message) for what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from macrodyn.methods.partial_forces.config import PartialForcesRun, Ranges
from macrodyn.sampling.groups import initial_ranges
from macrodyn.systems import ForceSystem
from macrodyn.systems.trial.case import ForceCase
from macrodyn.systems.trial.declarations import message
from macrodyn.systems.trial.limit import tried

# Most numbers of the states of a run that are stored: 32 GB in double precision.
MOST_NUMBERS = 4e9
# Most particles with which an own system is tried.
TRIED = 4096


def check_numbers(run: PartialForcesRun) -> Iterator[tuple[str, str]]:
    """Check what does not concern the system."""
    simulate, forces = run.simulate, run.forces
    used = simulate.runs if forces.runs == "all" else forces.runs
    if used > simulate.runs:
        yield (
            "forces.runs",
            f"{used} is more than simulate.runs ({simulate.runs}): lower the one or raise the "
            "other",
        )
    elif used < 2:
        yield "forces.runs", "1 is too few: whole runs are held out for validation, give at least 2"
    if used > 0 and used <= simulate.runs:
        most = used * simulate.times.points
        if forces.configurations != "all" and forces.configurations > most:
            yield (
                "forces.configurations",
                f"{forces.configurations} is more than there are ({used} runs of "
                f"{simulate.times.points} records): lower it, or simulate more",
            )
    if run.closure.dimension >= min(simulate.runs * simulate.times.points, run.closure.snapshots):
        yield (
            "closure.dimension",
            f"{run.closure.dimension} variables cannot be found from fewer snapshots: lower it, "
            "or raise closure.snapshots or simulate.runs",
        )
    if run.dynamics.validation_every > run.dynamics.steps:
        yield (
            "dynamics.validation_every",
            f"{run.dynamics.validation_every} is more than dynamics.steps ({run.dynamics.steps}): "
            "lower it",
        )


def check_with_system(run: PartialForcesRun, system: ForceSystem) -> Iterator[tuple[str, str]]:
    """Check a run against its system, and try the system where nothing else is wrong."""
    wrong = list(_check_ranges(run, system))
    yield from wrong
    unknown = [n for n in run.simulate.while_above if n not in system.observable_names]
    for name in unknown:
        known = ", ".join(system.observable_names)
        yield (
            f"simulate.while_above.{name}",
            f"is no observable of {run.system.name} ({known}): correct the name",
        )
    numbers = float(np.prod(run.size, dtype=float)) * len(system.space.components)
    stored = numbers * run.simulate.runs * run.simulate.times.points
    if stored > MOST_NUMBERS:
        yield (
            "simulate.runs",
            f"{run.simulate.runs} runs of {run.simulate.times.points} records of {numbers:.3g} "
            f"numbers are {8 * stored / 1e9:.0f} GB: lower it, or simulate.times.points",
        )
    if len(system.observables) + run.closure.dimension >= numbers:
        yield (
            "closure.dimension",
            f"{run.closure.dimension} variables and the observables are not fewer than the "
            f"{numbers:.0f} coordinates: lower it",
        )
    if run.closure.encoder == "descriptors":
        number = len(system.descriptor_names)
        if not number:
            yield (
                "closure.encoder",
                f"{run.system.name} has no descriptors: take modes or dense, or give it "
                "descriptors",
            )
        elif run.closure.dimension > number:
            yield (
                "closure.dimension",
                f"{run.closure.dimension} is more than the {number} descriptors of "
                f"{run.system.name}: lower it",
            )
    if wrong or unknown:
        return
    for key, times in (("simulate", run.simulate.times), ("evaluate", run.forecast_times)):
        try:
            system.check_times(np.array(times.values), run.size)
        except ValueError as error:
            yield f"{key}.times", str(error)
            return
    if system.is_ready and np.prod(run.size) <= TRIED:
        yield from message(type(system), tried(_case(run, system), system))


def _case(run: PartialForcesRun, system: ForceSystem) -> ForceCase:
    ends = initial_ranges(system, run.simulate.initial_range).values()
    low, high = zip(*ends, strict=True)
    first, second, *_ = run.simulate.times.values
    return ForceCase(
        system=run.system.name,
        parameters=run.system.parameters,
        macrostates=(low, high),
        size=run.size,
        times=(first, second),
    )


def _check_ranges(run: PartialForcesRun, system: ForceSystem) -> Iterator[tuple[str, str]]:
    given: dict[str, Ranges] = {"simulate.initial_range": run.simulate.initial_range}
    if run.evaluate.initial_range is not None:
        given["evaluate.initial_range"] = run.evaluate.initial_range
    limits = {component.name: component for component in system.macrostate}
    for key, ranges in given.items():
        try:
            found = initial_ranges(system, ranges)
        except ValueError as error:
            yield key, str(error)
            continue
        for name, (low, high) in found.items():
            if not low < high:
                yield key, f"[{low}, {high}] is empty ({name}): give the lower end first"
            elif low < limits[name].low or high > limits[name].high:
                yield (
                    key,
                    f"[{low}, {high}] is outside [{limits[name].low}, {limits[name].high}], the "
                    f"range of {run.system.name}'s {name}",
                )
