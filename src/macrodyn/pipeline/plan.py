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

from macrodyn.config.load import Study
from macrodyn.config.models import ExecutionConfig, RunConfig
from macrodyn.lattice import Tiling
from macrodyn.pipeline.canonical import canonical_run, version_of

# Raised when a stage's result changes for the same configuration: old results are then not reused.
VERSIONS = {
    "simulate": 2,
    "upsample": 2,
    "evolve": 2,
    "closure": 2,
    "encode": 2,
    "dynamics": 2,
    "predict": 3,
    "reference": 3,
}
# The same for the estimated covariance factor, on which only those runs depend that ask for it.
ESTIMATOR_VERSION = 3


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
        config: Its configuration, in canonical form.
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
    run = canonical_run(run)
    make = _Stages(run)
    simulate = make.simulate()
    data = make.upsample(simulate)
    closure = make.closure(data)
    pairs = {"ours": ("partial", data), "naive": ("small", simulate), "full": ("whole", data)}
    latents, models = {}, {}
    predictions: dict[str, dict[str, Stage]] = {}
    for method in ("ours", *run.baselines):
        scope, source = pairs[method]
        latents[method] = make.encode(scope, make.evolve(scope, source), closure)
        models[method] = make.dynamics(scope, latents[method])
        predictions[method] = {
            horizon: make.predict(horizon, models[method], closure)
            for horizon in run.evaluate.horizons
        }
    return RunPlan(name, run, data, make.reference(), closure, latents, models, predictions)


class _Stages:
    """Makes the stages of one run: for each, what it depends on, what it reads, where it runs."""

    def __init__(self, run: RunConfig) -> None:
        self.run = run
        self.large, self.patch = run.sizes.large, run.patch
        self.system = run.system.model_dump(mode="json") | version_of(run.system.name)
        # A condition is sampled: the parameter's own value matters only for the evaluation.
        sampled = {k: v for k, v in self.system["parameters"].items() if k not in run.conditions}
        sampled.update({k: values[0] for k, values in run.conditions.items()})
        self.sampled = {"system": {**self.system, "parameters": sampled}, "seed": run.seed}
        self.initial = run.evaluate.model_dump(mode="json")["initial"]
        # When is recorded; the integrator's step is the prediction's own affair.
        self.record = {
            name: horizon.model_dump(mode="json", exclude={"step"})
            for name, horizon in run.evaluate.horizons.items()
        }
        shards = ExecutionConfig().shards | run.execution.shards
        self.shards = {str(stage): number for stage, number in shards.items()}
        self.whole = {"device": run.execution.device}

    def simulate(self) -> Stage:
        config = {
            **self.sampled,
            "small": self.run.sizes.small,
            "conditions": self.run.conditions,
            "simulate": self.run.simulate.model_dump(mode="json"),
        }
        return Stage("simulate", config, {}, self._cut("simulate", self.run.groups))

    def upsample(self, simulate: Stage) -> Stage:
        config = {
            **self.sampled,
            "large": self.large,
            "patch": self.patch,
            "upsample": self.run.upsample.model_dump(mode="json"),
        }
        return Stage(
            "upsample", config, {"small": simulate}, self._cut("upsample", self.run.groups)
        )

    def closure(self, data: Stage) -> Stage:
        closure = self.run.closure.model_dump(mode="json")
        config = {**self.sampled, "patch": self.patch, "closure": closure}
        return Stage("closure", config, {"data": data}, self.whole)

    def evolve(self, scope: str, source: Stage) -> Stage:
        config = {
            **self.sampled,
            "scope": scope,
            "patch": self.patch,
            "snapshots": self.run.upsample.snapshots,
            "evolve": _evolve_config(self.run, scope),
        }
        return Stage("evolve", config, {"states": source}, self._cut("evolve", self.run.groups))

    def encode(self, scope: str, evolve: Stage, closure: Stage) -> Stage:
        config = {**self.sampled, "scope": scope, "patch": self.patch}
        return Stage("encode", config, {"pairs": evolve, "closure": closure}, self.whole)

    def dynamics(self, scope: str, latents: Stage) -> Stage:
        dynamics = _dynamics_config(self.run, scope)
        config = {"seed": self.run.seed, "dynamics": dynamics}
        if dynamics["covariance_factor"] == "estimated":
            config["estimator"] = ESTIMATOR_VERSION
        return Stage("dynamics", config, {"latents": latents}, self.whole)

    def predict(self, horizon: str, model: Stage, closure: Stage) -> Stage:
        evaluate = self.run.evaluate
        config = {
            "system": self.system,
            "seed": self.run.seed,
            "conditions": sorted(self.run.conditions),
            "large": self.large,
            "patch": self.patch,
            "step": evaluate.horizons[horizon].step or self.run.evolve.dt,
            "horizon": self.record[horizon],
            "initial": self.initial,
            "replicas": evaluate.predicted_replicas,
        }
        return Stage("predict", config, {"model": model, "closure": closure}, self.whole)

    def reference(self) -> Stage:
        config = {
            "system": self.system,
            "seed": self.run.seed,
            "large": self.large,
            "initial": self.initial,
            "replicas": self.run.evaluate.replicas,
            "horizons": self.record,
        }
        return Stage("reference", config, {}, self._cut("reference", self._trajectories()))

    def _cut(self, stage: str, most: int) -> dict[str, Any]:
        """Cut a stage into as many shards as wanted, but none without something to do."""
        return {"shards": min(self.shards.get(stage, 1), most), **self.whole}

    def _trajectories(self) -> int:
        values = self.initial.values() if isinstance(self.initial, dict) else [self.initial]
        return math.prod(map(len, values)) * self.run.evaluate.replicas


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
    if scope != "partial" or Tiling(run.sizes.large, run.patch).number == 1:
        config |= {"covariance_factor": "theory", "likelihood": "mean"}
    return config
