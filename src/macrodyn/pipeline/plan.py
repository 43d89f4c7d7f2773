"""The stages of a study, each named by a digest of the part of the configuration it depends on.

A stage's folder is ``<stage>/<key>``. Two runs that agree in what a stage depends on share it; an
edited key gives new keys to the stages that depend on it, and to no others.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from macrodyn.config import ExecutionConfig, RunConfig
from macrodyn.lattice import Tiling
from macrodyn.study import Study, patch_shape

# Raised when a stage's result changes for the same configuration: old results are then not reused.
VERSIONS = {
    "simulate": 2,
    "upsample": 2,
    "evolve": 1,
    "closure": 1,
    "encode": 1,
    "dynamics": 1,
    "predict": 2,
    "reference": 2,
}


@dataclass(frozen=True)
class Stage:
    """One stage of one or more runs.

    Attributes:
        name: What it does.
        config: What its result depends on, apart from its inputs.
        parents: The stages whose results it reads, by role.
        execution: How it is cut and where it runs; not part of its key.
    """

    name: str
    config: dict[str, Any]
    parents: dict[str, Stage]
    execution: dict[str, Any]

    def __post_init__(self) -> None:
        """Sort the keys of the configuration."""
        # Snakemake runs a rule again when its params come in another order; results depend on their
        # values alone.
        object.__setattr__(self, "config", _in_order(self.config))

    @cached_property
    def key(self) -> str:
        """Digest of the configuration of this stage and of all it reads."""
        content = {
            "stage": self.name,
            "version": VERSIONS[self.name],
            "config": self.config,
            "parents": {role: parent.key for role, parent in sorted(self.parents.items())},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Its folder below the study's ``stages``."""
        return f"{self.name}/{self.key}"

    @property
    def shards(self) -> int:
        """Jobs into which it is scattered."""
        return int(self.execution.get("shards", 1))

    def ancestors(self) -> dict[tuple[str, str], Stage]:
        """Return this stage and all that it reads, by (name, key)."""
        return dict(self._ancestors)

    @cached_property
    def _ancestors(self) -> dict[tuple[str, str], Stage]:
        found = {(self.name, self.key): self}
        for parent in self.parents.values():
            found.update(parent._ancestors)
        return found


@dataclass(frozen=True)
class RunPlan:
    """The stages of one run.

    Attributes:
        name: The run.
        config: Its configuration.
        data: The upsampled snapshots (the small ones where sizes are equal).
        reference: Direct simulation.
        closure: The patch autoencoder.
        latents: Encoded pairs by method: ``ours`` and the baselines.
        models: Trained dynamics by method.
        predictions: Predicted trajectories by method, then horizon.
    """

    name: str
    config: RunConfig
    data: Stage
    reference: Stage
    closure: Stage
    latents: dict[str, Stage]
    models: dict[str, Stage]
    predictions: dict[str, dict[str, Stage]]

    def stages(self) -> dict[tuple[str, str], Stage]:
        """Return every stage that the run needs, by (name, key)."""
        found = {**self.reference.ancestors(), **self.closure.ancestors()}
        for horizons in self.predictions.values():
            for prediction in horizons.values():
                found.update(prediction.ancestors())
        return found

    def costs(self) -> dict[str, list[Stage]]:
        """Return the stages that our way of this run pays for, by name."""
        found = self.models["ours"].ancestors() | self.closure.ancestors()
        for prediction in self.predictions["ours"].values():
            found |= prediction.ancestors()
        stages: dict[str, list[Stage]] = {}
        for stage in found.values():
            stages.setdefault(stage.name, []).append(stage)
        return stages


def plan_study(study: Study) -> dict[str, RunPlan]:
    """Plan every run of a study."""
    return {name: plan_run(name, run) for name, run in study.runs.items()}


def study_stages(plans: dict[str, RunPlan]) -> dict[tuple[str, str], Stage]:
    """Return every stage of a study, by (name, key), those that runs share once."""
    return {found: stage for plan in plans.values() for found, stage in plan.stages().items()}


def plan_run(name: str, run: RunConfig) -> RunPlan:
    """Derive the stages of one run from its configuration."""
    device = run.execution.device
    system = run.system.model_dump(mode="json")
    small, large, patch = run.sizes.small, run.sizes.large, patch_shape(run)
    shards = {str(k): v for k, v in (ExecutionConfig().shards | run.execution.shards).items()}

    # No shard is left without a group or a trajectory.
    groups = run.simulate.groups * math.prod(map(len, run.conditions.values()))
    initial = run.evaluate.model_dump(mode="json")["initial"]
    combinations = (
        math.prod(map(len, initial.values())) if isinstance(initial, dict) else len(initial)
    )
    trajectories = combinations * run.evaluate.replicas

    # When is recorded; the integrator's step is the prediction's own affair.
    record = {
        name: horizon.model_dump(mode="json", exclude={"step"})
        for name, horizon in run.evaluate.horizons.items()
    }

    def cut(stage: str) -> dict[str, Any]:
        most = trajectories if stage == "reference" else groups
        return {"shards": min(shards.get(stage, 1), most), "device": device}

    # A parameter that is a condition is sampled, so its own value matters only for the evaluation.
    sampled = {k: v for k, v in system["parameters"].items() if k not in run.conditions}
    sampled.update({k: values[0] for k, values in run.conditions.items()})
    common = {"system": {**system, "parameters": sampled}, "seed": run.seed}
    simulate = Stage(
        "simulate",
        {
            **common,
            "small": small,
            "conditions": run.conditions,
            "simulate": run.simulate.model_dump(mode="json"),
        },
        {},
        cut("simulate"),
    )
    data = Stage(
        "upsample",
        {
            **common,
            "large": large,
            "patch": patch,
            "upsample": run.upsample.model_dump(mode="json"),
        },
        {"small": simulate},
        cut("upsample"),
    )
    pairs = {"ours": ("partial", data), "naive": ("small", simulate), "full": ("whole", data)}
    closure = Stage(
        "closure",
        {**common, "patch": patch, "closure": run.closure.model_dump(mode="json")},
        {"data": data},
        {"device": device},
    )
    latents, models = {}, {}
    predictions: dict[str, dict[str, Stage]] = {}
    for method in ("ours", *run.baselines):
        scope, source = pairs[method]
        evolve = Stage(
            "evolve",
            {
                **common,
                "scope": scope,
                "patch": patch,
                "snapshots": run.upsample.snapshots,
                "evolve": _evolve_config(run, scope),
            },
            {"states": source},
            cut("evolve"),
        )
        latents[method] = Stage(
            "encode",
            {**common, "scope": scope, "patch": patch},
            {"pairs": evolve, "closure": closure},
            {"device": device},
        )
        models[method] = Stage(
            "dynamics",
            {"seed": run.seed, "dynamics": _dynamics_config(run, scope)},
            {"latents": latents[method]},
            {"device": device},
        )
        predictions[method] = {
            horizon: Stage(
                "predict",
                {
                    "system": system,
                    "seed": run.seed,
                    "conditions": sorted(run.conditions),
                    "large": large,
                    "patch": patch,
                    "step": run.evaluate.horizons[horizon].step or run.evolve.dt,
                    "horizon": record[horizon],
                    "initial": initial,
                    "replicas": run.evaluate.predicted_replicas,
                },
                {"model": models[method], "closure": closure},
                {"device": device},
            )
            for horizon in run.evaluate.horizons
        }
    reference = Stage(
        "reference",
        {
            "system": system,
            "seed": run.seed,
            "large": large,
            "initial": initial,
            "replicas": run.evaluate.replicas,
            "horizons": record,
        },
        {},
        cut("reference"),
    )
    return RunPlan(name, run, data, reference, closure, latents, models, predictions)


def _in_order(value: Any) -> Any:
    """Return plain values with the keys of all mappings sorted."""
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _evolve_config(run: RunConfig, scope: str) -> dict[str, Any]:
    """Only the keys that matter for how the pairs are made."""
    config = run.evolve.model_dump(mode="json")
    if scope == "partial":
        return config
    keep = ("dt", "lags") if scope == "whole" else ("dt", "lags", "patches")
    return {k: config[k] for k in keep}


def _dynamics_config(run: RunConfig, scope: str) -> dict[str, Any]:
    """Factor and patches concern partial pairs only: whole systems show their covariance as is."""
    config = run.dynamics.model_dump(mode="json")
    if scope != "partial" or Tiling(run.sizes.large, patch_shape(run)).number == 1:
        config |= {"covariance_factor": "theory", "likelihood": "mean"}
    return config
