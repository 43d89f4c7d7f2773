"""Why a job on a SLURM cluster failed, where its own log does not say so: from SLURM's log of it.

An interpreter that does not start, a full disk, a time limit in the first second: such a job leaves
an empty log of its own, but SLURM keeps what it printed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from macrodyn.paths import StrPath
from macrodyn.pipeline.logs import read_log

# Where the executor plugin keeps them, unless it is told otherwise.
FOLDER = Path(".snakemake/slurm_logs")
# How much of the end of a log is read.
_TAIL = 65_536
# Lines that are shown of a log that does not say why its job failed.
_LAST = 3

# What a job itself prints when it fails.
_OURS = re.compile(r"rule \S+: (?P<reason>.+?)(?: \(log: .*\))?$")
_TELLING = re.compile(
    r"\b\w*(?:Error|Exception)\b: |\berror: |\bfatal|: not found|command not found|No such file"
    r"|No space left|quota exceeded|Permission denied|Exec format|Killed|CANCELLED|TIME LIMIT"
    r"|\bOOM\b|oom.kill|Segmentation fault|Illegal instruction|[Cc]annot allocate|stopped by SIG"
)
# What Snakemake says around it, and what follows from the reason.
_AROUND = re.compile(
    r"Error in rule|RuleException|WorkflowError|CalledProcessError|Exiting because|At least one job"
    r"|further error details|Logfile .* not found|Logging error|srun: error: .* task \d+: Exited"
    r"|Command .* returned non-zero"
)


@dataclass(frozen=True)
class SlurmLog:
    """SLURM's log of a job.

    Attributes:
        path: The file.
        touched: When it was last written, in seconds since the epoch.
        lines: Its end.
    """

    path: Path
    touched: float
    lines: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The last lines that say why the job failed; empty if none does."""
        return telling_lines(self.lines)


def find_slurm_log(
    rule: str, wildcards: Sequence[str], folder: StrPath = FOLDER, since: float = 0.0
) -> SlurmLog | None:
    """Find the newest log that SLURM wrote of a job.

    Args:
        rule: The job's rule.
        wildcards: Values of its wildcards, in the order of the rule's.
        folder: Where the executor plugin keeps SLURM's logs.
        since: Logs that were last written before are of an earlier attempt; in seconds since the
            epoch.

    Returns:
        The log; None if there is none.
    """
    here = Path(folder) / f"rule_{rule}" / "_".join(wildcards).replace("/", "_")
    found: list[tuple[float, int, Path]] = []
    try:
        for path in here.glob("*.log"):
            number = int(path.stem) if path.stem.isdigit() else 0
            found.append((path.stat().st_mtime, number, path))
    except OSError:  # deleted meanwhile
        pass
    if not found or max(found)[0] < since:
        return None
    touched, _, path = max(found)
    return SlurmLog(path, touched, tuple(_tail(path)))


def unsaid_reasons(
    folder: StrPath, jobs: Iterable[tuple[str, Sequence[str], Path | None]]
) -> Iterator[str]:
    """Say why jobs failed that do not say so themselves.

    Args:
        folder: Where the executor plugin keeps SLURM's logs.
        jobs: The failed jobs: rule, values of the wildcards, own log.

    Yields:
        A paragraph for each of these jobs of which SLURM has a log.
    """
    for rule, wildcards, own in jobs:
        told = read_log(own) if own else None
        if told is not None and told.end == "failed":
            continue
        log = find_slurm_log(rule, wildcards, folder)
        if log is None:
            continue
        lines = log.reasons or [line for line in log.lines if line.strip()][-_LAST:]
        said = "\n".join(f"    {line}" for line in lines)
        name = " ".join([rule, *wildcards])
        yield f"{name} left no reason in its own log ({own}). SLURM's, {log.path}, ends:\n{said}"


def telling_lines(lines: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Choose those of a failed job's last lines that say why it failed.

    Args:
        lines: What the job, Snakemake and SLURM printed.
        most: How many lines to choose at most.

    Returns:
        The lines in their order, each once. What the job itself said goes before all else.
    """
    stripped = [line.strip() for line in lines]
    ours = [match["reason"] for line in stripped if (match := _OURS.match(line))]
    told = [line for line in stripped if _TELLING.search(line) and not _AROUND.search(line)]
    return tuple(dict.fromkeys(reversed(ours or told)))[:most][::-1]


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
