"""Logs of jobs, read back: whether a job ended, how, and how far it is."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from macrodyn.paths import StrPath

End = Literal["done", "failed", "stopped"]

# A log up to this size is read whole; of a longer one the beginning and the end.
_WHOLE, _HEAD = 16_384, 1_024

_STAMPED = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) (.*)$", re.MULTILINE)
_ENDS: dict[End, re.Pattern[str]] = {
    "done": re.compile(r"done in ([\d.]+) s$"),
    "failed": re.compile(r"failed after ([\d.]+) s$"),
    "stopped": re.compile(r"stopped by SIG\w+(?: after ([\d.]+) s)?"),
}
_PLACE = re.compile(r"rule \S+ starts with \d+ thread\(s\) on (.+)$")
_GATHERED = re.compile(r"^\S+ \S+ gathering (\d+) shard\(s\)$", re.MULTILINE)
_PROGRESS = re.compile(r".+: \d+ of \d+, \S+/s, (\S+) s left")


@dataclass(frozen=True)
class JobLog:
    """What a job's log tells.

    Attributes:
        touched: When it was last written or touched, in seconds since the epoch.
        began: When the job began; None if the log does not say so (yet).
        ended: When it ended, by the line that says so.
        end: How it ended; None if no line says so.
        seconds: How long it ran, by the same line.
        progress: Its last line of progress, else its last line.
        left: Seconds left by its last line of progress.
        told: When that line was written: a heartbeat touches the log without one.
        tail: Its end, without empty lines.
        where: Where the job ran, if the first line says so: a host, a cluster's job number.
        shards: How many shards a gathering job put together, if it says so.
    """

    touched: float
    began: float | None = None
    ended: float | None = None
    end: End | None = None
    seconds: float | None = None
    progress: str = ""
    left: float | None = None
    told: float = 0.0
    tail: tuple[str, ...] = ()
    where: str = ""
    shards: int | None = None


def read_log(path: StrPath) -> JobLog | None:
    """Read a job's log.

    Args:
        path: The log.

    Returns:
        What it tells; None if there is no log.
    """
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size <= _WHOLE:
                head = tail = file.read().decode(errors="replace")
            else:
                head = file.read(_HEAD).decode(errors="replace")
                file.seek(-_WHOLE, os.SEEK_END)
                tail = file.read().decode(errors="replace")
                if not any(_STAMPED.finditer(tail)):  # a traceback that is longer than that
                    file.seek(0)
                    tail = file.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    first = _STAMPED.search(head)
    stamped = [(match[1], match[2]) for match in _STAMPED.finditer(tail)]
    lines = tuple(line.rstrip() for line in tail.splitlines() if line.strip())
    known = JobLog(
        touched=status.st_mtime,
        began=_time(first[1]) if first else None,
        progress=stamped[-1][1].strip() if stamped else "",
        tail=lines,
        where=place[1] if first and (place := _PLACE.match(first[2])) else "",
        shards=int(gathered[1]) if (gathered := _GATHERED.search(head)) else None,
    )
    for time, message in reversed(stamped):
        for end, pattern in _ENDS.items():
            if match := pattern.match(message):
                seconds = float(match[1]) if match[1] else None
                return replace(known, ended=_time(time), end=end, seconds=seconds)
    for time, message in reversed(stamped):
        if match := _PROGRESS.match(message):
            left = float(match[1]) if math.isfinite(float(match[1])) else None
            return replace(known, progress=message.strip(), left=left, told=_time(time))
    return known


def _time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
