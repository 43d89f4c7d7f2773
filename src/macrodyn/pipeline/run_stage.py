"""The last stage of a run: its metrics and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from macrodyn.config.models import EvaluateConfig
from macrodyn.dynamics.model import EnsembleSDE
from macrodyn.evaluation import style
from macrodyn.evaluation.available import Findings
from macrodyn.pipeline.compare import (
    compare_horizon,
    conditions_outside,
    costs_by_stage,
    markov_metrics,
    plain,
)
from macrodyn.pipeline.diagnose import residual_summary, run_residual
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.run_figures import (
    comparison_figures,
    dynamics_figures,
    learned_moments,
    snapshot_figure,
    training_figure,
)
from macrodyn.pipeline.samples import stage_system
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json
from macrodyn.systems import System


def evaluate_run(job: Job) -> None:
    """Compare a run with direct simulation, draw its figures and write its metrics.

    What the data cannot give is null in the metrics, with the reason under ``unavailable``, and all
    else is made; a figure that cannot be drawn says why.

    Args:
        job: The job. Its inputs are the reference, the predictions (by method and horizon as in
            its params), latents, models and training histories of each method, the snapshots, and
            the files that carry the costs; its configuration is the run's.
    """
    config, inputs, params = job.config, job.inputs, job.params
    system = stage_system(config)
    evaluate = EvaluateConfig(**config["evaluate"])
    reference = read_dataset(inputs["reference"])
    metrics: dict[str, Any] = {"run": job.wildcards["run"], "identity": params["identity"]}
    metrics["horizons"] = {}
    findings = Findings()
    title = job.wildcards["run"]
    for horizon, settings in evaluate.horizons.items():
        job.info(f"comparing on the horizon {horizon}")
        files = {m: Path(paths[horizon]) for m, paths in params["predictions"].items()}
        here = findings.below("horizons", horizon)
        comparison, numbers = compare_horizon(
            reference, files, settings, evaluate.equilibrium_fraction, config["seed"], here
        )
        metrics["horizons"][horizon] = numbers
        for kind, name, figure in comparison_figures(comparison, system, horizon, title, here):
            style.save(figure, job.outputs[kind] / f"{name}.png")
        del comparison
    trainings = {m: read_sealed_json(Path(p)) for m, p in params["trainings"].items()}
    metrics["covariance_factor"] = _covariance_factors(trainings, findings)
    metrics |= _diagnose(job, system, title, findings)
    closure = read_sealed_json(inputs["closure"])
    metrics["closure"] = {
        "best_loss": closure["history"]["best_loss"],
        "origin_share": closure["origin_share"],
    }
    if metrics["closure"]["best_loss"] is None:
        findings.lack("closure.best_loss", "no closure was trained")
    histories = {m: t["history"] for m, t in trainings.items()}
    style.save(training_figure(closure["history"], histories, title), job.outputs["training"])
    states = read_dataset(inputs["small"]), read_dataset(inputs["large"]), reference
    style.save(snapshot_figure(*states, system, title), job.outputs["snapshots"])
    metrics["costs"] = {
        way: costs_by_stage({stage: [Path(p) for p in paths] for stage, paths in stages.items()})
        for way, stages in params["costs"].items()
    }
    findings.explain({k: v for k, v in metrics.items() if k != "covariance_factor"})
    metrics["unavailable"] = findings.reasons
    for path, reason in findings.reasons.items():
        job.info(f"{path} cannot be had: {reason}")
    metrics["config"] = config
    write_sealed_json(job.outputs["metrics"], plain(metrics))


def _diagnose(job: Job, system: System, title: str, findings: Findings) -> dict[str, Any]:
    """Compare drift and diffusion with the pairs that they were learned from, and draw them."""
    config = job.config
    latents = read_dataset(job.inputs["latents"])
    ensemble = EnsembleSDE.load(job.inputs["model"])
    metrics: dict[str, Any] = {"markov": None, "residual_by_age": {"ours": None}}
    metrics["conditions_outside"] = conditions_outside(ensemble, system, config["conditions"])
    diagnosed = findings.attempt(
        "markov", lambda: markov_metrics(latents, findings.below("markov"))
    )
    diagnostic = None
    if diagnosed is not None:
        diagnostic, metrics["markov"] = diagnosed
    ours = findings.below("residual_by_age", "ours")
    residual = ours.attempt(
        "",
        lambda: run_residual(
            latents,
            ensemble,
            fraction=config["dynamics"]["validation_fraction"],
            seed=config["seed"],
            findings=ours,
        ),
    )
    if residual is not None:
        metrics["residual_by_age"]["ours"] = residual_summary(residual, ours)
    large = tuple(config["sizes"]["large"])
    learned = learned_moments(latents, ensemble, system, large, config["seed"])
    if learned.comparison is not None:
        metrics["exact"] = learned.comparison.summary()
        findings.below("exact").lack_all(learned.comparison.undefined())
    elif learned.exact is not None:
        metrics["exact"] = None
        findings.lack("exact", "no snapshot lies between the quantiles of all variables")
    job.info("drawing figures")
    for kind, figure in dynamics_figures(diagnostic, learned, residual, system, title, findings):
        style.save(figure, job.outputs[kind])
    metrics["samples"] = _samples(latents)
    return metrics


def _covariance_factors(trainings: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """Estimated and used covariance factor of each method."""
    factors = {}
    for method, training in trainings.items():
        factor = dict(training["factor"])
        # That there is no reason is no missing figure.
        reason = factor.pop("reason")
        findings.below("covariance_factor", method).explain(
            factor, reason or "the increments are too few, or vary too little, to tell"
        )
        factors[method] = {**factor, "reason": reason, "used": training["factor_used"]}
    return factors


def _samples(latents: xr.Dataset) -> dict[str, int]:
    return {
        "observables": int(latents.attrs["n_observables"]),
        "snapshots": latents.sizes["sample"],
        "patches_evolved": latents.sizes["patch"],
        "patches_total": int(latents.attrs["patches_total"]),
    }
