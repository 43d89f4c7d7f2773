"""A study's status in words, for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence

from macrodyn.pipeline.states import STATES, JobStatus
from macrodyn.pipeline.status import StudyStatus

# Longest lists of jobs to print; what is left out is counted.
_MOST_RUNNING, _MOST_TROUBLES = 20, 10

_TROUBLES = {
    "failed": "Failed",
    "lost": "Lost: killed without a word (memory, time limit, a node that went down, kill)",
    "stopped": "Stopped when asked to; the cluster requeues them, or the command below goes on",
}


def status_text(status: StudyStatus, lines: int = 8) -> str:
    """Describe how far a study is.

    Args:
        status: The study's status.
        lines: Last lines of the log to show of each failed or lost job.
    """
    parts = [_headline(status), _table(status)]
    running = [job for job in status.jobs if job.state == "running"]
    if running:
        parts.append("\n".join(["Running:", *_running(running, status.now)]))
    for state, title in _TROUBLES.items():
        jobs = [job for job in status.jobs if job.state == state]
        if jobs:
            parts.append("\n".join([f"{title}:", *_troubles(jobs, status.now, lines)]))
    parts.append(_advice(status))
    return "\n\n".join(parts)


def duration(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.1f} d"


def _headline(status: StudyStatus) -> str:
    counts = {state: sum(job.state == state for job in status.jobs) for state in STATES}
    said = [f"{counts['done']} of {len(status.jobs)} jobs done"]
    said += [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
    lines = [f"study {status.name} in {status.folder}", ", ".join(said)]
    pace = status.pace()
    if counts["done"] < len(status.jobs):
        line = []
        if pace.per_minute is not None:
            line.append(f"{pace.per_minute:.3g} jobs a minute")
        if pace.left is not None:
            least = "at least" if pace.unknown else "about"
            line.append(f"{least} {duration(pace.left)} left")
        if pace.unknown:
            line.append(f"{pace.unknown} jobs of unknown length")
        lines.append("; ".join(line))
    return "\n".join(lines)


def _table(status: StudyStatus) -> str:
    rules, paces = status.by_rule(), status.paces()
    used = {job.state for job in status.jobs} | {"done", "running", "waiting"}
    states = [state for state in STATES if state in used]
    rows = [["rule", "jobs", *states, "mean", "jobs/min", "left"]]
    for rule, jobs in rules.items():
        pace = paces[rule]
        finished = all(job.state == "done" for job in jobs)
        rows.append(
            [
                rule,
                str(len(jobs)),
                *(str(sum(job.state == state for job in jobs)) for state in states),
                "-" if pace.mean is None else f"{pace.mean:.3g} s",
                "-" if pace.per_minute is None else f"{pace.per_minute:.3g}",
                "-" if finished else "?" if pace.left is None else duration(pace.left),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _running(jobs: Sequence[JobStatus], now: float) -> Iterator[str]:
    def line(status: JobStatus) -> Iterator[str]:
        log = status.log
        since = f", {duration(max(0.0, now - log.began))}" if log and log.began else ""
        where = f" on {log.where}" if log and log.where else ""
        yield f"  {status.job.label}{where}{since}: {log.progress if log else ''}"

    yield from _listed(jobs, _MOST_RUNNING, line)


def _troubles(jobs: Sequence[JobStatus], now: float, lines: int) -> Iterator[str]:
    def describe(status: JobStatus) -> Iterator[str]:
        log = status.log
        if status.damage:
            path = status.job.folder / status.job.result
            yield f"  {status.job.label}: {path} {status.damage}; remove it before you go on:"
            yield f"    rm -r {shlex.quote(str(path))}"
            return
        kept = ", has a checkpoint" if status.job.checkpoints.is_dir() else ""
        where = f" on {log.where}" if log and log.where else ""
        ago = f", {duration(max(0.0, now - log.touched))} ago" if log else ""
        yield f"  {status.job.label}{where}{ago}{kept}: {status.job.log}"
        if log and lines:
            yield from (f"    {line}" for line in log.tail[-lines:])

    yield from _listed(jobs, _MOST_TROUBLES, describe)


def _listed(
    jobs: Sequence[JobStatus], most: int, describe: Callable[[JobStatus], Iterator[str]]
) -> Iterator[str]:
    for job in jobs[:most]:
        yield from describe(job)
    if len(jobs) > most:
        yield f"  ... and {len(jobs) - most} more"


def _advice(status: StudyStatus) -> str:
    states = {job.state for job in status.jobs}
    if states == {"done"}:
        return f"All done: macrodyn summary {status.folder}"
    unlock = ""
    if status.locked:
        unlock = "\nThe folder is locked; if no Snakemake runs there: first the same with --unlock"
    if states & {"failed", "lost", "stopped"}:
        return f"To go on, once Snakemake has ended: {status.command}{unlock}"
    if "running" in states or status.locked:
        return f"If Snakemake was ended, go on with: {status.command}{unlock}"
    return f"To run it: {status.command}"
