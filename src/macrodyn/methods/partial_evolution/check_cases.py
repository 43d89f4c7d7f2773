"""Checks of what a run is evaluated on: names of the cases, and sizes.

Each check yields (key path, message) for what is wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from macrodyn.lattice import Shape, Tiling
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.sampling.groups import initial_values
from macrodyn.streams import seeds
from macrodyn.systems import PatchSystem
from macrodyn.systems.trial.declarations import describe_failure

# Larger systems are not tried.
_MOST_SITES = 2**22


def check_names(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check that no two cases have one name."""
    names = Counter(case.name for case in evaluated_cases(run))
    sizes = run.evaluate.sizes
    if len(set(sizes)) < len(sizes):
        (twice, _), *_ = Counter(sizes).most_common()
        yield "evaluate.sizes", f"{list(twice)} is there twice: give each size once"
        return
    for name in sorted(n for n, number in names.items() if number > 1):
        yield (
            "evaluate.conditions",
            f"two comparisons would be called {name}: give each value once, and horizons other "
            "names",
        )


def check_evaluated_sizes(
    run: PartialEvolutionRun, system: PatchSystem
) -> Iterator[tuple[str, str]]:
    """Check that what was learned can be used at every size that is evaluated."""
    for number, size in enumerate(run.evaluate.sizes):
        reason = _unfit(run, system, size)
        if reason is not None:
            yield f"evaluate.sizes.{number}", f"{list(size)} {reason}"


def _unfit(run: PartialEvolutionRun, system: PatchSystem, size: Shape) -> str | None:
    """Say why a size cannot be evaluated, if so."""
    if len(size) != system.dimension:
        return (
            f"has {len(size)} side(s), but {run.system.name} lives in {system.dimension} "
            "dimension(s)"
        )
    if system.periodic and min(size) <= system.halo:
        return (
            f"closes on itself within the interaction's range of {system.halo} site(s), so that a "
            "site is a neighbour of its own: take longer sides"
        )
    if run.closure.dimension:
        try:
            Tiling(size, run.patch)
        except ValueError:
            return (
                f"is not made of whole patches {list(run.patch)}, of which closure variables are "
                "means: every side must be a multiple"
            )
    return None


def unused_references(run: PartialEvolutionRun) -> Iterator[str]:
    """Yield what is set and not used, as the large system is not simulated."""
    if run.evaluate.reference == "direct":
        return
    why = "the large system is not simulated (evaluate.reference: none)"
    if run.published:
        yield f"published is not shown: there are no test errors to stand beside, as {why}"
    compared = any(case.reference for case in evaluated_cases(run))
    if not compared and "replicas" in run.evaluate.model_fields_set:
        yield (
            f"evaluate.replicas is not used: {why}, nor is a smaller one: add one to evaluate.sizes"
        )


def try_evaluated_sizes(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that the system makes, evolves and observes states of every size.

    Of those that are evaluated, and of those that are learned from beside the main one.
    """
    macrostate = initial_values(system, run.evaluate.initial)[:1]
    keys = seeds(0, "check", index=1)
    tried = [(f"evaluate.sizes.{i}", size) for i, size in enumerate(run.evaluate.sizes)]
    tried += [(f"sizes.train.{i}", size) for i, size in enumerate(run.sizes.train)]
    for key, size in tried:
        if size in (run.sizes.large, run.trained[0]) or math.prod(size) > _MOST_SITES:
            continue
        try:
            states = system.initial_states(macrostate, size, keys)
            # A short time: what is wrong with a lattice shows at once.
            observed = system.observe(system.evolve(states, run.steps[-1], keys))
            if not np.isfinite(observed).all():
                yield key, f"{list(size)}: its observables are not finite"
        except Exception as error:  # own code may raise anything
            told = describe_failure(error, type(system))
            yield key, f"{list(size)}: {told}"
