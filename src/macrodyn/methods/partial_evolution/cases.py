"""What a run is evaluated on: its horizons, at the values of the conditions that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

from macrodyn.methods.partial_evolution.config import PartialEvolutionRun


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison with direct simulation.

    Attributes:
        name: Its name: that of its horizon, with the values of the conditions where it has some.
        horizon: Name of its horizon.
        reference: Role of the direct simulation that it is compared with.
        parameters: Values of the conditions, where they are not the system's own.
    """

    name: str
    horizon: str
    reference: str
    parameters: dict[str, float] = field(default_factory=dict)


def evaluated_cases(run: PartialEvolutionRun) -> list[Case]:
    """List the cases of a run: every horizon at every combination of ``evaluate.conditions``."""
    asked = run.evaluate.conditions
    cases = []
    for values in product(*asked.values()):
        parameters = dict(zip(asked, values, strict=True))
        place = "-".join(f"{name}-{value:g}" for name, value in parameters.items())
        for horizon in run.evaluate.horizons:
            cases.append(
                Case(
                    name=f"{horizon}-{place}" if place else horizon,
                    horizon=horizon,
                    reference=f"reference/{place}" if place else "reference",
                    parameters=parameters,
                )
            )
    return cases
