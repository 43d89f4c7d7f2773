"""The stages of a run of partial evolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from macrodyn.lattice import Shape, Tiling
from macrodyn.methods.base import Graph
from macrodyn.methods.partial_evolution import stages
from macrodyn.methods.partial_evolution.cases import Case, evaluated_cases, size_name
from macrodyn.methods.partial_evolution.config import UNUSED_BY_CHAINS, PartialEvolutionRun
from macrodyn.pipeline.planner import Planner
from macrodyn.pipeline.stage import Stage
from macrodyn.streams import torch_seed

# How each scheme makes its pairs: of what, and from which snapshots.
SCOPES = {"ours": "partial", "naive": "small", "full": "whole"}

# Keys of `dynamics` that polynomials use: they are not trained in steps.
_POLYNOMIAL = (
    "members",
    "covariance",
    "covariance_factor",
    "covariance_from",
    "buffer_noise",
    "increments",
    "likelihood",
    "polynomial",
    "validation_fraction",
)


def plan(run: PartialEvolutionRun, planner: Planner) -> Graph:
    """Derive the stages of one run.

    Args:
        run: The run in canonical form.
        planner: Makes the stages.
    """
    main, *others = (_Size.of(run, shape) for shape in run.trained)
    make = _Stages(run, planner)
    small = make.simulate()
    snapshots = make.upsample(small, main)
    choice = make.recommend(snapshots) if run.evolve.automatic else None
    pairs = None
    if run.closure.objective == "prediction":
        pairs = make.evolve(SCOPES["ours"], snapshots, choice, main)
    closure = make.closure(snapshots, pairs)
    roles = {"small": small, "snapshots": snapshots, "closure": closure}
    # Of other sizes that are learned from.
    beside = {size: make.upsample(small, size) for size in others}
    roles |= {f"snapshots/{size.name}": stage for size, stage in beside.items()}
    cases = evaluated_cases(run)
    for case in cases:
        if case.reference:
            roles.setdefault(case.reference, make.reference(case))
        if run.evaluate.equilibrium is not None:
            roles.setdefault(case.equilibrium, make.equilibrium(case))
    if choice is not None:
        roles["choice"] = choice
    for scheme in ("ours", *run.baselines):
        if scheme == "polynomial":
            continue
        scope = SCOPES[scheme]
        source = small if scope == "small" else snapshots
        found = make.latents(scope, source, closure, choice, main)
        roles |= {f"{role}/{scheme}": stage for role, stage in found.items()}
        several = {}
        for size, source in beside.items() if scope != "small" else ():
            made = make.latents(scope, source, closure, choice, size)
            roles |= {f"{role}/{scheme}/{size.name}": stage for role, stage in made.items()}
            several[f"latents/{size.name}"] = made["latents"]
        latents = {"latents": found["latents"], **several}
        model = roles[f"model/{scheme}"] = make.dynamics(scope, latents)
        for case in cases:
            roles[f"prediction/{scheme}/{case.name}"] = make.predict(case, scope, model, closure)
    if "polynomial" in run.baselines:
        # Another model of what ours learns from: it has no pairs and latents of its own.
        latents = roles["model/ours"].parents
        model = make.dynamics("partial", latents, model="polynomial")
        roles["model/polynomial"] = model
        for case in cases:
            roles[f"prediction/polynomial/{case.name}"] = make.predict(
                case, "partial", model, closure
            )
    ours = ("model/ours", "closure", *(f"prediction/ours/{case.name}" for case in cases))
    direct = tuple(dict.fromkeys(case.reference for case in cases if case.reference))
    # Direct simulation of smaller sizes says nothing of what that of the large one would cost.
    way = "direct" if run.evaluate.reference == "direct" else "check"
    # Of the baselines it reads what they have learned and predict, not the data that they had.
    unread = ("pairs/", "latents/", "snapshots/")
    evaluated = [r for r in roles if not r.startswith(unread)]
    return Graph(
        roles=roles,
        evaluated=(*evaluated, "latents/ours"),
        costs={"ours": ours, way: direct},
        order=(*(case.name for case in cases), "ours", *run.baselines),
        trained=(*ours, *direct),
    )


@dataclass(frozen=True)
class _Size:
    """A size that is learned from.

    Attributes:
        shape: Its lattice.
        seed: Seed of its stages: sizes share small simulations, and no random numbers.
        patches: Patches of a snapshot that are evolved, at most all.
    """

    shape: Shape
    seed: int
    patches: int

    @classmethod
    def of(cls, run: PartialEvolutionRun, shape: Shape) -> _Size:
        own = torch_seed(run.seed, "size", *shape)
        patches = min(run.evolve.patches, Tiling(shape, run.patch).number)
        return cls(shape, run.seed if shape == run.trained[0] else own, patches)

    @property
    def name(self) -> str:
        """Its name in roles."""
        return size_name(self.shape)


class _Stages:
    """Makes the stages of one run: for each, what it depends on and what it reads."""

    def __init__(self, run: PartialEvolutionRun, planner: Planner) -> None:
        self.run, self.planner = run, planner
        self.large, self.patch = run.sizes.large, run.patch
        # A condition is sampled: the parameter's own value matters only for the evaluation.
        sampled = {k: values[0] for k, values in run.conditions.items()}
        self.sampled = {"system": self._system(sampled), "seed": run.seed}
        self.initial = run.evaluate.model_dump(mode="json")["initial"]
        # When is recorded; the integrator's step is the prediction's own affair.
        self.record = {
            name: horizon.model_dump(mode="json", exclude={"step"})
            for name, horizon in run.evaluate.horizons.items()
        }

    def simulate(self) -> Stage:
        config = {
            **self.sampled,
            "small": self.run.sizes.small,
            "conditions": self.run.conditions,
            "simulate": self.run.simulate.model_dump(mode="json"),
        }
        return self.planner.stage(stages.SIMULATE, config, most=self.run.groups)

    def upsample(self, small: Stage, size: _Size) -> Stage:
        config = {
            **self.sampled,
            "seed": size.seed,
            "large": size.shape,
            "patch": self.patch,
            "upsample": _upsample_config(self.run),
        }
        return self.planner.stage(stages.UPSAMPLE, config, {"small": small}, most=self.run.groups)

    def closure(self, snapshots: Stage, pairs: Stage | None) -> Stage:
        # Features are measured, not trained.
        closure = self.run.closure.model_dump(mode="json", exclude={"features", "candidates"})
        config = {**self.sampled, "patch": self.patch, "closure": closure}
        parents = {"data": snapshots}
        if pairs is not None:
            parents["pairs"] = pairs
        return self.planner.stage(stages.CLOSURE, config, parents)

    def recommend(self, snapshots: Stage) -> Stage:
        run = self.run
        config = {
            **self.sampled,
            "patch": self.patch,
            "evolve": _evolve_config(run, "partial"),
            "steps": list(run.steps),
            "planned": run.groups * len(run.ages) * run.upsample.snapshots,
        }
        if len(run.trained) > 1:
            # A buffer must fit wherever it is used.
            config["beside"] = [s for s in run.trained[1:] if Tiling(s, run.patch).number > 1]
        return self.planner.stage(stages.RECOMMEND, config, {"states": snapshots})

    def latents(
        self, scope: str, source: Stage, closure: Stage, choice: Stage | None, size: _Size
    ) -> dict[str, Stage]:
        """Pairs of a scheme and their latents, of snapshots of one size or of small systems."""
        pairs = self.evolve(scope, source, choice, size)
        return {"pairs": pairs, "latents": self.encode(scope, pairs, source, closure, size)}

    def evolve(self, scope: str, source: Stage, choice: Stage | None, size: _Size) -> Stage:
        evolve = _evolve_config(self.run, scope)
        if scope == "partial":
            evolve["patches"] = size.patches
        config = {
            **self.sampled,
            "seed": size.seed,
            "scope": scope,
            "patch": self.patch,
            "snapshots": self.run.upsample.snapshots,
            "evolve": evolve,
        }
        parents = {"states": source}
        if choice is not None and "auto" in evolve.values():
            parents["choice"] = choice
        return self.planner.stage(stages.EVOLVE, config, parents, most=self.run.groups)

    def encode(self, scope: str, pairs: Stage, source: Stage, closure: Stage, size: _Size) -> Stage:
        main = size.shape == self.run.trained[0]
        config = {
            **self.sampled,
            "scope": scope,
            "patch": self.patch,
            "features": list(self.run.closure.features),
            # Only what is ours is judged, at the main size.
            "candidates": list(self.run.closure.candidates) if scope == "partial" and main else [],
        }
        if self.run.dynamics.covariance_from == "rates":
            config["rates"] = True
        if self.run.dynamics.increments == "rates":
            config["drift_rates"] = True
        parents = {"pairs": pairs, "closure": closure}
        return self.planner.stage(stages.ENCODE, config, parents, beside={"states": source})

    def dynamics(
        self, scope: str, latents: Mapping[str, Stage], *, model: str | None = None
    ) -> Stage:
        model = model or self.run.dynamics.model
        dynamics = _dynamics_config(self.run, scope, model)
        config = {"seed": self.run.seed, "dynamics": dynamics}
        if dynamics["covariance_factor"] == "estimated":
            config["estimator"] = stages.ESTIMATOR_VERSION
        if model == "polynomial" and self.run.conditions:
            # Before, powers that the values of a condition do not tell apart were counted.
            config["powers"] = "counted"
        if scope != "small" and self.run.trained != (self.large,):
            # Sigma is that of the large size, whatever it is learned from.
            config["sites"] = math.prod(self.large)
        return self.planner.stage(stages.DYNAMICS, config, latents)

    def predict(self, case: Case, scope: str, model: Stage, closure: Stage) -> Stage:
        evaluate = self.run.evaluate
        config = {
            "system": self._system(case.parameters),
            "seed": self.run.seed,
            "conditions": sorted(self.run.conditions),
            "large": case.large,
            "patch": self.patch,
            "features": list(self.run.closure.features),
            "step": evaluate.horizons[case.horizon].step or self._trained_step(),
            "horizon": self.record[case.horizon],
            "initial": self.initial,
            "replicas": evaluate.predicted_replicas,
        }
        if scope != "small" and case.large != self.large:
            # That of a small system is taken for that of a large one, whatever the sizes.
            config["noise"] = "scaled"
        if evaluate.equilibrium is not None and self._has_density():
            config["stationary"] = True
        return self.planner.stage(stages.PREDICT, config, {"model": model, "closure": closure})

    def reference(self, case: Case) -> Stage:
        config = {
            "system": self._system(case.parameters),
            "seed": self.run.seed,
            "large": case.large,
            "initial": self.initial,
            "replicas": self.run.evaluate.replicas,
            "horizons": self.record,
        }
        trajectories = self._macrostates() * self.run.evaluate.replicas
        return self.planner.stage(stages.REFERENCE, config, most=trajectories)

    def equilibrium(self, case: Case) -> Stage:
        settings = self.run.evaluate.equilibrium
        assert settings is not None
        config = {
            "system": self._system(case.parameters),
            "seed": self.run.seed,
            "large": case.large,
            "initial": self.initial,
            "equilibrium": settings.model_dump(mode="json"),
        }
        most = self._macrostates() * settings.replicas
        return self.planner.stage(stages.EQUILIBRIUM, config, most=most)

    def _has_density(self) -> bool:
        """Whether a model of these variables has a stationary density that can be solved for."""
        # Plans are read without numerical libraries, by `macrodyn status`, where none is asked for.
        from macrodyn.closure.features import features_of
        from macrodyn.dynamics.two_variables import MOST_VARIABLES
        from macrodyn.pipeline.stage_system import described_system

        closure = self.run.closure
        system = described_system({"system": self.planner.system})
        features = features_of(closure.features, system)
        variables = len(system.observables) + len(features) + closure.dimension
        return variables <= MOST_VARIABLES and system.relations() is None

    def _macrostates(self) -> int:
        """Number of initial macrostates of the evaluation."""
        values = self.initial.values() if isinstance(self.initial, dict) else [self.initial]
        return math.prod(map(len, values))

    def _trained_step(self) -> float | None:
        """The dt of the pairs; None where only the model will know it."""
        return None if self.run.evolve.dt == "auto" else self.run.evolve.dt

    def _system(self, parameters: dict[str, float]) -> dict[str, Any]:
        """The system with some parameters changed."""
        system = self.planner.system
        return {**system, "parameters": {**system["parameters"], **parameters}}


def _upsample_config(run: PartialEvolutionRun) -> dict[str, Any]:
    """Only the keys that matter for the way in which snapshots are made."""
    config = run.upsample.model_dump(mode="json")
    if not run.upsample.chains:
        return {k: v for k, v in config.items() if k != "chains"}
    relaxation = {k: v for k, v in config["relaxation"].items() if k not in UNUSED_BY_CHAINS}
    return {**config, "relaxation": relaxation}


def _evolve_config(run: PartialEvolutionRun, scope: str) -> dict[str, Any]:
    """Only the keys that matter for how the pairs are made."""
    config = run.evolve.model_dump(mode="json")
    if scope == "partial":
        return config
    keep = ("dt", "lags") if scope == "whole" else ("dt", "lags", "patches")
    return {k: config[k] for k in keep}


def _dynamics_config(run: PartialEvolutionRun, scope: str, model: str) -> dict[str, Any]:
    """Only the keys that matter for the model.

    Factor and patches concern partial pairs only: whole systems show their covariance as is.
    """
    config = run.dynamics.model_dump(mode="json")
    if model == "polynomial":
        config = {key: config[key] for key in _POLYNOMIAL} | {"model": model}
    else:
        config = {k: v for k, v in config.items() if k != "polynomial"}
        if model == "mlp":
            # As before there were others: what was learned is found again.
            del config["model"]
    if config["covariance_from"] == "increments":
        # As before there were expected covariances.
        del config["covariance_from"]
    whole = all(Tiling(shape, run.patch).number == 1 for shape in run.trained)
    if scope != "partial" or whole:
        config |= {"covariance_factor": "theory", "likelihood": "mean"}
    return config
