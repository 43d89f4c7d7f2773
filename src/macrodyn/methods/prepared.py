"""Figures of what a run's system has prepared."""

from __future__ import annotations

from typing import Any

from macrodyn.evaluation import style
from macrodyn.pipeline.job import Job


def draw_prepared(job: Job, system: Any) -> None:
    """Draw what the system has prepared, if anything, for an evaluation.

    Args:
        job: The evaluation's job.
        system: The system with what it has prepared.
    """
    for name, figure in system.prepared_figures(job.subject):
        style.save(figure, job.outputs["figures"] / "prepared" / f"{name}.png")
