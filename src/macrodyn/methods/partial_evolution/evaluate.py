"""The last stage of a run: its metrics and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import xarray as xr

from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.evaluation import style
from macrodyn.evaluation.available import Findings
from macrodyn.evaluation.figures_forecast import forecast_scores
from macrodyn.evaluation.figures_steps import step_errors
from macrodyn.evaluation.figures_worth import variables_worth
from macrodyn.evaluation.sampled import SampledEquilibrium
from macrodyn.methods.base import run_of
from macrodyn.methods.partial_evolution.cases import Case, evaluated_cases
from macrodyn.methods.partial_evolution.compare import (
    Comparison,
    compare_horizon,
    compare_sampled,
    conditions_outside,
    markov_metrics,
    order_of_case,
)
from macrodyn.methods.partial_evolution.config import PartialEvolutionRun
from macrodyn.methods.partial_evolution.diagnose import mean_drift, residual_summary, run_residual
from macrodyn.methods.partial_evolution.explore import explored_case, explored_trajectories
from macrodyn.methods.partial_evolution.predicted import judge_predictions
from macrodyn.methods.partial_evolution.relaxed import judge_relaxation
from macrodyn.methods.partial_evolution.run_figures import (
    comparison_figures,
    dynamics_figures,
    learned_moments,
    sampled_figure,
    snapshot_figure,
    training_figure,
    written_names,
)
from macrodyn.methods.partial_evolution.step_errors import of_pairs, of_pilot
from macrodyn.methods.partial_evolution.worthwhile import forecast_latents, judge_latents
from macrodyn.methods.prepared import draw_prepared
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import write_metrics
from macrodyn.pipeline.stage_system import evaluated_system
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from macrodyn.systems import PatchSystem


def evaluate(job: Job) -> None:
    """Compare a run with direct simulation, draw its figures and write its metrics.

    Predictions of a size that was not simulated are compared with each other.

    What the data cannot give is null in the metrics, with the reason under ``unavailable``, and all
    else is made; a figure that cannot be drawn says why.

    Args:
        job: The job. Its inputs are all stages of the run, by their roles; its configuration holds
            that of the ``run``.
    """
    config = job.config["run"]
    system = evaluated_system(job)
    run = run_of(PartialEvolutionRun, config)
    title = job.subject
    metrics: dict[str, Any] = {"horizons": {}}
    findings = Findings()
    cases = evaluated_cases(run)
    if run.evaluate.reference == "none":
        metrics |= {"predicted": {}, "checked": {c.name: c.large for c in cases if c.reference}}
    # The configuration of the job has lost the order of what the user named.
    cases.sort(key=lambda case: job.config["order"].index(case.name))
    # Horizons share their reference, which is read once for all that follow each other.
    reference = lru_cache(maxsize=1)(lambda role: read_dataset(job.input(role)))
    trainings = {
        scheme: read_sealed_json(job.input(f"model/{scheme}", "training"))
        for scheme in job.roles("model")
    }
    metrics["members"] = {scheme: t["members"] for scheme, t in trainings.items()}
    outliers = {scheme: found["outliers"] for scheme, found in metrics["members"].items()}
    sampled: dict[str, SampledEquilibrium | None] = {}
    order: dict[str, Any] = {}
    explored = []
    for case in cases:
        job.info(f"comparing on {case.name}")
        section = "horizons" if case.reference else "predicted"
        here = findings.below(section, case.name)
        direct = reference(case.reference) if case.reference else None
        predictions = {s: job.input(f"prediction/{s}/{case.name}") for s in job.roles("model")}
        comparison, merits_of = _compare(run, system, case, direct, predictions, here, outliers)
        metrics[section][case.name] = merits_of
        for scheme, merits in merits_of.items():
            if scheme in outliers and (away := merits["members"]["late"]["outliers"]):
                job.warning(f"members {away} of {scheme} end up elsewhere on {case.name}")
        for kind, name, figure in comparison_figures(comparison, system, case.name, title, here):
            style.save(figure, job.outputs["figures"] / kind / f"{name}.png")
        explored.append(explored_case(case.name, comparison, predictions, system))
        if case.equilibrium in job.inputs and case.place not in sampled:
            chains = read_dataset(job.input(case.equilibrium))
            predicted = read_dataset(predictions["ours"])
            sampled[case.place] = compare_sampled(
                chains,
                comparison,
                predicted,
                run.evaluate.equilibrium_fraction,
                findings.below("sampled_equilibrium", case.place or "here"),
            )
            order[case.place or "here"] = order_of_case(
                case,
                system,
                chains,
                predicted,
                comparison.predictions["ours"],
                run.evaluate.equilibrium_fraction,
            )
        del comparison
    write_sealed_json(
        job.outputs["figures"] / "trajectories.json", explored_trajectories(explored, system)
    )
    metrics |= _compare_sampled(job, run, system, sampled, findings)
    if any(found["moments"] for found in order.values()):
        metrics["order_parameters"] = order
    metrics["covariance_factor"] = _covariance_factors(trainings, findings)
    latents = read_dataset(job.input("latents/ours"))
    metrics |= _diagnose(job, run, system, latents, findings)
    closure = read_sealed_json(job.input("closure", "training"))
    metrics["compensation"] = trainings["ours"].get("compensation")
    if metrics["compensation"] is None:
        findings.lack("compensation", _UNCOMPENSATED)
    if "buffer_noise" in trainings["ours"]:
        metrics["buffer_noise"] = trainings["ours"]["buffer_noise"]
    if "covariance_ratio" in trainings["ours"]:
        metrics["covariance_ratio"] = trainings["ours"]["covariance_ratio"]
    metrics["step_errors"] = _step_errors(job, run, system, latents, findings.below("step_errors"))
    metrics["closure"] = {
        "best_loss": next(iter(closure["history"]["best_loss"]), None),
        "origin_share": closure["origin_share"],
        **_judge_closure(job, run, system, latents, findings.below("closure")),
    }
    if metrics["closure"]["best_loss"] is None:
        findings.lack("closure.best_loss", "no closure was trained")
    figure = training_figure(closure, trainings, title)
    style.save(figure, job.outputs["figures"] / "training.png")
    draw_prepared(job, system)
    small, large = (read_dataset(job.input(role)) for role in ("small", "snapshots"))
    beside = next((case for case in cases if case.large == run.sizes.large), cases[0])
    # A smaller system is no snapshot of the large one.
    truth = reference(beside.reference) if run.evaluate.reference == "direct" else None
    figure = snapshot_figure(small, large, truth, system, title)
    style.save(figure, job.outputs["figures"] / "snapshots.png")
    findings.explain({k: v for k, v in metrics.items() if k != "covariance_factor"})
    write_metrics(job, metrics, findings)


def _compare(
    run: PartialEvolutionRun,
    system: PatchSystem,
    case: Case,
    direct: xr.Dataset | None,
    predictions: dict[str, Path],
    findings: Findings,
    outliers: Mapping[str, Sequence[int]],
) -> tuple[Comparison, dict[str, Any]]:
    """Compare predictions with direct simulation; where there is none, with each other."""
    horizon, fraction = run.evaluate.horizons[case.horizon], run.evaluate.equilibrium_fraction
    if direct is not None:
        return compare_horizon(direct, predictions, horizon, fraction, run.seed, findings, outliers)
    names = list(system.observable_names)
    return judge_predictions(predictions, names, horizon, fraction, findings, outliers)


def _compare_sampled(
    job: Job,
    run: PartialEvolutionRun,
    system: PatchSystem,
    sampled: Mapping[str, SampledEquilibrium | None],
    findings: Findings,
) -> dict[str, Any]:
    """What is told of sampled equilibria, by place; nothing where none was asked for."""
    if not sampled:
        return {}
    names = list(system.observable_names)
    found: dict[str, Any] = {}
    for place, comparison in sampled.items():
        name = place or "here"
        found[name] = None if comparison is None else comparison.summary(names)
        if comparison is not None:
            here = findings.below("sampled_equilibrium", name)
            here.lack_all(comparison.undefined(names))
            for observable, values in found[name].items():
                if values["starts_agree"] is False:
                    job.warning(
                        f"{observable} at equilibrium ({name}) depends on where chains begin: "
                        "raise evaluate.equilibrium.burn_in"
                    )
    figure = sampled_figure(sampled, run, system, job.subject)
    style.save(figure, job.outputs["figures"] / "sampled-equilibrium.png")
    return {"sampled_equilibrium": found}


_UNCOMPENSATED = (
    "the drift was fitted to plain increments: as dynamics.increments says, or because the system "
    "does not say its expected rates, events end its pairs, or there are too few groups"
)


def _step_errors(
    job: Job,
    run: PartialEvolutionRun,
    system: PatchSystem,
    latents: xr.Dataset,
    findings: Findings,
) -> dict[str, Any] | None:
    """Estimate what dt and buffer cost, and draw it."""
    path = job.outputs["figures"] / "step-errors.png"
    if "choice" in job.inputs:
        found = of_pilot(job.input("choice"))
    else:
        attempt = findings.attempt("", lambda: of_pairs(latents, buffer=run.buffer, seed=run.seed))
        if attempt is None:
            style.save(style.note(findings.reasons["step_errors"], title=job.subject), path)
            return None
        found = attempt
    figure = step_errors(found.table, found.used, time_unit=system.time_unit, title=job.subject)
    style.save(figure, path)
    summary = found.summary()
    findings.explain(summary, "no wider buffer was tried that would show it")
    return summary


def _diagnose(
    job: Job,
    run: PartialEvolutionRun,
    system: PatchSystem,
    latents: xr.Dataset,
    findings: Findings,
) -> dict[str, Any]:
    """Compare drift and diffusion with the pairs that they were learned from, and draw them."""
    ensemble = Ensemble.load(job.input("model/ours"))
    metrics: dict[str, Any] = {"markov": None, "residual_by_age": {"ours": None}}
    metrics["conditions_outside"] = conditions_outside(
        ensemble, system, run.conditions, run.evaluate.conditions
    )
    diagnosed = findings.attempt(
        "markov",
        lambda: markov_metrics(latents, findings.below("markov"), sites=math.prod(run.sizes.large)),
    )
    diagnostic = None
    if diagnosed is not None:
        diagnostic, metrics["markov"] = diagnosed
    ours = findings.below("residual_by_age", "ours")
    drift = mean_drift(latents, ensemble)
    residual = ours.attempt(
        "",
        lambda: run_residual(
            latents,
            drift,
            fraction=run.dynamics.validation_fraction,
            seed=run.seed,
            findings=ours,
        ),
    )
    if residual is not None:
        metrics["residual_by_age"]["ours"] = residual_summary(residual, ours)
    relaxed = findings.attempt("relaxation", lambda: judge_relaxation(run, latents, drift))
    metrics["relaxation"] = None
    if relaxed is not None:
        names = [str(name) for name in latents["variable"].values]
        metrics["relaxation"] = relaxed.summary(names)
        findings.below("relaxation").explain(
            metrics["relaxation"], "all that relaxed for less than the longest have another drift"
        )
    learned = learned_moments(latents, ensemble, system, run.sizes.large, run.seed)
    if learned.comparison is not None:
        metrics["exact"] = learned.comparison.summary()
        findings.below("exact").lack_all(learned.comparison.undefined())
    elif learned.exact is not None:
        metrics["exact"] = None
        findings.lack("exact", "no snapshot lies between the quantiles of all variables")
    job.info("drawing figures")
    drawn = dynamics_figures(diagnostic, learned, residual, system, job.subject, findings)
    for name, figure in drawn:
        style.save(figure, job.outputs["figures"] / f"{name}.png")
    metrics["samples"] = _samples(latents)
    return metrics


def _judge_closure(
    job: Job,
    run: PartialEvolutionRun,
    system: PatchSystem,
    latents: xr.Dataset,
    findings: Findings,
) -> dict[str, Any]:
    """Judge the closure variables by prediction, and draw what they are worth."""
    judged = findings.attempt("variables", lambda: judge_latents(latents, seed=run.seed))
    if judged is None:
        unknown = "closure.variables" in findings.reasons
        if unknown:
            findings.lack("forecast", findings.reasons["closure.variables"])
        return dict.fromkeys(("variables", "forecast"), None if unknown else {})
    for line in judged.lines():
        job.info(line)
    names = written_names(system, judged.observables)
    figure = variables_worth(judged, names=names, title=job.subject)
    style.save(figure, job.outputs["figures"] / "closure-variables.png")
    summary = judged.summary()
    findings.explain(
        summary,
        "the observables explain no variance of the drift beyond the noise, there are too few "
        "groups of one age, or too few snapshots for so many variables: raise upsample.snapshots",
    )
    return {**summary, "forecast": _forecasts(job, run, system, latents, findings, names)}


def _forecasts(
    job: Job,
    run: PartialEvolutionRun,
    system: PatchSystem,
    latents: xr.Dataset,
    findings: Findings,
    names: Sequence[str],
) -> dict[str, Any] | None:
    """Score the closure variables over each lag, and draw it against their number."""
    scores = findings.attempt("forecast", lambda: forecast_latents(latents, seed=run.seed))
    if scores is None:
        return None
    figure = forecast_scores(scores, names=names, time_unit=system.time_unit, title=job.subject)
    style.save(figure, job.outputs["figures"] / "closure-forecast.png")
    summary = scores.summary()
    findings.below("forecast").explain(
        summary,
        "the observables explain no variance of these rates beyond the noise, or there are too few "
        "snapshots for so many variables: raise upsample.snapshots",
    )
    return summary


_UNTOLD = "the increments are too few, or vary too little, to tell"


def _covariance_factors(trainings: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """Estimated and used covariance factor of each method."""
    factors = {}
    for method, training in trainings.items():
        factor = dict(training["factor"])
        # That there is no reason is no missing figure.
        reason = factor.pop("reason")
        findings.below("covariance_factor", method).explain(factor, reason or _UNTOLD)
        factors[method] = {**factor, "reason": reason, "used": training["factor_used"]}
        if "sizes" in training:
            factors[method]["sizes"] = [_size_factor(size) for size in training["sizes"]]
            for place, size in enumerate(training["sizes"]):
                findings.below("covariance_factor", method, "sizes", str(place)).explain(
                    factors[method]["sizes"][place], size["factor"]["reason"] or _UNTOLD
                )
    return factors


def _size_factor(training: dict[str, Any]) -> dict[str, Any]:
    """What of one of several sizes is reported: its data, and its covariance factor."""
    factor, gain = training["factor"], training.get("compensation", {}).get("gain")
    data = ("sites", "snapshots", "patches_evolved", "patches_total")
    found = {name: training[name] for name in data}
    found |= {name: factor[name] for name in ("theory", "estimated", "standard_error")}
    return {**found, "used": training["factor_used"], **({} if gain is None else {"gain": gain})}


def _samples(latents: xr.Dataset) -> dict[str, int]:
    return {
        "observables": int(latents.attrs["n_observables"]),
        "snapshots": latents.sizes["sample"],
        "patches_evolved": latents.sizes["patch"],
        "patches_total": int(latents.attrs["patches_total"]),
    }
