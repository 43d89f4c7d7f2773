"""The system of a stage."""

from __future__ import annotations

from typing import Any

from macrodyn.pipeline.job import Job
from macrodyn.pipeline.planner import PREPARED
from macrodyn.systems import System, system_class


def stage_system(job: Job, device: str = "cpu") -> System:
    """Make the system that a stage's configuration names, with what was prepared for it.

    Args:
        job: The job.
        device: Where it computes.
    """
    cls = system_class(job.config["system"]["name"])
    prepared = {
        role.removeprefix(PREPARED): files
        for role, files in job.inputs.items()
        if role.startswith(PREPARED)
    }
    parameters = cls.Parameters.model_validate(job.config["system"]["parameters"])
    return cls(parameters).on(device)  # TEMP


def described_system(config: dict[str, Any]) -> System:
    """Make a stage's system to ask what it is like: nothing that was prepared is at hand."""
    cls = system_class(config["system"]["name"])
    return cls(cls.Parameters.model_validate(config["system"]["parameters"]))
