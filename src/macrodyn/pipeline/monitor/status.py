"""How far a study is, from its files alone: what is done, running and missing, and at what pace."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import OTHER, missing_runs
from macrodyn.pipeline.monitor.asked import asked_study, study_folder
from macrodyn.pipeline.monitor.expected import GATHER
from macrodyn.pipeline.monitor.job_states import JobStatus, job_states
from macrodyn.pipeline.monitor.pace import Pace, pace_of, recent_speed
from macrodyn.pipeline.monitor.snakemake_log import is_forgotten, read_snakemake_log

__all__ = ["StudyStatus", "study_folder", "study_status"]


@dataclass(frozen=True)
class StudyStatus:
    """A study and how far it is.

    Attributes:
        name: The study.
        folder: Its folder.
        jobs: Its jobs, in the order of the rules.
        command: The command that goes on with it.
        now: The time for which this holds, in seconds since the epoch.
        locked: Whether Snakemake holds the study's files: it runs, or was killed.
        configuration: The file of the configuration for which this holds.
        others: Runs whose results were made with another configuration.
        forgotten: When the Snakemake that holds the study's files last said something, if jobs
            have ended since without its notice; in seconds since the epoch.
    """

    name: str
    folder: Path
    jobs: tuple[JobStatus, ...]
    command: str
    now: float
    locked: bool = False
    configuration: str = ""
    others: tuple[str, ...] = ()
    forgotten: float | None = None

    def by_rule(self) -> dict[str, list[JobStatus]]:
        """Return the jobs of each rule that has any."""
        found: dict[str, list[JobStatus]] = {}
        for job in self.jobs:
            found.setdefault(job.job.rule, []).append(job)
        return found

    def paces(self) -> dict[str, Pace]:
        """Return the pace of each rule."""
        return {rule: pace_of(jobs, self.now) for rule, jobs in self.by_rule().items()}

    def pace(self) -> Pace:
        """Return the pace of the study.

        The time left is that of the work by the number of jobs that run at a time, but no less than
        a chain of one job of each kind of stage takes, as a stage waits for those before it.
        """
        paces = self.paces()
        speed, per_minute = recent_speed(self.jobs, self.now)
        return Pace(
            mean=None,
            speed=speed,
            per_minute=per_minute,
            work=sum(pace.work for pace in paces.values()),
            unknown=sum(pace.unknown for pace in paces.values()),
            longest=_longest_chain(self.jobs, {rule: p.longest for rule, p in paces.items()}),
        )


def _longest_chain(jobs: Sequence[JobStatus], longest: Mapping[str, float]) -> float:
    """Time that one job of each kind takes, of those kinds that wait for each other."""
    before: dict[str, set[str]] = {}
    for status in jobs:
        stage = status.job.stage
        before.setdefault(stage.name, set()).update(p.name for p in stage.parents.values())

    @cache
    def until(kind: str) -> float:
        return longest.get(kind, 0.0) + max(map(until, before.get(kind, ())), default=0.0)

    return max(map(until, before), default=0.0) + longest.get(GATHER, 0.0)


def study_status(study: StrPath, now: float | None = None) -> StudyStatus:
    """Find out how far a study is.

    Args:
        study: Its configuration file, its folder, or its name (below ``results/``).
        now: The time, in seconds since the epoch; that of the clock if left out.

    Raises:
        ConfigError: If the configuration is wrong.
        RecordError: If the study's folder has no usable record of what it consists of.
        FileNotFoundError: If there is no such study.
    """
    asked = asked_study(study)
    now = time.time() if now is None else now
    root = asked.folder.absolute().parent.parent
    locked = _locked(asked.folder)
    log = read_snakemake_log(root, locked)
    jobs = tuple(
        job_states(
            asked.folder,
            asked.plans,
            now,
            identities=asked.identities,
            title=asked.study.title,
            snakemake=log,
        )
    )
    ends = [job.log.ended for job in jobs if job.log and job.log.ended]
    missing = missing_runs(asked.folder, asked.identities)
    others = tuple(run for run, problem in missing.items() if problem == OTHER)
    return StudyStatus(
        asked.study.name,
        asked.folder,
        jobs,
        asked.command,
        now,
        locked is not None,
        asked.configuration,
        others,
        log.touched if locked and log and is_forgotten(ends, log, now) else None,
    )


def _locked(folder: Path) -> float | None:
    """Return when Snakemake locked the study's files, which its locks list; None if it has not."""
    for lock in folder.absolute().parent.parent.glob(".snakemake/locks/*.lock"):
        try:
            if f"results/{folder.name}/" in lock.read_text(encoding="utf-8", errors="replace"):
                return lock.stat().st_mtime
        except OSError:  # the run has just ended
            pass
    return None
