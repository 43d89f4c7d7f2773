"""The last stage of a run: its metrics and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr

from macrodyn.config import EvaluateConfig
from macrodyn.dynamics.model import EnsembleSDE
from macrodyn.evaluation import style
from macrodyn.pipeline.compare import compare_horizon, costs_by_stage, markov_metrics, plain
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


def evaluate_run(job: Job) -> None:
    """Compare a run with direct simulation, draw its figures and write its metrics.

    Args:
        job: The job. Its inputs are the reference, the predictions (by method and horizon as in
            its params), latents, models and training histories of each method, the snapshots, and
            the files that carry the costs; its configuration is the run's.
    """
    config, inputs, params = job.config, job.inputs, job.params
    system = stage_system(config)
    evaluate = EvaluateConfig(**config["evaluate"])
    reference = read_dataset(inputs["reference"])
    metrics: dict[str, Any] = {"run": job.wildcards["run"], "horizons": {}}
    title = job.wildcards["run"]
    for horizon, settings in evaluate.horizons.items():
        job.info(f"comparing on the horizon {horizon}")
        files = {m: Path(paths[horizon]) for m, paths in params["predictions"].items()}
        comparison, numbers = compare_horizon(
            reference, files, settings, evaluate.equilibrium_fraction, config["seed"]
        )
        metrics["horizons"][horizon] = numbers
        for kind, name, figure in comparison_figures(comparison, system, horizon, title):
            style.save(figure, job.outputs[kind] / f"{name}.png")
        del comparison
    trainings = {m: read_sealed_json(Path(p)) for m, p in params["trainings"].items()}
    metrics["covariance_factor"] = {
        m: {**t["factor"], "used": t["factor_used"]} for m, t in trainings.items()
    }
    latents = read_dataset(inputs["latents"])
    diagnostic, metrics["markov"] = markov_metrics(latents)
    ensemble = EnsembleSDE.load(inputs["model"])
    large = tuple(config["sizes"]["large"])
    learned = learned_moments(latents, ensemble, system, large, config["seed"])
    if learned.comparison is not None:
        metrics["exact"] = learned.comparison.summary()
    job.info("drawing figures")
    for kind, figure in dynamics_figures(diagnostic, learned, system, title):
        style.save(figure, job.outputs[kind])
    closure = read_sealed_json(inputs["closure"])
    metrics["closure"] = {
        "best_loss": closure["history"]["best_loss"],
        "origin_share": closure["origin_share"],
    }
    histories = {m: t["history"] for m, t in trainings.items()}
    style.save(training_figure(closure["history"], histories, title), job.outputs["training"])
    states = read_dataset(inputs["small"]), read_dataset(inputs["large"]), reference
    style.save(snapshot_figure(*states, system, title), job.outputs["snapshots"])
    metrics["costs"] = {
        way: costs_by_stage({stage: [Path(p) for p in paths] for stage, paths in stages.items()})
        for way, stages in params["costs"].items()
    }
    metrics["samples"] = _samples(latents)
    metrics["config"] = config
    write_sealed_json(job.outputs["metrics"], plain(metrics))


def _samples(latents: xr.Dataset) -> dict[str, int]:
    return {
        "snapshots": latents.sizes["sample"],
        "patches_evolved": latents.sizes["patch"],
        "patches_total": int(latents.attrs["patches_total"]),
    }
