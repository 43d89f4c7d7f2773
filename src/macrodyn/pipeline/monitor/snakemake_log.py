"""What Snakemake says of its jobs in its own log, and whether it still looks after them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from macrodyn.paths import StrPath

# Longest time, in seconds, from the end of a job to the word of it: the longest pause between two
# looks at jobs on a cluster is 180 s, then the results must appear on the file system.
LATE = 600.0

_NAME = "%Y-%m-%dT%H%M%S.%f.snakemake.log"
_ERROR = re.compile(r"Error in (?:group )?(?:rule|job) .*:$")
_MESSAGE = re.compile(r" {4}message: (.*)$")
_JOB = re.compile(r" {4}jobid: (\d+)$")
_LOG = re.compile(r" {4}log: (\S.*?)(?: \(check log file\(s\) for error details\))?$")
_AGAIN = re.compile(r"(?:Trying to restart job|Job) (\d+)(?:\.$| has been submitted with)")
_SUBMITTED = re.compile(r"Job \d+ has been submitted with SLURM jobid \S+ \(log: (.+)\)\.$")
# What the executor plugin puts around the message of a program.
_QUOTED = re.compile(r"The error message was '(.*)'\.?$")


@dataclass(frozen=True)
class SnakemakeLog:
    """What a run of Snakemake has said.

    Attributes:
        touched: When it last said something, in seconds since the epoch.
        failures: Why jobs failed that were not submitted again, by the paths of their logs; empty
            where Snakemake does not know why.
        slurm_logs: Folder of SLURM's logs, if jobs were sent to a cluster.
        quiet: Whether it says nothing at all, as with ``--quiet all``.
    """

    touched: float
    failures: dict[str, str] = field(default_factory=dict)
    slurm_logs: Path | None = None
    quiet: bool = False


def read_snakemake_log(root: StrPath, begun: float | None = None) -> SnakemakeLog | None:
    """Read the log of the latest run of Snakemake.

    Args:
        root: The folder in which Snakemake runs.
        begun: When the run locked its files, in seconds since the epoch: later calls, dry ones
            say, are passed over.

    Returns:
        What it says; None if there is none.
    """
    logs = sorted(Path(root).glob(".snakemake/log/*.snakemake.log"))
    if begun is not None:
        logs = [path for path in logs if (_time(path) or 0.0) <= begun]
    for path in reversed(logs):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            return _read(lines, path.stat().st_mtime)
        except OSError:  # deleted meanwhile
            continue
    return None


def is_forgotten(ends: Iterable[float], log: SnakemakeLog | None, now: float) -> bool:
    """Whether Snakemake no longer looks after its jobs: one ended, and it does not say so.

    Args:
        ends: When the study's jobs ended, in seconds since the epoch.
        log: The log of the run that holds the study's files.
        now: The time.
    """
    if log is None or log.quiet:
        return False
    return any(log.touched < end < now - LATE for end in ends)


def _read(lines: Sequence[str], touched: float) -> SnakemakeLog:
    failures: dict[str, tuple[str, str]] = {}
    folder: Path | None = None
    message = job = ""
    within = False
    for line in lines:
        if _ERROR.match(line):
            within, message, job = True, "", ""
        elif found := _SUBMITTED.match(line):
            folder = Path(found[1]).parent.parent.parent
        if found := _AGAIN.match(line):
            failures = {log: (j, said) for log, (j, said) in failures.items() if j != found[1]}
        if within and (found := _MESSAGE.match(line)):
            quoted = _QUOTED.search(found[1])
            message = quoted[1] if quoted else found[1].replace("None", "")
        elif within and (found := _JOB.match(line)):
            job = found[1]
        elif within and (found := _LOG.match(line)):
            failures |= {path: (job, message.strip()) for path in found[1].split(", ")}
            within = False
    said_of = {log: said for log, (_, said) in failures.items()}
    return SnakemakeLog(touched, said_of, folder, quiet=not lines)


def _time(path: Path) -> float | None:
    """Return when a run of Snakemake began, by the name of its log."""
    try:
        return datetime.strptime(path.name, _NAME).timestamp()
    except ValueError:
        return None
