"""The last stage of a run: its metrics and its figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from macrodyn.evaluation import style
from macrodyn.evaluation.available import Findings, Unavailable
from macrodyn.evaluation.without_forces import (
    constant,
    interpolated,
    nearest,
    own_equation,
    regressed,
    relative_errors,
)
from macrodyn.methods.base import run_of
from macrodyn.methods.partial_forces import figures, figures_explored, figures_states
from macrodyn.methods.partial_forces.config import PartialForcesRun
from macrodyn.methods.partial_forces.sample import used_records
from macrodyn.methods.prepared import draw_prepared
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import write_metrics
from macrodyn.pipeline.stage_system import evaluated_system
from macrodyn.storage.netcdf import read_attributes, read_dataset
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

Array = NDArray[np.float64]


def compare(job: Job) -> None:
    """Compare predictions with held-out trajectories, draw figures and write the metrics.

    Args:
        job: The job. Its inputs are all stages of the run, by their roles; its configuration holds
            that of the ``run``.
    """
    config = job.config["run"]
    run = run_of(PartialForcesRun, config)
    system = evaluated_system(job)
    findings = Findings()
    made = read_dataset(job.input("forecast"))
    true = read_dataset(job.input("held-out"), ["observables", "initial_values"])
    used = used_records(true, run.simulate.while_above)
    count = len(system.observables)
    predicted = made.z.values[..., :count].astype(np.float64)
    truth = true.observables.values
    errors = relative_errors(predicted, truth, used)
    metrics: dict[str, Any] = {
        "error": summarise(errors),
        "by_observable": {
            observable: summarise(errors[..., [k]]) | {"without_forces": {}}
            for k, observable in enumerate(system.observable_names)
        },
    }
    metrics["without_forces"] = {}
    drawn: dict[str, Array] = {}
    trained = read_dataset(job.input("trajectories"), ["observables", "initial_values"])
    for name in run.baselines:
        found = findings.attempt(f"without_forces.{name}", _baseline(name, trained, true, job.info))
        metrics["without_forces"][name] = None
        if found is not None:
            drawn[name] = found
            score = relative_errors(found, truth, used)
            metrics["without_forces"][name] = float(score.mean())
            for k, observable in enumerate(system.observable_names):
                metrics["by_observable"][observable]["without_forces"][name] = float(
                    score[:, k].mean()
                )
    if len(predicted) > 1:
        # The published measure: against one member's prediction, not against the truth.
        other = relative_errors(predicted[:-1], predicted[-1], used)
        metrics["error_to_last_member"] = summarise(other)
    training = read_sealed_json(job.input("model", "training"))
    closure = read_sealed_json(job.input("encoder", "training"))
    unresolved = made.unresolved.values
    forces = read_attributes(job.input("forces"))
    metrics |= {
        "unresolved": {
            "median": float(np.median(unresolved)),
            "high": float(np.quantile(unresolved, 0.95)),
        },
        "condition_number": training["condition_number"],
        "forces": {
            "evaluations": training["evaluations"],
            "configurations": training["configurations"],
            "each": int(forces["evaluations_each"]),
        },
        "closure": {"reconstruction": closure["reconstruction"], "snapshots": closure["snapshots"]},
        "training_loss": training["history"]["best_loss"],
    }
    findings.explain(metrics)
    for file, figure in figures.of_run(
        run, system, made, true, used, drawn, errors, metrics, (closure, training), job.subject
    ).items():
        style.save(figure, job.outputs["figures"] / f"{file}.png")
    explored = figures_explored.explored(system, made, true, used, drawn)
    write_sealed_json(job.outputs["figures"] / "trajectories.json", explored)
    states = read_dataset(job.input("held-out"), ["states"])
    figure = figures_states.states(system, states, tuple(run.size), job.subject)
    style.save(figure, job.outputs["figures"] / "states.png")
    draw_prepared(job, system)
    write_metrics(job, metrics, findings)


def summarise(errors: Array) -> dict[str, Any]:
    """Mean over runs and observables of each member; their mean, spread and extremes.

    Args:
        errors: Shape [member, run, observable].
    """
    members = errors.mean(axis=(1, 2))
    return {
        "mean": float(members.mean()),
        "std": float(members.std(ddof=1)) if len(members) > 1 else 0.0,
        "median": float(np.median(members)),
        "worst": float(members.max()),
        "members": members.tolist(),
        "worst_run": float(errors.mean(axis=2).max()),
    }


def _baseline(
    name: str, trained: xr.Dataset, true: xr.Dataset, say: Callable[[str], None]
) -> Callable[[], Array]:
    """What makes a prediction that needs no forces."""
    initial, wanted = trained.initial_values.values, true.initial_values.values
    times, asked = trained.time.values, true.time.values
    start = true.observables.values[:, 0]

    def at_times() -> Array:
        """Observables of the training runs at the times that are asked for."""
        if len(times) == len(asked) and np.allclose(times, asked):
            return trained.observables.values
        if asked.min() < times.min() - 1e-9 or asked.max() > times.max() + 1e-9:
            raise Unavailable("the training runs do not reach as far as the held-out ones")
        found: Array = CubicSpline(times, trained.observables.values, axis=1)(asked)
        return found

    def make() -> Array:
        say(f"predicting without forces: {name}")
        if name == "interpolation":
            return interpolated(initial, at_times(), wanted)
        if name == "nearest":
            return nearest(initial, at_times(), wanted)
        if name == "regression":
            return regressed(at_times(), start)
        if name == "constant":
            return constant(start, len(asked))
        return own_equation(times, trained.observables.values, start, asked)

    return make
