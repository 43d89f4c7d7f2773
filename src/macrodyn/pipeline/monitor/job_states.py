"""The state of each job of a study, from its files alone.

A job's log says how it ended; while the job lives, the log is touched every few seconds. A log that
is silent and says no end belongs to a job that was killed, and an empty one to a job that has not
begun; why it did not may stand in what SLURM and Snakemake say. An evaluation whose figures cannot
be read has failed, whatever its log says, and one of another configuration has yet to be made. So
has a trained model of another configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import (
    RunResults,
    model_written,
    run_identities,
    run_results,
    unsummarised,
)
from macrodyn.pipeline.logs import JobLog, read_log
from macrodyn.pipeline.monitor.expected import GATHER, ExpectedJob, expected_jobs
from macrodyn.pipeline.monitor.slurm_logs import FOLDER, find_slurm_log
from macrodyn.pipeline.monitor.snakemake_log import SnakemakeLog
from macrodyn.pipeline.planner import StudyPlan
from macrodyn.pipeline.stage import StageId

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
        reasons: Why it failed, where not its own log says so but SLURM or Snakemake.
        told_by: The file in which they say so.
    """

    job: ExpectedJob
    state: State
    log: JobLog | None
    damage: str = ""
    reasons: tuple[str, ...] = ()
    told_by: Path | None = None


def job_states(
    folder: StrPath,
    plans: StudyPlan,
    now: float,
    *,
    identities: Mapping[str, str] | None = None,
    title: str | None = None,
    snakemake: SnakemakeLog | None = None,
) -> list[JobStatus]:
    """Find the state of each job of a study.

    Args:
        folder: The study's folder.
        plans: Its runs.
        now: The time, in seconds since the epoch.
        identities: The identities of its runs; those of the plans if left out.
        title: The study's title; any if left out.
        snakemake: What Snakemake has said of the study's jobs.
    """
    folder = Path(folder)
    identities = run_identities(plans) if identities is None else identities
    results = {run: run_results(folder / run, identities[run]) for run in plans}
    # What a run needs that is not evaluated; stages that were deleted to free their space are not
    # made again.
    needed: set[StageId] = set()
    for run, plan in plans.items():
        if results[run].problem:
            needed |= plan.stages().keys()
    # Where a system is not installed its version is not known, nor the keys of what it makes.
    known = {run: plan for run, plan in plans.items() if identities[run] == plan.evaluation.key}
    unwritten = set()
    for run, plan in known.items():
        if plan.trained and not model_written(folder / run, plan.trained.key):
            unwritten.add(plan.trained.id)
            needed |= plan.trained.ancestors().keys()
    explain = _Explanations(folder, snakemake)
    evaluations = {plan.evaluation.id for plan in plans.values()}
    listings: dict[Path, set[str]] = {}
    jobs = []
    for job in expected_jobs(folder, plans):
        if job.folder not in listings:
            listings[job.folder] = _names(job.folder)
        names = listings[job.folder]
        log = read_log(job.log) if "logs" in names else None
        state = _state(job, names, log, now)
        place = job.stage.kind.place
        if state == "waiting" and place == "digest":
            gathered = job.result not in job.outputs and job.result in names
            state = "done" if gathered or job.id not in needed else "waiting"
        status = JobStatus(job, state, log)
        if job.id in unwritten and state == "done":
            status = replace(status, state="waiting")
        elif job.id in evaluations and state == "done":
            status = _evaluated(status, results[job.stage.subject])
        elif place == "study" and state == "done":
            if unsummarised(folder, identities, title, plans.analyses):
                status = replace(status, state="waiting")
        jobs.append(explain(status))
    return _with_followers(jobs, plans)


def _names(folder: Path) -> set[str]:
    """List a folder once: quicker than to ask for each file, above all on a network."""
    try:
        names = {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    # Folders of a study's pages stand below one of their own.
    return names | {f"pages/{path.name}" for path in (folder / "pages").glob("*")}


class _Explanations:
    """Finds out why jobs ended, or did not begin, whose own logs do not say so."""

    def __init__(self, folder: Path, snakemake: SnakemakeLog | None) -> None:
        self.root = folder.absolute().parent.parent
        self.snakemake = snakemake
        self.slurm = (snakemake and snakemake.slurm_logs) or self.root / FOLDER

    def __call__(self, status: JobStatus) -> JobStatus:
        log = status.log
        silent = log is not None and (status.state == "lost" or not (log.began or log.end))
        if log is None or status.state == "done" or not silent:
            return status
        since = log.began or log.touched
        slurm = find_slurm_log(status.job.rule, status.job.wildcards, self.slurm, since)
        if slurm is not None and slurm.reasons:
            return replace(status, state="failed", reasons=slurm.reasons, told_by=slurm.path)
        failures = self.snakemake.failures if self.snakemake else {}
        path = str(status.job.log.absolute().relative_to(self.root))
        if path in failures and self.snakemake and self.snakemake.touched >= since - 1:
            reasons = (failures[path],) if failures[path] else ()
            return replace(status, state="failed", reasons=reasons)
        return status


def _evaluated(status: JobStatus, results: RunResults) -> JobStatus:
    """Take into account what stands in the metrics of a run that was evaluated."""
    if results.damaged:
        return replace(status, state="failed", damage=results.problem)
    return replace(status, state="waiting") if results.problem else status


def _with_followers(jobs: list[JobStatus], plans: StudyPlan) -> list[JobStatus]:
    """Let those finished jobs wait that will be made again, as what they read is unfinished."""
    unfinished = {status.job.id for status in jobs if status.state != "done"}
    if not unfinished:
        return jobs
    stale = {
        found
        for found, stage in plans.stages.items()
        if not unfinished.isdisjoint(stage.ancestors().keys() - {found})
    }

    def follows(job: ExpectedJob) -> bool:
        return job.id in stale or (job.rule == GATHER and job.id in unfinished)

    return [
        replace(status, state="waiting")
        if status.state == "done" and follows(status.job)
        else status
        for status in jobs
    ]


def _state(job: ExpectedJob, names: set[str], log: JobLog | None, now: float) -> State:
    made = names.issuperset(job.outputs)
    if log is None or log.end == "done":
        return "done" if made else "waiting"
    if made and log.touched < _newest(job):
        return "done"
    if log.end is not None:
        return log.end
    if log.began is None:
        return "waiting"
    return "running" if now - log.touched <= SILENT else "lost"


def _newest(job: ExpectedJob) -> float:
    times = []
    for name in job.outputs:
        try:
            times.append((job.folder / name).stat().st_mtime)
        except FileNotFoundError:  # deleted meanwhile
            return 0.0
    return max(times)
