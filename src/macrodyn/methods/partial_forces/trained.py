"""The stage that writes the trained model of a run, for its users."""

from __future__ import annotations

from macrodyn.methods.base import run_of
from macrodyn.methods.partial_forces.config import PartialForcesRun
from macrodyn.methods.partial_forces.model_files import save
from macrodyn.model_files import model_of_run
from macrodyn.pipeline.job import Job


def trained_model(job: Job) -> None:
    """Write the trained model of a run to a folder of its own, with a card.

    Args:
        job: The job; inputs ``model``, ``encoder``, what the system prepared, and ``evaluation``;
            its configuration holds that of the ``run``.
    """
    run = run_of(PartialForcesRun, job.config["run"])
    save(model_of_run(job, run), job.outputs["model"], identity=job.key)
