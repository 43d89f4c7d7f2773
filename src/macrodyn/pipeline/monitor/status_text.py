"""A study's status in words, for the terminal."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Iterator, Sequence

from macrodyn.pipeline.monitor.job_states import STATES, JobStatus
from macrodyn.pipeline.monitor.status import StudyStatus

# Of a terminal; paths, commands and lines of logs are not broken.
_COLUMNS = 80
# Longest lists of jobs to print; what is left out is counted.
_MOST_RUNNING, _MOST_TROUBLES = 20, 10

_TROUBLES = {
    "failed": "Failed",
    "lost": "Lost: killed without a word (memory, time limit, a node that went down)",
    "stopped": "Stopped when asked to; the cluster requeues them, or go on as said below",
}


def status_text(status: StudyStatus, lines: int = 8) -> str:
    """Describe how far a study is.

    Args:
        status: The study's status.
        lines: Last lines of the log to show of each failed or lost job.
    """
    parts = [_headline(status), *_strangers(status), _table(status)]
    running = [job for job in status.jobs if job.state == "running"]
    if running:
        parts.append("\n".join(["Running:", *_running(running, status.now)]))
    for state, title in _TROUBLES.items():
        jobs = [job for job in status.jobs if job.state == state]
        if jobs:
            parts.append("\n".join([f"{title}:", *_troubles(jobs, status.now, lines)]))
    parts += [*_forgotten(status), _advice(status)]
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


def _strangers(status: StudyStatus) -> Iterator[str]:
    """Say which results stand there that are not those of the configuration."""
    if status.others:
        yield _wrapped(
            f"{status.configuration or 'This configuration'} has not been run as it is. The "
            f"results of these runs were made with another configuration: "
            f"{', '.join(status.others)}"
        )


def _forgotten(status: StudyStatus) -> Iterator[str]:
    """Say that Snakemake no longer looks after its jobs."""
    if status.forgotten is not None:
        silence = duration(max(0.0, status.now - status.forgotten))
        yield _wrapped(
            f"Snakemake no longer looks after its jobs, or is gone: it has said nothing for "
            f"{silence}, though jobs have ended since. If it still runs, end it (kill -9); what "
            "its jobs have finished is kept."
        )


def _wrapped(text: str, indent: str = "", more: str = "") -> str:
    """Break prose into lines; words that are longer than a line, such as paths, stay whole."""
    return textwrap.fill(
        text,
        _COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent + more,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _line(label: str, rest: str) -> Iterator[str]:
    """A label and what is said of it: on one line, or below each other if that is too long."""
    whole = f"  {label} {rest}".rstrip()
    if len(whole) <= _COLUMNS:
        yield whole
    else:
        yield _wrapped(label, "  ", "  ")
        yield f"    {rest}"


def _table(status: StudyStatus) -> str:
    rules, paces = status.by_rule(), status.paces()
    used = {job.state for job in status.jobs} | {"done", "running", "waiting"}
    states = [state for state in STATES if state in used]
    rows = [["rule", "jobs", *states, "mean", "/min", "left"]]
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
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= _COLUMNS else " "
    # A name that leaves no room for its numbers has a line of its own.
    widths[0] = min(widths[0], _COLUMNS - sum(widths[1:]) - len(widths) + 1)
    lines = []
    for name, *numbers in rows:
        fits = len(name) <= widths[0]
        lines += [] if fits else [name]
        cells = [(name if fits else "").ljust(widths[0]), *map(str.rjust, numbers, widths[1:])]
        lines.append(gap.join(cells))
    return "\n".join(lines)


def _running(jobs: Sequence[JobStatus], now: float) -> Iterator[str]:
    def line(status: JobStatus) -> Iterator[str]:
        log = status.log
        since = f", {duration(max(0.0, now - log.began))}" if log and log.began else ""
        where = f" on {log.where}" if log and log.where else ""
        label = f"{status.job.label}{where}{since}:"
        yield from _line(label, log.progress if log else "")

    yield from _listed(jobs, _MOST_RUNNING, line)


def _troubles(jobs: Sequence[JobStatus], now: float, lines: int) -> Iterator[str]:
    def describe(status: JobStatus) -> Iterator[str]:
        log = status.log
        if status.damage:
            path = status.job.folder / status.job.result
            yield _wrapped(
                f"{status.job.label}: {path} {status.damage}; remove it before you go on:",
                "  ",
                "  ",
            )
            yield f"    rm -r {shlex.quote(str(path))}"
            return
        kept = ", has a checkpoint" if status.job.checkpoints.is_dir() else ""
        where = f" on {log.where}" if log and log.where else ""
        ago = f", {duration(max(0.0, now - log.touched))} ago" if log else ""
        told_by = status.told_by or status.job.log
        yield from _line(f"{status.job.label}{where}{ago}{kept}:", str(told_by))
        if status.reasons:
            yield from (f"    {line}" for line in status.reasons)
        elif log and lines:
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
        return f"All done: {shlex.join(['macrodyn', 'summary', str(status.folder)])}"
    unlock = ""
    if status.locked:
        option = "-- --unlock" if status.command.startswith("macrodyn run ") else "--unlock"
        unlock = f"\nThe folder is locked; if no Snakemake runs there: first the same with {option}"
    if states & {"failed", "lost", "stopped"}:
        return f"To go on, once Snakemake has ended: {status.command}{unlock}"
    if "running" in states or status.locked:
        return f"If Snakemake was ended, go on with: {status.command}{unlock}"
    return f"To run it: {status.command}"
