"""The state of each job of a study, from its files alone.

A job's log says how it ended; while the job lives, the log is touched every few seconds. A log that
is silent and says no end belongs to a job that was killed. An evaluation whose figures cannot be
read has failed, whatever its log says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from macrodyn.pipeline.expected import ExpectedJob, expected_jobs
from macrodyn.pipeline.logs import JobLog, read_log
from macrodyn.pipeline.plan import RunPlan, study_stages
from macrodyn.storage.errors import StoreError
from macrodyn.storage.sealed import read_sealed_json

State = Literal["done", "running", "waiting", "stopped", "failed", "lost"]
STATES: tuple[State, ...] = ("done", "running", "waiting", "stopped", "failed", "lost")

# Seconds of silence after which a job without an end counts as killed.
SILENT = 60.0


@dataclass(frozen=True)
class JobStatus:
    """A job and how far it is.

    Attributes:
        job: The job.
        state: ``done``, ``running``, ``waiting`` (not begun), ``stopped`` (asked to stop),
            ``failed``, or ``lost`` (killed).
        log: What its log tells, if it has one.
        damage: What is wrong with its output, where that cannot be read.
    """

    job: ExpectedJob
    state: State
    log: JobLog | None
    damage: str = ""


def job_states(folder: Path, plans: dict[str, RunPlan], now: float) -> list[JobStatus]:
    """Find the state of each job of a study.

    Args:
        folder: The study's folder.
        plans: Its runs.
        now: The time, in seconds since the epoch.
    """
    listings: dict[Path, set[str]] = {}
    damages = {folder / run: _damage(folder / run / "metrics.json") for run in plans}
    unevaluated = {run: plan for run, plan in plans.items() if damages[folder / run] is not None}
    needed = study_stages(unevaluated)
    jobs = []
    for job in expected_jobs(folder, plans):
        if job.folder not in listings:
            listings[job.folder] = _names(job.folder)
        names = listings[job.folder]
        log = read_log(job.log) if "logs" in names else None
        state = _state(job, names, log, now)
        if state == "waiting":
            # Shards and stages that were deleted to free their space are not made again.
            unneeded = job.stage is not None and job.stage not in needed
            if unneeded or (job.result not in job.outputs and job.result in names):
                state = "done"
        damage = damages.get(job.folder) if job.rule == "evaluate" and state == "done" else None
        jobs.append(JobStatus(job, "failed", log, damage) if damage else JobStatus(job, state, log))
    return _with_followers(jobs, plans)


def _with_followers(jobs: list[JobStatus], plans: dict[str, RunPlan]) -> list[JobStatus]:
    """Let those finished jobs wait that will be made again, as what they read is unfinished."""
    unfinished = {status.job.stage for status in jobs if status.state != "done"}
    unfinished.discard(None)
    if not unfinished and all(status.state == "done" for status in jobs):
        return jobs
    # What a run's evaluation, and the jobs of each stage, wait for.
    stale_runs = {run for run, plan in plans.items() if not unfinished.isdisjoint(plan.stages())}
    stale_stages = {
        found
        for found, stage in study_stages(plans).items()
        if not unfinished.isdisjoint(stage.ancestors().keys() - {found})
    }
    unevaluated = bool(stale_runs) or any(
        status.job.rule == "evaluate" and status.state != "done" for status in jobs
    )

    def follows(job: ExpectedJob) -> bool:
        if job.rule == "summarise":
            return unevaluated
        if job.rule == "evaluate":
            return job.folder.name in stale_runs
        return job.stage in stale_stages or (job.rule == "gather" and job.stage in unfinished)

    return [
        replace(status, state="waiting")
        if status.state == "done" and follows(status.job)
        else status
        for status in jobs
    ]


def _damage(path: Path) -> str | None:
    """Say why a sealed file cannot be used: '' if it is missing, None if nothing is wrong."""
    if not path.exists():
        return ""
    try:
        read_sealed_json(path)
    except StoreError as error:
        return error.problem
    return None


def _names(folder: Path) -> set[str]:
    """List a folder once: quicker than to ask for each file, above all on a network."""
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _state(job: ExpectedJob, names: set[str], log: JobLog | None, now: float) -> State:
    made = names.issuperset(job.outputs)
    if log is None or log.end == "done":
        return "done" if made else "waiting"
    if made and log.touched < _newest(job):
        return "done"
    if log.end is not None:
        return log.end
    return "running" if now - log.touched <= SILENT else "lost"


def _newest(job: ExpectedJob) -> float:
    times = []
    for name in job.outputs:
        try:
            times.append((job.folder / name).stat().st_mtime)
        except FileNotFoundError:  # deleted meanwhile
            return 0.0
    return max(times)
