"""Plans: the stages of each run, which its method asks for, and those of the study as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from macrodyn.config.models import RunConfig
from macrodyn.config.study import Study
from macrodyn.methods.registry import method_of
from macrodyn.pipeline.canonical import canonical_run, version_of
from macrodyn.pipeline.kind import StageKind
from macrodyn.pipeline.stage import Stage, StageId
from macrodyn.pipeline.study_kinds import SUMMARISE
from macrodyn.systems.registry import prepared_stages

# Shards of a scattered stage where the study does not say.
SHARDS = 2
# Before the role of what a system prepared, among the parents of a stage that uses the system.
PREPARED = "prepared/"


class PlanError(ValueError):
    """Stages that do not go together."""


class Planner:
    """Makes the stages of one run.

    Whatever a system must prepare is a parent of every stage whose configuration names the system:
    it is added here and nowhere else.

    Args:
        run: The run, in canonical form.

    Attributes:
        prepared: Those stages, by their roles.
    """

    def __init__(self, run: RunConfig) -> None:
        self.run = run
        self.system: dict[str, Any] = run.system.model_dump(mode="json") | version_of(
            run.system.name
        )
        self.prepared: dict[str, Stage] = {}
        self.prepared = {
            PREPARED + role: stage
            for role, stage in prepared_stages(run.system.name, run.system.parameters, self).items()
        }

    def stage(
        self,
        kind: StageKind,
        config: Mapping[str, Any],
        parents: Mapping[str, Stage] | None = None,
        *,
        beside: Mapping[str, Stage] | None = None,
        most: int | None = None,
        subject: str = "",
    ) -> Stage:
        """Make a stage.

        Args:
            kind: What it is.
            config: What its result depends on, as plain JSON values.
            parents: The stages whose results it reads, by role.
            beside: Stages that it reads as well and its parents were made from.
            most: Parts into which a scattered stage can be cut at most; any number if left out.
            subject: What it is about, unless its folder is named by a digest.
        """
        prepared = self.prepared if "system" in config else {}
        wanted = self.run.execution
        execution: dict[str, Any] = {
            "device": wanted.device,
            "memory": wanted.memory.get(kind.name, kind.memory),
            "minutes": wanted.minutes.get(kind.name, kind.minutes),
        }
        if kind.scatter:
            shards = wanted.shards.get(kind.name, SHARDS)
            execution["shards"] = shards if most is None else min(shards, most)
        return Stage(
            kind,
            dict(config),
            {**(parents or {}), **prepared},
            execution,
            dict(beside or {}),
            subject,
        )


@dataclass(frozen=True)
class RunPlan:
    """The stages of one run.

    Attributes:
        name: The run.
        config: Its configuration, in canonical form.
        roles: Its stages by what they are to it, such as ``model/ours``.
        costs: The stages that each way of getting at the result pays for, by its name.
        evaluation: What compares and draws what the run has found.
        trained: What writes its trained model; None if its method writes none.
    """

    name: str
    config: RunConfig
    roles: Mapping[str, Stage]
    costs: Mapping[str, Mapping[StageId, Stage]]
    evaluation: Stage
    trained: Stage | None = None

    def __getitem__(self, role: str) -> Stage:
        return self.roles[role]

    def below(self, role: str) -> dict[str, Stage]:
        """Return the stages whose roles begin so, by the rest of their roles.

        Args:
            role: Such as ``model``, for the models by scheme.
        """
        head = f"{role}/"
        return {k.removeprefix(head): v for k, v in self.roles.items() if k.startswith(head)}

    def stages(self) -> dict[StageId, Stage]:
        """Return every stage that the evaluation reads, by their ids."""
        found = self.evaluation.ancestors()
        del found[self.evaluation.id]
        return found


def plan_run(name: str, run: RunConfig) -> RunPlan:
    """Derive the stages of one run from its configuration.

    Raises:
        UnknownMethodError: If no installed package provides its method.
    """
    run = canonical_run(run)
    method = method_of(run)
    planner = Planner(run)
    graph = method.plan(run, planner)
    costs = {
        way: {
            stage.id: stage
            for role in roles
            for stage in graph.roles[role].ancestors().values()
            if stage.kind.carries_cost != ""
        }
        for way, roles in graph.costs.items()
    }
    # With the parameters as the system's model read them.
    config = run.model_dump(mode="json", exclude={"execution"}) | {"system": planner.system}
    content = {
        "run": config,
        "order": graph.order,
        "costs": {
            way: [_carrier(found[key]) for key in sorted(found)] for way, found in costs.items()
        },
    }
    read = {_cost_role(stage): stage for found in costs.values() for stage in found.values()}
    parents = {role: graph.roles[role] for role in graph.evaluated or graph.roles}
    parents |= planner.prepared
    evaluation = planner.stage(method.evaluation, content, parents, beside=read, subject=name)
    trained = None
    if method.trained is not None:
        made = {role: graph.roles[role] for role in graph.trained} | planner.prepared
        made["evaluation"] = evaluation
        trained = planner.stage(method.trained, {"run": config}, made, subject=name)
    return RunPlan(name, run, graph.roles, costs, evaluation, trained)


def _cost_role(stage: Stage) -> str:
    """Role of a stage to the evaluation, which reads from it what it has cost."""
    return f"cost/{'/'.join(stage.id)}"


def _carrier(stage: Stage) -> dict[str, Any]:
    """Say where a stage's cost is to be read."""
    return {
        "stage": stage.name,
        "role": _cost_role(stage),
        "output": stage.kind.carries_cost or next(iter(stage.kind.outputs)),
        "updates": stage.kind.counts_updates,
    }


class StudyPlan(Mapping[str, RunPlan]):
    """The runs of a study by name, and what is made of them together.

    Args:
        study: The study.

    Attributes:
        analyses: The analyses across runs, by name.
        summary: What ends the study.
    """

    def __init__(self, study: Study) -> None:
        self._runs = {name: plan_run(name, run) for name, run in study.runs.items()}
        self.analyses = {
            name: Stage(
                asked.kind.stage,
                {"options": asked.options, "runs": list(asked.runs)},
                {run: self._runs[run].evaluation for run in asked.runs},
                subject=name,
            )
            for name, asked in study.analyses.items()
        }
        evaluations = {f"run/{name}": plan.evaluation for name, plan in self._runs.items()}
        analyses = {f"analysis/{name}": stage for name, stage in self.analyses.items()}
        content = {
            "study": study.name,
            "title": study.title,
            "analyses": {name: [stage.name, stage.key] for name, stage in self.analyses.items()},
        }
        self.summary = Stage(SUMMARISE, content, evaluations | analyses, subject=study.name)

    def __getitem__(self, name: str) -> RunPlan:
        return self._runs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    @cached_property
    def stages(self) -> dict[StageId, Stage]:
        """Every stage of the study, by its id; those that runs share stand there once.

        Raises:
            PlanError: If two kinds of stages have one name.
        """
        found = self.summary.ancestors()
        found |= {plan.trained.id: plan.trained for plan in self.values() if plan.trained}
        kinds = {stage.name: stage.kind for stage in found.values()}
        for stage in found.values():
            if kinds[stage.name] is not stage.kind and kinds[stage.name] != stage.kind:
                raise PlanError(
                    f"two kinds of stages are called {stage.name!r} ({stage.kind.work} and "
                    f"{kinds[stage.name].work}): rename one of them"
                )
        return found

    @cached_property
    def kinds(self) -> dict[str, StageKind]:
        """The kinds of its stages by name: those of systems, of methods, and of what follows."""
        found = {stage.name: stage.kind for stage in self.stages.values()}
        methods = dict.fromkeys(method_of(plan.config) for plan in self.values())
        own = {kind.name: kind for method in methods for kind in method.kinds}
        first = {k: v for k, v in found.items() if v.place == "digest" and k not in own}
        last = sorted(
            (kind for kind in found.values() if kind.place != "digest"),
            key=lambda kind: ("run", "analysis", "study").index(kind.place),
        )
        return first | own | {kind.name: kind for kind in last}


def plan_study(study: Study) -> StudyPlan:
    """Plan every run of a study, and what is made of them together.

    Raises:
        UnknownMethodError: If no installed package provides a run's method.
    """
    return StudyPlan(study)
