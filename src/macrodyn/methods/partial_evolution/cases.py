"""What a run is evaluated on: its horizons, at the values of the conditions that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

from macrodyn.lattice import Shape
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison with direct simulation.

    Attributes:
        name: Its name: that of its horizon, with the values of the conditions and the size where
            they are given.
        horizon: Name of its horizon.
        reference: Role of the direct simulation that it is compared with.
        equilibrium: Role of the sampled equilibrium, where one is asked for.
        place: Values of the conditions and the size, where they are given.
        large: Lattice of the system.
        parameters: Values of the conditions, where they are not the system's own.
    """

    name: str
    horizon: str
    reference: str
    equilibrium: str
    place: str
    large: Shape
    parameters: dict[str, float] = field(default_factory=dict)


def evaluated_cases(run: PartialEvolutionRun) -> list[Case]:
    """List the cases of a run.

    They are every horizon, at every combination of ``evaluate.conditions``, at each of
    ``evaluate.sizes``.
    """
    asked, sizes = run.evaluate.conditions, run.evaluate.sizes
    cases = []
    places = product(product(*asked.values()), sizes or (run.sizes.large,))
    for values, large in places:
        parameters = dict(zip(asked, values, strict=True))
        told = [f"{name}-{value:g}" for name, value in parameters.items()]
        place = "-".join([*told, *([size_name(large)] if sizes else [])])
        for horizon in run.evaluate.horizons:
            cases.append(
                Case(
                    name=f"{horizon}-{place}" if place else horizon,
                    horizon=horizon,
                    reference=f"reference/{place}" if place else "reference",
                    equilibrium=f"equilibrium/{place}" if place else "equilibrium",
                    place=place,
                    large=large,
                    parameters=parameters,
                )
            )
    return cases


def size_name(shape: Shape) -> str:
    """Name a size as names of cases do."""
    return f"size-{'x'.join(map(str, shape))}"
