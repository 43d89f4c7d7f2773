"""What a run is evaluated on: its horizons, at the values of the conditions that are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import product

from macrodyn.lattice import Shape
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun


@dataclass(frozen=True, kw_only=True)
class Case:
    """One prediction, and what it is compared with.

    Attributes:
        name: Its name: that of its horizon, with the values of the conditions and the size where
            they are given.
        horizon: Name of its horizon.
        reference: Role of the direct simulation that it is compared with; '' if with none.
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
    asked = run.evaluate.conditions
    cases = []
    for values, (large, name) in product(product(*asked.values()), _sizes(run)):
        parameters = dict(zip(asked, values, strict=True))
        told = [f"{condition}-{value:g}" for condition, value in parameters.items()]
        place = "-".join([*told, *([name] if name else [])])
        reference = f"reference/{place}" if place else "reference"
        for horizon in run.evaluate.horizons:
            cases.append(
                Case(
                    name=f"{horizon}-{place}" if place else horizon,
                    horizon=horizon,
                    reference=reference if run.is_compared(large) else "",
                    equilibrium=f"equilibrium/{place}" if place else "equilibrium",
                    place=place,
                    large=large,
                    parameters=parameters,
                )
            )
    return cases


def _sizes(run: PartialEvolutionRun) -> list[tuple[Shape, str]]:
    """Sizes that are predicted for, with their names; none for the large one left to itself."""
    if run.evaluate.sizes:
        return [(size, size_name(size)) for size in run.evaluate.sizes]
    small, large = run.sizes.small, run.sizes.large
    # Closure variables are means over whole patches.
    whole = not run.closure.dimension or all(
        n % p == 0 for n, p in zip(small, run.patch, strict=True)
    )
    checked = run.evaluate.reference == "none" and math.prod(small) < math.prod(large) and whole
    return [(large, ""), *([(small, size_name(small))] if checked else [])]


def size_name(shape: Shape) -> str:
    """Name a size as names of cases do."""
    return f"size-{'x'.join(map(str, shape))}"
