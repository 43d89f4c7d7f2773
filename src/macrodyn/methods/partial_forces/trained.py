"""The stage that writes the trained model of a run, for its users."""

from __future__ import annotations

from dataclasses import replace

from macrodyn.methods.base import run_of
from macrodyn.methods.partial_forces.config import PartialForcesRun
from macrodyn.methods.partial_forces.model_files import PLACES, build, describe, save
from macrodyn.model_files import stages_of, trained_files
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import read_metrics


def trained_model(job: Job) -> None:
    """Write the trained model of a run to a folder of its own, with a card.

    Args:
        job: The job; inputs ``model``, ``encoder``, what the system prepared, and ``evaluation``;
            its configuration holds that of the ``run``.
    """
    run = run_of(PartialForcesRun, job.config["run"])
    metrics = read_metrics(job.input("evaluation", "metrics"))
    study = job.outputs["model"].absolute().parents[1].name
    model = build(
        describe(study, job.subject, run, metrics), trained_files(job, PLACES), job.subject
    )
    told = {"config": job.config["run"], "stages": stages_of(job, PLACES)}
    save(replace(model, origin={**model.origin, **told}), job.outputs["model"], identity=job.key)
