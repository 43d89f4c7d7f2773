"""A method and systems from outside of the package that are planned and checked, but never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from macrodyn.config.models import RunConfig
from macrodyn.config.section import PositiveFloat, PositiveInt, Section
from macrodyn.methods.base import Analysis, Graph, Method, Problem, Proposal
from macrodyn.pipeline.kind import Scatter, StageKind
from macrodyn.systems.ising import Ising

RATES = StageKind(
    name="tabulate_rates",
    work="own_method:nothing",
    scatter=Scatter(dimension="rate", order="number"),
)
FACTORS = StageKind(name="fit_factors", work="own_method:nothing")
WEIGHTS = StageKind(name="draw_weights", work="own_method:nothing")
COUNT = StageKind(
    name="count_sites",
    work="own_method:nothing",
    scatter=Scatter(dimension="path", order="number"),
    counts_updates=True,
)
FIT = StageKind(
    name="fit_count",
    work="own_method:nothing",
    outputs={"fit": "fit.json", "log": "log.txt"},
    carries_cost="fit",
)
JUDGE = StageKind(
    name="judge_count",
    work="own_method:nothing",
    outputs={"metrics": "metrics.json", "figures": "figures"},
    carries_cost="",
    place="run",
)
COMPARE = StageKind(
    name="compare_counts",
    work="own_method:nothing",
    outputs={"findings": "findings.json", "figures": "figures"},
    carries_cost="",
    place="analysis",
)


class Prepared(Ising):
    """An Ising system whose rates are tabulated, and then fitted, before it can be used."""

    @classmethod
    def prepare(cls, parameters: Any, planner: Any) -> Mapping[str, Any]:
        """Return both stages."""
        config = {"temperature": parameters.temperature}
        rates = planner.stage(RATES, config, most=5)
        return {"rates": rates, "factors": planner.stage(FACTORS, {}, {"rates": rates})}


class CountsConfig(Section):
    """What is counted."""

    paths: PositiveInt = 40
    until: PositiveFloat = 1.0


class CountingRun(RunConfig):
    """A run of the method."""

    counts: CountsConfig = CountsConfig()


class LevelOption(Section):
    """The option of the analysis."""

    level: PositiveFloat = 0.5


class Counting(Method):
    """Counts, and fits what it has counted."""

    Run = CountingRun
    kinds: ClassVar = (WEIGHTS, COUNT, FIT)
    evaluation = JUDGE
    analyses: ClassVar = (
        Analysis(
            stage=COMPARE,
            options=LevelOption,
            propose=lambda runs: {"counts": Proposal(runs=list(runs), options={"level": 2})},
        ),
    )

    def check_alone(self, run: CountingRun) -> Iterator[Problem]:
        """Refuse paths that say nothing."""
        if run.counts.paths < 2:
            yield "counts.paths", "one path has no spread: give two or more"

    def plan(self, run: CountingRun, planner: Any) -> Graph:
        """Draw weights, count, then fit."""
        weights = planner.stage(WEIGHTS, {"seed": run.seed})
        config = {"system": planner.system, "until": run.counts.until}
        counts = planner.stage(COUNT, config, {"weights": weights}, most=run.counts.paths)
        fit = planner.stage(FIT, {}, {"counts": counts}, beside={"weights": weights})
        return Graph(
            roles={"weights": weights, "counts": counts, "fit": fit},
            evaluated=("fit",),
            costs={"ours": ("fit",)},
            order=("b", "a"),
        )


class Clashing(Counting):
    """Has a stage of a name that another method's has."""

    def plan(self, run: CountingRun, planner: Any) -> Graph:
        """Simulate, by a stage of its own."""
        kind = StageKind(name="simulate", work="own_method:nothing")
        return Graph(roles={"small": planner.stage(kind, {})})


def nothing(job: Any) -> None:
    """Do nothing."""
