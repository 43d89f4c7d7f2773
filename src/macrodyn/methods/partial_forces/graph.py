"""The stages of a run of partial forces."""

from __future__ import annotations

from macrodyn.methods.base import Graph
from macrodyn.methods.partial_forces import stages
from macrodyn.methods.partial_forces.config import PartialForcesRun, Ranges, TimesConfig
from macrodyn.pipeline.planner import Planner
from macrodyn.pipeline.stage import Stage

# Keys of `closure` that matter where it is not trained.
_UNTRAINED = ("encoder", "dimension", "snapshots")
# Keys of `forces` that matter where no configuration is displaced.
_ON_TRAJECTORIES = ("number", "runs", "configurations", "draw")


def plan(run: PartialForcesRun, planner: Planner) -> Graph:
    """Derive the stages of one run.

    Args:
        run: The run in canonical form.
        planner: Makes the stages.
    """
    seen = {"system": planner.system, "seed": run.seed}
    training = _trajectories(
        run, planner, "training", run.simulate.runs, run.simulate.initial_range, run.simulate.times
    )
    held_out = _trajectories(
        run, planner, "held-out", run.evaluate.runs, run.forecast_range, run.forecast_times
    )
    above = {"while_above": run.simulate.while_above}
    forces_config = run.forces.model_dump(mode="json")
    if not run.forces.displaced:
        forces_config = {key: forces_config[key] for key in _ON_TRAJECTORIES}
    forces = planner.stage(
        stages.FORCES,
        {**seen, **above, "forces": forces_config},
        {"trajectories": training},
        most=_configurations(run),
    )
    closure = run.closure.model_dump(mode="json")
    if run.closure.encoder != "dense":
        closure = {key: closure[key] for key in _UNTRAINED}
    encoder = planner.stage(
        stages.ENCODER, {**seen, **above, "closure": closure}, {"trajectories": training}
    )
    products = planner.stage(
        stages.PRODUCTS,
        seen,
        {"forces": forces, "encoder": encoder},
        beside={"trajectories": training},
        most=_configurations(run),
    )
    drift = planner.stage(
        stages.DRIFT,
        {"seed": run.seed, "dynamics": run.dynamics.model_dump(mode="json")},
        {"products": products},
    )
    forecast = planner.stage(
        stages.FORECAST,
        {
            **seen,
            "step": run.evaluate.step or run.forecast_times.spacing,
            "unresolved": run.evaluate.unresolved,
        },
        {"model": drift, "encoder": encoder, "held-out": held_out},
    )
    roles = {
        "trajectories": training,
        "held-out": held_out,
        "forces": forces,
        "encoder": encoder,
        "products": products,
        "model": drift,
        "forecast": forecast,
    }
    return Graph(
        roles=roles,
        evaluated=(
            "trajectories",
            "held-out",
            "forces",
            "encoder",
            "products",
            "model",
            "forecast",
        ),
        costs={"ours": ("forecast",), "direct": ("held-out",)},
        order=run.baselines,
        trained=("model", "encoder"),
    )


def _configurations(run: PartialForcesRun) -> int:
    """Most configurations that there are."""
    runs = run.simulate.runs if run.forces.runs == "all" else run.forces.runs
    most = runs * run.simulate.times.points
    return most if run.forces.configurations == "all" else min(most, run.forces.configurations)


def _trajectories(
    run: PartialForcesRun,
    planner: Planner,
    purpose: str,
    number: int,
    ranges: Ranges,
    times: TimesConfig,
) -> Stage:
    config = {
        "system": planner.system,
        "seed": run.seed,
        "purpose": purpose,
        "size": list(run.size),
        "runs": number,
        "initial_range": ranges if isinstance(ranges, dict) else list(ranges),
        "times": times.model_dump(mode="json"),
        "precision": run.simulate.precision,
    }
    return planner.stage(stages.TRAJECTORIES, config, most=number)
