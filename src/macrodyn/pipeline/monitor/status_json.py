"""A study's status as plain values, for other programs."""

from __future__ import annotations

from typing import Any

from macrodyn.pipeline.monitor.job_states import STATES, JobStatus
from macrodyn.pipeline.monitor.pace import Pace
from macrodyn.pipeline.monitor.status import StudyStatus


def status_document(status: StudyStatus) -> dict[str, Any]:
    """Describe how far a study is.

    Args:
        status: The study's status.

    Returns:
        ``study``, ``folder``, ``configuration`` (the file for which this holds), ``done`` (whether
        all is), ``states`` (number of jobs by state), ``command`` (what goes on with it),
        ``locked``, ``other_configuration`` (runs whose results another one made),
        ``snakemake_silent_seconds`` (None unless Snakemake no longer looks after its jobs), the
        pace as for each of the ``rules``, which are its jobs by rule, and ``jobs``: those that
        have begun, with ``rule``, ``label``, ``state``, ``where``, ``began`` (seconds since the
        epoch), ``seconds`` it took, ``progress`` (last line), ``log``, ``reasons`` and ``damage``
        of a failure.
    """
    silent = None if status.forgotten is None else max(0.0, status.now - status.forgotten)
    paces = status.paces()
    return {
        "study": status.name,
        "folder": str(status.folder),
        "configuration": status.configuration or None,
        "done": all(job.state == "done" for job in status.jobs),
        **_jobs(status.jobs, status.pace()),
        "command": status.command,
        "locked": status.locked,
        "other_configuration": list(status.others),
        "snakemake_silent_seconds": silent,
        "rules": [
            {"rule": rule, **_jobs(jobs, paces[rule]), "mean_seconds": paces[rule].mean}
            for rule, jobs in status.by_rule().items()
        ],
        "jobs": [_job(job) for job in status.jobs if job.log or job.state != "waiting"],
    }


def _jobs(jobs: list[JobStatus] | tuple[JobStatus, ...], pace: Pace) -> dict[str, Any]:
    counts = {state: sum(job.state == state for job in jobs) for state in STATES}
    left = 0.0 if counts["done"] == len(jobs) else pace.left
    return {
        "states": counts,
        "jobs_per_minute": pace.per_minute,
        "seconds_left": left,
        "jobs_of_unknown_length": pace.unknown,
    }


def _job(status: JobStatus) -> dict[str, Any]:
    log = status.log
    return {
        "rule": status.job.rule,
        "label": status.job.label,
        "state": status.state,
        "where": (log.where or None) if log else None,
        "began": log.began if log else None,
        "seconds": log.seconds if log else None,
        "progress": (log.progress or None) if log else None,
        "log": str(status.told_by or status.job.log),
        "reasons": list(status.reasons),
        "damage": status.damage or None,
    }
