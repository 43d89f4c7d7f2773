"""How fast jobs go, and how long the rest of them takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from macrodyn.pipeline.monitor.job_states import JobStatus

# Seconds without any job that count as a pause; and the length of what counts as of late.
PAUSE, RECENT = 120.0, 1800.0


@dataclass(frozen=True)
class Pace:
    """How fast some jobs go, and how long the rest of them takes.

    Attributes:
        mean: Mean duration of the finished jobs in seconds; None if none is known.
        speed: Job seconds done in a second of the clock, of late: the number of jobs that run at a
            time, less what it costs to start them; None if none has run.
        per_minute: Jobs finished in a minute, of late; None if none has finished.
        work: Job seconds that are left, of the jobs of which a duration is known.
        unknown: Unfinished jobs of which no duration is known.
        longest: Longest time that one of the unfinished jobs takes.
    """

    mean: float | None
    speed: float | None
    per_minute: float | None
    work: float
    unknown: int
    longest: float

    @property
    def left(self) -> float | None:
        """Seconds left, as far as they are known."""
        if not self.work:
            return None if self.unknown else 0.0
        return max(self.work / (self.speed or 1.0), self.longest)


def _seconds(status: JobStatus) -> float | None:
    return status.log.seconds if status.log and status.log.end == "done" else None


def _spans(jobs: Iterable[JobStatus], now: float) -> Iterator[tuple[float, float, bool]]:
    """Yield the beginning and the end of each job that is finished or runs, and which it is."""
    for status in jobs:
        log = status.log
        if log is None:
            continue
        if status.state == "running" and log.began is not None:
            yield min(log.began, now), now, False
        elif log.end == "done" and log.ended is not None and log.seconds is not None:
            yield log.ended - log.seconds, log.ended, True


def recent_speed(jobs: Iterable[JobStatus], now: float) -> tuple[float | None, float | None]:
    """Return job seconds a second, and jobs finished a minute.

    Both are of the last stretch of work, so that neither a night's pause nor yesterday's number of
    cores counts. Short breaks belong to it: it takes time to start a job.
    """
    spans = sorted(_spans(jobs, now))
    since = max((end for _, end, _ in spans), default=0.0) - RECENT
    recent = [(max(begin, since), end, finished) for begin, end, finished in spans if end > since]
    busy, until = 0.0, float("-inf")
    for begin, end, _ in recent:
        pause = begin - until
        busy += max(0.0, end - until) if pause <= PAUSE else end - begin
        until = max(until, end)
    if busy <= 0:
        return None, None
    number = sum(finished for _, _, finished in recent)
    speed = sum(end - begin for begin, end, _ in recent) / busy
    return speed, 60 * number / busy if number else None


def pace_of(jobs: Sequence[JobStatus], now: float) -> Pace:
    """Return the pace of jobs of one rule.

    Args:
        jobs: The jobs.
        now: The time, in seconds since the epoch.
    """
    known = [seconds for job in jobs if (seconds := _seconds(job)) is not None]
    mean = sum(known) / len(known) if known else None
    rests: list[float | None] = []
    for job in jobs:
        if job.state == "running":
            rests.append(_rest(job, mean, now))
        elif job.state != "done":
            rests.append(mean)
    counted = [rest for rest in rests if rest is not None]
    speed, per_minute = recent_speed(jobs, now)
    return Pace(
        mean=mean,
        speed=speed,
        per_minute=per_minute,
        work=sum(counted),
        unknown=len(rests) - len(counted),
        longest=max(counted, default=0.0),
    )


def _rest(status: JobStatus, mean: float | None, now: float) -> float | None:
    """Seconds left of a running job: as its progress says, else by the mean of others."""
    log = status.log
    if log is not None and log.left is not None:
        return max(0.0, log.left - (now - log.told))
    if mean is None or log is None or log.began is None:
        return mean
    return max(0.0, mean - (now - log.began))
