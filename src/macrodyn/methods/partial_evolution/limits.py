"""Limits that no honest run comes near: what lies beyond them would end, or never end, hours later.

Each check yields (key path, message) for what is wrong.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import product

import numpy as np

from macrodyn.lattice import Boundary, Shape, Tiling
from macrodyn.learning.holdout import hold_out
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.sampling.groups import initial_ranges
from macrodyn.streams import seeds
from macrodyn.systems import PatchSystem
from macrodyn.systems.registry import BUILT_IN
from macrodyn.systems.trial.declarations import describe_failure

# Steps between two records or of one relaxation, and bytes of one array.
MOST_STEPS = 10**6
MOST_BYTES = 10**13
# Times beyond it have no square in single precision, in which the networks are trained.
LONGEST = 1e19
# Seconds of the processor after which a system is no longer tried.
_PATIENCE = 2.0


def check_training(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check that the optimiser's steps can converge."""
    rate, decay = run.dynamics.learning_rate, run.dynamics.weight_decay
    if rate * decay >= 1:
        yield (
            "dynamics.weight_decay",
            f"{decay:g} takes away all weights in one step, as dynamics.learning_rate is {rate:g}: "
            f"it must be less than {1 / rate:g}, and usual ones are up to 1",
        )


def check_polynomials(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check that a polynomial can be fitted, and is not compared with itself."""
    baseline, own = "polynomial" in run.baselines, run.dynamics.model == "polynomial"
    if baseline and own:
        yield (
            "baselines",
            "polynomial is what ours is already, by dynamics.model: leave out one of the two",
        )
    fraction = run.dynamics.validation_fraction
    if (baseline or own) and len(hold_out(list(range(run.groups)), fraction, seed=0)[0]) < 2:
        yield (
            "simulate.groups",
            f"{run.groups} leave fewer than 2 groups to cross-validate polynomials on, besides the "
            f"share of {fraction:g} that is held out (dynamics.validation_fraction): give more",
        )


def check_steps(run: PartialEvolutionRun) -> Iterator[tuple[str, str]]:
    """Check that times can be reached in a number of steps that ends."""
    relaxation, chains = run.upsample.relaxation, run.upsample.chains
    longest = max((chain.after[-1] for chain in chains), default=relaxation.duration)
    if longest / relaxation.sweep > MOST_STEPS:
        what = "a chain" if chains else "upsample.relaxation.duration"
        yield (
            "upsample.relaxation.sweep",
            f"{relaxation.sweep:g} cuts {what} ({longest:g}) into more than {MOST_STEPS:,} "
            "sweeps: give a longer one",
        )
    if run.steps[-1] * run.evolve.lags[-1] > LONGEST:
        yield "evolve.lags", f"a pair of {run.evolve.lags[-1]} evolve.dt is too long a time"
    for name, horizon in run.evaluate.horizons.items():
        step, key = horizon.step or run.steps[0], f"evaluate.horizons.{name}"
        if horizon.spacing / step > MOST_STEPS:
            given = f"{step:g}" if horizon.step else f"evolve.dt, {step:g}, as it is left out,"
            yield (
                f"{key}.step",
                f"{given} cuts the spacing ({horizon.spacing:g}) into more than {MOST_STEPS:,} "
                "steps: give a longer one",
            )
        if horizon.spacing * horizon.points > LONGEST:
            yield f"{key}.spacing", f"{horizon.spacing:g} makes a horizon too long to compute with"


def check_amounts(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that arrays fit into some memory."""
    bytes_per_site = np.dtype(system.dtype).itemsize * system.channels
    small = math.prod(run.sizes.small) * bytes_per_site
    simulated = run.groups * len(run.simulate.times)
    snapshots = run.groups * len(run.ages) * run.upsample.snapshots
    learned = sum(map(math.prod, run.trained)) * bytes_per_site
    initial = run.evaluate.initial
    macrostates = math.prod(map(len, initial.values() if isinstance(initial, dict) else [initial]))
    points = max(horizon.points for horizon in run.evaluate.horizons.values())
    compared = [size for size in run.evaluate.sizes if run.is_compared(size)]
    sites = max(map(math.prod, compared), default=0)
    variables = len(system.observables) + run.closure.dimension
    predicted = run.dynamics.members * run.evaluate.predicted_replicas
    amounts = {
        "simulate.replicas": ("the small systems", simulated * run.simulate.replicas * small),
        "upsample.snapshots": ("the large snapshots", snapshots * learned),
        "evaluate.replicas": (
            "the reference trajectories",
            macrostates * run.evaluate.replicas * points * len(system.observables) * 8,
        ),
        "evaluate.sizes": (
            "the states of the reference trajectories",
            macrostates * run.evaluate.replicas * sites * bytes_per_site,
        ),
        "evaluate.predicted_replicas": (
            "the predicted trajectories",
            macrostates * predicted * points * variables * 4,
        ),
    }
    for key, (what, size) in amounts.items():
        if size > MOST_BYTES:
            yield key, f"{what} would take {size / 1e12:.3g} TB: lower this or what they multiply"


def check_neighbours(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that no site of what closes on itself is a neighbour of its own."""
    if run.closure.dimension and math.prod(run.patch) == 1:
        yield (
            "sizes.patch" if run.sizes.patch else "sizes.small",
            "one site shows nothing beside its observables: take a larger patch, or set "
            "closure.dimension to 0",
        )
    if not system.periodic:
        return
    wrapped: dict[str, tuple[Shape, Boundary | None]] = {
        "sizes.small": (run.sizes.small, None),
        "evolve.boundary": (run.patch, run.evolve.boundary),
        "upsample.relaxation.boundary": (run.patch, run.upsample.relaxation.boundary),
    }
    for key, (sides, boundary) in wrapped.items():
        if boundary != "frozen" and min(sides) <= system.halo:
            what = "the lattice" if boundary is None else "a periodic patch of"
            remedy = "longer sides" if boundary is None else "frozen, or a patch with longer sides"
            yield (
                key,
                f"{what} {list(sides)} closes on itself within the interaction's range of "
                f"{system.halo} site(s), so that a site is a neighbour of its own: take {remedy}",
            )


def check_events(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check that the events for which a patch is evolved can happen."""
    if run.evolve.stop != "events":
        return
    for values in product(*run.conditions.values()):
        here = system.with_parameters(**dict(zip(run.conditions, values, strict=True)))
        wait = here.longest_wait()
        if wait is not None and not wait < LONGEST:
            yield (
                "evolve.stop",
                f"events may take {wait:.3g} {system.time_unit}s each, with the parameters "
                f"{here.parameters!r}: set it to time, or choose other system.parameters",
            )
            return


def check_change(run: PartialEvolutionRun, system: PatchSystem) -> Iterator[tuple[str, str]]:
    """Check by a trial that anything happens in the time of a pair.

    A system of discrete states evolves for longer and longer, but no more sites times time than all
    pairs of the study have, and no longer than can be waited for. Fields move in any time.
    """
    if system.kind == "field" or run.evolve.stop == "events":
        return
    patches = min(run.evolve.patches, Tiling(run.trained[0], run.patch).number)
    snapshots = run.groups * len(run.ages) * run.upsample.snapshots
    pairs = snapshots * patches * math.prod(run.patch) * run.steps[-1] * run.evolve.lags[-1]
    # Sites of the built-in systems change about once in a unit of time.
    if run.system.name in BUILT_IN and pairs > 1000:
        return
    low, high = np.array(list(initial_ranges(system, run.simulate.initial_range).values())).T
    keys = seeds(0, "change", index=8)
    middle = np.linspace(0.25, 0.75, len(keys))[:, None]
    try:
        states = system.initial_states(low + middle * (high - low), run.sizes.small, keys)
        sites = states[:, 0].size
        duration = min(run.steps[-1], pairs / sites)
        began = None
        while not (system.evolve(states, duration, keys) != states).any():
            duration *= 4
            # The first call may have compiled.
            began = began or time.process_time()
            if time.process_time() - began > _PATIENCE:
                return
            if duration * sites > pairs:
                yield (
                    "evolve.dt",
                    f"{run.steps[-1]:g} ({system.time_unit}) is so short that nothing happens in "
                    "all pairs of the study: give a longer one",
                )
                return
    except Exception as error:  # own code may raise anything
        yield "system.name", describe_failure(error, type(system))
