"""Partial forces as a method: its stages, its checks, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from macrodyn.methods.base import Analysis, Graph, Method, Problem, in_order
from macrodyn.methods.partial_forces import propose, stages
from macrodyn.methods.partial_forces.config import PartialForcesRun
from macrodyn.systems import ForceSystem


class PartialForces(Method):
    """Learning macroscopic dynamics from partial microscopic observations, arXiv:2410.23938."""

    Run = PartialForcesRun
    System = ForceSystem
    kinds = stages.KINDS
    evaluation = stages.COMPARE
    trained = stages.TRAINED_MODEL
    model = "macrodyn.methods.partial_forces.model_files"
    analyses = (
        Analysis(stage=stages.ERROR_AGAINST_FORCES, propose=propose.error_against_forces),
        Analysis(stage=stages.STRUCTURES, propose=propose.structures),
    )
    report: ClassVar[str] = "macrodyn.methods.partial_forces.report:PartialForcesReport"

    def canonical(self, run: PartialForcesRun) -> PartialForcesRun:
        """Sort what has no order."""
        simulate = in_order(in_order(run.simulate, "initial_range"), "while_above")
        evaluate = in_order(run.evaluate, "initial_range")
        return run.model_copy(update={"simulate": simulate, "evaluate": evaluate})

    def plan(self, run: PartialForcesRun, planner: Any) -> Graph:
        """Derive the stages of one run; see `graph.plan`."""
        from macrodyn.methods.partial_forces.graph import plan

        return plan(run, planner)

    def check_alone(self, run: PartialForcesRun) -> Iterator[Problem]:
        """Check numbers and the training."""
        from macrodyn.methods.partial_forces import check

        yield from check.check_numbers(run)

    def check(self, run: PartialForcesRun, system: ForceSystem) -> Iterator[Problem]:
        """Check the run against its system, and try the system where nothing else is wrong."""
        from macrodyn.methods.partial_forces import check

        yield from check.check_with_system(run, system)
