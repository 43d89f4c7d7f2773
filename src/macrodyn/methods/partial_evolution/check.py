"""Checks across the keys of one run: sizes, numbers and times that must fit together.

Each check yields (key path, message) for what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from pydantic import ValidationError

from macrodyn.closure.features import check_features, features_of
from macrodyn.config.errors import problems
from macrodyn.lattice import Tiling
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.partial_evolution.chains import check_chains
from macrodyn.methods.partial_evolution.check_cases import (
    check_evaluated_sizes,
    check_names,
    try_evaluated_sizes,
)
from macrodyn.methods.partial_evolution.check_sizes import check_factor, check_sizes
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.partial_evolution.limits import (
    check_amounts,
    check_change,
    check_events,
    check_neighbours,
)
from macrodyn.sampling.groups import initial_ranges, initial_values
from macrodyn.streams import seeds
from macrodyn.systems import PatchSystem
from macrodyn.systems.trial.case import Case
from macrodyn.systems.trial.declarations import describe_failure, message
from macrodyn.systems.trial.limit import tried


def check_with_system(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check a run against its system, and try the system where nothing else is wrong."""
    wrong_conditions = [*_check_conditions(run, system), *check_names(run)]
    yield from wrong_conditions
    wrong_sizes = list(check_sizes(run, system))
    yield from wrong_sizes
    wrong_sampling = list(check_sampling(run, system))
    yield from wrong_sampling
    if wrong_sizes:
        return
    yield from check_factor(run)
    yield from check_closure(run, system)
    yield from check_rates(run, system)
    beyond = [
        *check_neighbours(run, system),
        *check_amounts(run, system),
        *check_evaluated_sizes(run, system),
    ]
    yield from beyond
    # What must be prepared is so by jobs: before, such a system cannot be tried.
    if system.is_ready and not (wrong_conditions or wrong_sampling or beyond):
        yield from check_events(run, system)
        wrong_methods = list(message(type(system), tried(_case(run, system), system)))
        yield from wrong_methods or [*check_change(run, system), *try_evaluated_sizes(run, system)]


def check_rates(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that expected rates are known of all variables, of what is fitted to them."""
    dynamics = run.dynamics
    for name, asked, known, method, otherwise in (
        ("increments", dynamics.increments, system.knows_rates, "expected_rates", "compensated"),
        (
            "covariance_from",
            dynamics.covariance_from,
            system.knows_covariance,
            "covariance_rates",
            "increments",
        ),
    ):
        key = f"dynamics.{name}"
        if asked != "rates":
            continue
        if not known:
            yield (
                key,
                f"is rates, but {type(system).__name__} has no method {method}: set it to "
                f"{otherwise}, or add the method",
            )
        if run.closure.dimension or run.closure.features:
            yield (
                key,
                f"is rates, which are known of observables only: set it to {otherwise}, or "
                "closure.dimension to 0 and closure.features to []",
            )


def _case(run: PartialEvolutionRun, system: PatchSystem) -> Case:
    """Say what the methods of a system are tried on."""
    return Case(
        system=run.system.name,
        parameters=run.system.parameters,
        ranges=tuple(initial_ranges(system, run.simulate.initial_range).values()),
        small=run.sizes.small,
        large=run.trained[0],
        patch=run.patch,
        buffer=run.buffer,
        boundary=run.evolve.boundary,
        duration=run.steps[-1],
        events=run.evolve.stop == "events",
    )


def _check_conditions(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that the system takes all values of the conditions."""
    cls = type(system)
    given = [("conditions", *item) for item in run.conditions.items()]
    given += [("evaluate.conditions", *item) for item in run.evaluate.conditions.items()]
    for key, name, values in given:
        if name not in run.conditions:
            sampled = ", ".join(run.conditions) or "there are none"
            yield f"{key}.{name}", f"is no condition that is sampled (conditions: {sampled})"
            continue
        try:
            for value in values:
                system.with_parameters(**{name: value})
        except ValidationError as error:
            told = problems(error, {name: value}, cls.Parameters)
            yield f"{key}.{name}", "; ".join(told.values())
        except Exception as error:
            yield f"{key}.{name}", describe_failure(error, cls)


def extrapolations(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[str]:
    """Yield the conditions that are evaluated outside of the values that are sampled."""
    for name, values in run.conditions.items():
        low, high = min(values), max(values)
        own = (float(getattr(system.parameters, name)),)
        asked = run.evaluate.conditions.get(name)
        key = f"evaluate.conditions.{name}" if asked else f"system.parameters.{name}"
        for value in asked or own:
            if not low <= value <= high:
                yield (
                    f"{name} is evaluated at {value:g} ({key}), outside of the sampled values "
                    f"{low:g} to {high:g} (conditions.{name}): the model extrapolates"
                )


def check_numbers(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check what does not concern the system."""
    if run.groups < 2:
        yield (
            "simulate.groups",
            f"{run.groups} is too few: give at least 2, as whole groups are held out for "
            "validation",
        )
    alone = run.sizes.small in run.trained and not run.upsample.chains
    if alone and run.simulate.replicas < run.upsample.begun:
        records = run.upsample.records
        of_each = f" / upsample.records.number, {records.number}" if records else ""
        yield (
            "simulate.replicas",
            f"{run.simulate.replicas} is less than upsample.snapshots ({run.upsample.snapshots})"
            f"{of_each}, but the snapshots are the small systems themselves where sizes.small is "
            f"{'one of sizes.train' if run.sizes.train else 'sizes.large'}: raise the one or "
            "lower the other",
        )
    yield from check_chains(run)
    for horizon in sorted(run.published.keys() - run.evaluate.horizons.keys()):
        yield (
            f"published.{horizon}",
            f"is no horizon of evaluate.horizons ({', '.join(run.evaluate.horizons)}): correct the "
            "name or add the horizon",
        )


def check_sampling(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check what is sampled against what the system knows."""
    yield from _check_macrostates(run, system)
    times = run.simulate.times
    if list(times) != sorted(set(times)):
        yield "simulate.times", "must grow from entry to entry"
    lags = run.evolve.lags
    if lags[0] != 1 or list(lags) != sorted(set(lags)):
        yield "evolve.lags", "must begin with 1 and grow from entry to entry"
    if run.evolve.automatic and run.evolve.stop == "events":
        key = "dt" if run.evolve.dt == "auto" else "buffer"
        yield (
            f"evolve.{key}",
            "is chosen from pairs of one duration: give a number, or set evolve.stop to time",
        )
    if run.evolve.stop not in system.stops:
        yield "evolve.stop", f"{run.system.name} knows only {', '.join(system.stops)}"
    if run.evaluate.equilibrium is not None and not system.knows_equilibrium:
        yield (
            "evaluate.equilibrium",
            f"{run.system.name}, with these parameters, has no moves to equilibrium but its "
            "dynamics: leave it out, and late direct trajectories tell",
        )
    if run.upsample.equilibrate:
        if not system.knows_equilibrium:
            yield (
                "upsample.equilibrate",
                f"{run.system.name}, with these parameters, has no moves to equilibrium but its "
                "dynamics: leave it out, and relax snapshots for longer (upsample.relaxation)",
            )
        if run.upsample.chains:
            yield (
                "upsample.equilibrate",
                "ends snapshots that are put together from small ones, and chains are relaxations: "
                "leave out the one or the other",
            )
    yield from _check_records(run)
    if run.upsample.method not in system.upsamplings:
        yield "upsample.method", f"{run.system.name} knows only {', '.join(system.upsamplings)}"


def _check_records(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    records, snapshots = run.upsample.records, run.upsample.snapshots
    if records is None:
        return
    if not run.upsample.equilibrate:
        yield (
            "upsample.records",
            "are kept along the moves of upsample.equilibrate, which is 0: give its sweeps, or "
            "leave the records out",
        )
    if snapshots % records.number:
        yield (
            "upsample.records.number",
            f"{records.number} of each chain do not make upsample.snapshots ({snapshots}): give a "
            f"multiple of {records.number} snapshots",
        )


def _check_macrostates(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
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
            for name, column in zip(system.component_names, values.T, strict=True)
        }
    except ValueError as error:
        yield "evaluate.initial", str(error)
    limits = {component.name: component for component in system.macrostate}
    for key, by_name in found.items():
        for name, given in by_name.items():
            lowest, highest = limits[name].low, limits[name].high
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
    run: PartialEvolutionRun, system: PatchSystem, found: dict[str, dict[str, list[float]]]
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
        except Exception as error:
            yield key, describe_failure(error, type(system))


def _of(system: PatchSystem, component: str) -> str:
    """Name a component of the macrostates, where there are several."""
    return f" ({component})" if len(system.macrostate) > 1 else ""


def check_closure(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that the features are the system's and have room, and that a model of z exists."""
    asked = [*run.trained, run.sizes.large, *(case.large for case in evaluated_cases(run))]
    small = [run.sizes.small] if "naive" in run.baselines else []
    features = run.closure.features
    # Candidates are measured on the main lattice only, beside what z holds already.
    for key, names, lattices in (
        ("closure.features", features, [*dict.fromkeys([*asked, *small])]),
        ("closure.candidates", run.closure.candidates, [run.trained[0]]),
    ):
        try:
            check_features(
                names,
                system,
                lattices=lattices,
                patch=run.patch,
                boundary=run.evolve.boundary if key == "closure.features" else "frozen",
            )
        except ValueError as error:
            yield key, str(error)
            return
    both = [feature.variable for feature in features_of(features, system)]
    variables = len(system.observables) + len(both) + run.closure.dimension
    relations = system.relations()
    free = variables - (0 if relations is None else int(np.linalg.matrix_rank(relations[0])))
    if run.dynamics.model == "gfinn" and free < 2:
        yield (
            "dynamics.model",
            "gfinn needs two free variables or more, and there is 1: take another model, or more "
            "variables (closure.dimension, closure.features)",
        )
    if run.closure.decoder == "whole" and Tiling(run.trained[0], run.patch).number < 2:
        yield "closure.decoder", "whole needs two patches or more: choose a smaller sizes.patch"
    if run.closure.objective == "prediction":
        if not run.closure.dimension:
            yield (
                "closure.objective",
                "prediction chooses the autoencoder's variables, and closure.dimension is 0: raise "
                "it, or leave the objective out",
            )
        rates = len(system.observables) * len(run.evolve.lags)
        if run.closure.dimension > rates:
            yield (
                "closure.dimension",
                f"{run.closure.dimension} is more than the {rates} rates that closure.objective: "
                "prediction tells (of each observable over each of evolve.lags): lower it, or give "
                "more lags",
            )
        if run.closure.decoder == "whole":
            yield (
                "closure.decoder",
                "rebuilds patches, and closure.objective is prediction: leave the one or the other "
                "out",
            )
    given = [feature.variable for feature in features_of(run.closure.candidates, system)]
    twice = sorted(set(both) & set(given))
    if twice:
        yield "closure.candidates", f"{', '.join(twice)} stands in closure.features already"
