"""The system of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from macrodyn.pipeline.job import Job
from macrodyn.pipeline.planner import PREPARED
from macrodyn.systems import system_class


def stage_system(job: Job, device: str = "cpu") -> Any:
    """Make the system that a stage's configuration names, with what was prepared for it.

    Args:
        job: The job.
        device: Where it computes.

    Returns:
        The system, with the capability that the method of the stage asks for.
    """
    return _system(job.config, device=device, prepared=_prepared(job))


def evaluated_system(job: Job) -> Any:
    """Make the system of the run that an evaluation is about, with what was prepared for it."""
    return _system(job.config["run"], prepared=_prepared(job))


def described_system(config: dict[str, Any]) -> Any:
    """Make a stage's system to ask what it is like: nothing that was prepared is at hand."""
    return _system(config)


def _system(config: dict[str, Any], **given: Any) -> Any:
    cls = system_class(config["system"]["name"])
    return cls(cls.Parameters.model_validate(config["system"]["parameters"]), **given)


def _prepared(job: Job) -> dict[str, dict[str, Path]]:
    return {
        role.removeprefix(PREPARED): {name: Path(file) for name, file in files.items()}
        for role, files in job.inputs.items()
        if role.startswith(PREPARED)
    }
