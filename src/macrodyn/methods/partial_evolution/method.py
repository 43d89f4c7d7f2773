"""Partial evolution as a method: its stages, its checks, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from macrodyn.methods.base import Analysis, Graph, Method, Problem, in_order
from macrodyn.methods.partial_evolution import propose, stages
from macrodyn.methods.partial_evolution.config import (
    UNUSED_BY_CHAINS,
    HorizonOption,
    PartialEvolutionRun,
    RelaxationConfig,
    ScalingOption,
    SizesConfig,
    UpsampleConfig,
)
from macrodyn.systems import PatchSystem


class PartialEvolution(Method):
    """Scalable learning of macroscopic stochastic dynamics, arXiv:2511.12842."""

    Run = PartialEvolutionRun
    System = PatchSystem
    kinds = stages.KINDS
    evaluation = stages.EVALUATE
    trained = stages.TRAINED_MODEL
    model = "macrodyn.methods.partial_evolution.model_files"
    analyses = (
        Analysis(
            stage=stages.ERROR_AGAINST_SIZE,
            options=HorizonOption,
            propose=propose.error_against_size,
        ),
        Analysis(stage=stages.ALL_RUNS, propose=propose.all_runs),
        Analysis(
            stage=stages.MMD_AGAINST_FACTOR,
            options=HorizonOption,
            propose=propose.mmd_against_factor,
        ),
        Analysis(stage=stages.COVARIANCE_FACTORS, propose=propose.covariance_factors),
        Analysis(stage=stages.FINITE_SIZE_SCALING, options=ScalingOption),
        Analysis(stage=stages.COSTS, propose=propose.costs),
    )
    report: ClassVar[str] = "macrodyn.methods.partial_evolution.report:PartialEvolutionReport"

    def canonical(self, run: PartialEvolutionRun) -> PartialEvolutionRun:
        """Sort what has no order, and leave to its default what says or changes nothing."""
        sections = {
            "sizes": _without_order(run.sizes),
            "upsample": _without_unused(run.upsample),
            "simulate": in_order(run.simulate, "initial_range"),
            "evaluate": in_order(in_order(run.evaluate, "initial"), "conditions"),
        }
        return run.model_copy(
            update={"conditions": dict(sorted(run.conditions.items())), **sections}
        )

    def plan(self, run: PartialEvolutionRun, planner: Any) -> Graph:
        """Derive the stages of one run; see `graph.plan`."""
        from macrodyn.methods.partial_evolution.graph import plan

        return plan(run, planner)

    def check_alone(self, run: PartialEvolutionRun) -> Iterator[Problem]:
        """Check numbers, the training, and steps against each other."""
        from macrodyn.methods.partial_evolution import check, limits

        yield from check.check_numbers(run)
        yield from limits.check_training(run)
        yield from limits.check_polynomials(run)
        yield from limits.check_steps(run)

    def check(self, run: PartialEvolutionRun, system: PatchSystem) -> Iterator[Problem]:
        """Check the run against its system, and try the system where nothing else is wrong."""
        from macrodyn.methods.partial_evolution.check import check_with_system

        yield from check_with_system(run, system)

    def warnings(self, run: PartialEvolutionRun, system: PatchSystem) -> Iterator[str]:
        """Yield what is evaluated outside of what is sampled, and what is set and not used."""
        from macrodyn.methods.partial_evolution.chains import unused_settings
        from macrodyn.methods.partial_evolution.check import extrapolations
        from macrodyn.methods.partial_evolution.check_cases import unused_references

        yield from extrapolations(run, system)
        yield from unused_settings(run)
        yield from unused_references(run)


def _without_order(section: SizesConfig) -> SizesConfig:
    """Sort the sizes that are learned from; the large one alone need not be said."""
    given = tuple(sorted(section.train))
    return section.model_copy(update={"train": () if given == (section.large,) else given})


def _without_unused(section: UpsampleConfig) -> UpsampleConfig:
    """Leave to their defaults the settings of relaxation that chains do not use."""
    if not section.chains:
        return section
    usual = RelaxationConfig()
    defaults = {name: getattr(usual, name) for name in UNUSED_BY_CHAINS}
    return section.model_copy(update={"relaxation": section.relaxation.model_copy(update=defaults)})
