"""Further attempts of a job: with more memory and time if it was killed, none if its error repeats.

Snakemake tries every failed job again, whatever ended it. What a job itself says of its end decides
what the next attempt asks for. An error that the same inputs and settings bring about each time is
kept beside the log, and the next attempt of the same run ends with it at once.
"""

from __future__ import annotations

import json
import os
import re
import traceback
from pathlib import Path
from uuid import uuid4

from macrodyn.pipeline.logs import read_log
from macrodyn.storage.errors import StoreError

# Tells jobs to which call of Snakemake they belong.
VARIABLE = "MACRODYN_RUN"
# Errors of inputs and settings, as against those of a machine, its memory or its disk.
_REPEATING = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    StoreError,
    TypeError,
    ValueError,
)
_OUT_OF_MEMORY = re.compile(r"MemoryError|out of memory|can't allocate memory", re.IGNORECASE)
# What SLURM says of a job that it ended before the job could say anything.
_KILLED = re.compile(r"DUE TO (TIME LIMIT|PREEMPTION)|\boom|memory limit|\bKilled\b")


class RepeatedError(RuntimeError):
    """A further attempt of a job would fail as the one before it did."""


def begin_run() -> None:
    """Let jobs that are started from here, or submitted, know that they belong together."""
    os.environ[VARIABLE] = uuid4().hex


def growth(attempt: int, log: Path, said: str = "") -> int:
    """Say how many times the memory and the time of the first attempt a further one needs.

    Args:
        attempt: Its number, from 1.
        log: The job's log, as the attempt before has left it.
        said: What the cluster says of that attempt.

    Returns:
        The attempt's number if the one before was killed or ran out of memory; else 1: it failed
        for a reason of its own, or never began.
    """
    if attempt == 1:
        return 1
    last = read_log(log)
    if last is None or not last.tail:
        return attempt if _KILLED.search(said) else 1
    if last.end != "failed" or _OUT_OF_MEMORY.search("\n".join(last.tail[-3:])):
        return attempt
    return 1


def remember(log: Path | None, error: Exception) -> None:
    """Keep an error that the next attempt would repeat.

    Args:
        log: The job's log.
        error: What ended the job.
    """
    run = os.environ.get(VARIABLE)
    if log is None or run is None or not _repeats(error):
        return
    lines = traceback.format_exception(error)
    try:
        _file(log).write_text(
            json.dumps({"run": run, "error": str(error), "traceback": "".join(lines)}),
            encoding="utf-8",
        )
    except OSError:  # then the job is tried again
        pass


def refuse_repetition(log: Path | None) -> None:
    """End a job whose last attempt, in the same call of Snakemake, had an error that repeats.

    Args:
        log: The job's log.

    Raises:
        RepeatedError: If it had; the message holds the error and its traceback.
    """
    if log is None:
        return
    try:
        last = json.loads(_file(log).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if last.get("run") == os.environ.get(VARIABLE):
        raise RepeatedError(f"not tried again, as nothing would change: {last.get('error')}") from (
            _Earlier(last.get("traceback"))
        )


def forget(log: Path | None) -> None:
    """Remove what was kept of an error."""
    if log is not None:
        _file(log).unlink(missing_ok=True)


class _Earlier(Exception):
    """The error of the attempt before, with its traceback as the message."""


def _file(log: Path) -> Path:
    return log.with_suffix(".error.json")


def _repeats(error: Exception) -> bool:
    # A file that could not be read just now may well be there the next time.
    return isinstance(error, _REPEATING) and not isinstance(error.__cause__, OSError)
