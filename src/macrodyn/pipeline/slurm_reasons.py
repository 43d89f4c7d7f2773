"""Why a SLURM job ended that left no reason in its own log: what SLURM's log of it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from macrodyn.pipeline.logs import read_log

# Lines to show of a log of SLURM, and how much of its end is read for them.
_MOST, _TAIL = 8, 65_536

# The job's own last words, on standard error.
_OWN = re.compile(r"rule \S+: .+ \(log: .+\)$")
# What ended it from outside.
_ENDED = re.compile(r"(slurmstepd\S*|srun): error: (?!.*Exited with exit code)")
# What Snakemake prints around each job.
_USUAL = re.compile(
    r"SNAKEMAKE$|=+$|  [A-Z][\w()]*( \w+)*(\(s\))?: |Building DAG|Using shell|Provided |"
    r"Rules claiming|Conda environments|Select jobs|Execute \d|Job \d+: |Reason: |"
    r"\[\w{3} \w{3} +\d+ [\d:]+ \d{4}\]$|Error in rule |Will exit after|Shutting down|"
    r"    (message|jobid|input|output|log|resources|wildcards): |Storing output|Elapsed time|"
    r"WorkflowError:$|At least one job did not|Exiting because|Complete log|Trying to restart|"
    r"srun: cluster configuration lacks"
)


def newest_log(folder: Path, rule: str, wildcards: Iterable[str]) -> Path | None:
    """Find what SLURM printed of a job's latest attempt.

    Args:
        folder: Where the executor plugin keeps SLURM's logs.
        rule: The job's rule.
        wildcards: Values of its wildcards.

    Returns:
        The log; None if there is none, as for a job that succeeded.
    """
    place = folder / f"rule_{rule}" / "_".join(wildcards).replace("/", "_")
    logs = [path for path in place.glob("*.log") if path.stem.isdigit()]
    return max(logs, key=lambda path: int(path.stem), default=None)


def read_end(path: Path | None) -> str:
    """Return the end of a log of SLURM, nothing if there is none."""
    try:
        return path.read_bytes()[-_TAIL:].decode(errors="replace") if path else ""
    except OSError:
        return ""


def reason(text: str) -> list[str]:
    """Return the lines of a log of SLURM that say why the job ended.

    These are the job's own last words, and what SLURM says; where neither stands there, the last
    lines that are not Snakemake's usual ones.
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if _OWN.match(line) or _ENDED.match(line)]
    rest = [line for line in lines if not _USUAL.match(line)]
    return list(dict.fromkeys(found or rest))[-_MOST:]


def reasons(
    folder: Path, jobs: Iterable[tuple[str, tuple[str, ...], Path | None]]
) -> Iterator[str]:
    """Say why jobs failed that do not say so themselves.

    Args:
        folder: Where the executor plugin keeps SLURM's logs.
        jobs: The failed jobs: rule, values of the wildcards, own log.

    Yields:
        A paragraph for each of these jobs of which SLURM has a log.
    """
    for rule, wildcards, own in jobs:
        log = read_log(own) if own else None
        if log is not None and log.end == "failed":
            continue
        path = newest_log(folder, rule, wildcards)
        if path is None:
            continue
        said = "\n".join(f"    {line}" for line in reason(read_end(path)))
        name = " ".join([rule, *wildcards])
        yield f"{name} left no reason in its own log ({own}). SLURM's, {path}, ends:\n{said}"
