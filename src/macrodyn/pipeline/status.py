"""How far a study is, from its files alone: what is done, running and missing, and at what pace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from macrodyn.pipeline.pace import Pace, pace_of, recent_speed
from macrodyn.pipeline.plan import plan_study
from macrodyn.pipeline.record import FILE, REMEDY, RecordError, read_record
from macrodyn.pipeline.states import JobStatus, job_states
from macrodyn.study import ConfigError, load_study


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
    """

    name: str
    folder: Path
    jobs: tuple[JobStatus, ...]
    command: str
    now: float
    locked: bool = False

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
        a chain of one job of each rule takes, as a rule waits for the one before it.
        """
        paces = self.paces()
        speed, per_minute = recent_speed(self.jobs, self.now)
        return Pace(
            mean=None,
            speed=speed,
            per_minute=per_minute,
            work=sum(pace.work for pace in paces.values()),
            unknown=sum(pace.unknown for pace in paces.values()),
            longest=sum(pace.longest for rule, pace in paces.items() if rule != "reference"),
        )


def study_status(study: Path, now: float | None = None) -> StudyStatus:
    """Find out how far a study is.

    Args:
        study: Its configuration file, its folder, or its name (below ``results/``).
        now: The time, in seconds since the epoch; that of the clock if left out.

    Raises:
        ConfigError: If the configuration is wrong.
        RecordError: If the study's folder has no usable record of what it consists of.
        FileNotFoundError: If there is no such study.
    """
    if study.is_file():
        loaded = load_study(study)
        folder = Path("results") / loaded.name
        command = f"snakemake --cores all --configfile {study}"
    else:
        folder = study_folder(study)
        record = read_record(folder)
        # A study that has run has been checked, maybe where other systems are installed.
        try:
            loaded = load_study(record.config, str(folder / FILE), check_systems=False)
        except ConfigError as error:
            raise RecordError(f"{error}\nThe next run writes it anew; {REMEDY}") from None
        command = record.command
    now = time.time() if now is None else now
    jobs = tuple(job_states(folder, plan_study(loaded), now))
    return StudyStatus(loaded.name, folder, jobs, command, now, _locked(folder))


def study_folder(study: Path) -> Path:
    """Find the folder of a study.

    Args:
        study: Its configuration file, its folder, or its name (below ``results/``).

    Raises:
        ConfigError: If the configuration is wrong.
        FileNotFoundError: If there is no such study.
    """
    if study.is_file():
        return Path("results") / load_study(study, check_systems=False).name
    folder = study if study.is_dir() else Path("results") / study
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no study {study}: give its configuration file, its folder, or the name of a "
            "folder below results/"
        )
    return folder


def _locked(folder: Path) -> bool:
    """Whether one of Snakemake's locks, lists of the files that a run makes, names the study's."""
    for lock in folder.absolute().parent.parent.glob(".snakemake/locks/*.lock"):
        try:
            if f"results/{folder.name}/" in lock.read_text(encoding="utf-8", errors="replace"):
                return True
        except OSError:  # the run has just ended
            pass
    return False
