"""Logs of jobs are read back: their end, their progress, whatever their length."""

from __future__ import annotations

import math
import os
from datetime import datetime
from pathlib import Path

import pytest

from macrodyn.pipeline.logs import JobLog, read_log

BEGAN = "2026-03-01 12:00:00,000"


def at(clock: str) -> float:
    return datetime.fromisoformat(f"2026-03-01 {clock}").timestamp()


@pytest.fixture
def written(tmp_path):
    """Write a log whose first line is a job's; read it."""

    def write(*lines: str, first: str = "rule evolve starts with 1 thread(s)") -> JobLog:
        path = tmp_path / "job.log"
        path.write_text(
            "".join(f"{line}\n" for line in (f"{BEGAN} {first}", *lines)), encoding="utf-8"
        )
        os.utime(path, (1e9, 1e9))
        log = read_log(path)
        assert log is not None and log.touched == 1e9 and log.began == at("12:00:00")
        return log

    return write


TRACEBACK = ("Traceback (most recent call last):", '  File "x.py", line 1, in f', "ValueError: no")
ENDS = {
    "done": ([f"{BEGAN} done in 12.3 s"], "done", 12.3),
    "failed": ([f"{BEGAN} failed after 1.2 s", *TRACEBACK], "failed", 1.2),
    "stopped": ([f"{BEGAN} stopped by SIGTERM after 40.5 s: at step 3 of 9"], "stopped", 40.5),
    "stopped by Ctrl-C": ([f"{BEGAN} stopped by SIGINT after 2.5 s: at step 3"], "stopped", 2.5),
    "stopped, then told to wait": (
        [f"{BEGAN} stopped by SIGTERM: at step 3", f"{BEGAN} waiting for SLURM to end the job"],
        "stopped",
        None,
    ),
    "done after a warning": ([f"{BEGAN} done in 2.0 s", f"{BEGAN} a late warning"], "done", 2.0),
    "no end": ([f"{BEGAN} evolve: 3 of 9, 1/s, 6 s left"], None, None),
    "no end, though a message speaks of one": ([f"{BEGAN} level 2 done in 3 s"], None, None),
}


@pytest.mark.parametrize(("lines", "end", "seconds"), ENDS.values(), ids=ENDS)
def test_the_end_is_the_line_that_says_so(written, lines, end, seconds):
    log = written(*lines)
    assert (log.end, log.seconds) == (end, seconds)


def test_the_end_has_a_time(written):
    log = written("2026-03-01 12:00:30,500 done in 30.5 s")
    assert log.ended == at("12:00:30") + 0.5


PROGRESS = {
    "the last one": (["a: 1 of 9, 1/s, 8 s left", "a: 4 of 9, 1/s, 5 s left"], "a: 4", 5),
    "with a note": (["a: 1 of 9, 1.5e-05/s, 8 s left loss 0.1"], "a: 1", 8),
    "before another line": (["a: 1 of 9, 1/s, 8 s left", "a warning"], "a: 1", 8),
    "without a rate": (["a: 0 of 9, 0/s, inf s left"], "a: 0", None),
    "none": (["reading"], "reading", None),
}


@pytest.mark.parametrize(("lines", "progress", "left"), PROGRESS.values(), ids=PROGRESS)
def test_progress_is_the_last_line_that_tells_it(written, lines, progress, left):
    log = written(*(f"{BEGAN} {line}" for line in lines))
    assert log.progress.startswith(progress) and log.left == left
    assert log.left is None or math.isfinite(log.left)


def test_a_traceback_longer_than_the_end_that_is_read_hides_nothing(written):
    deep = [f"  frame {number:050d}" for number in range(2000)]
    log = written(f"{BEGAN} failed after 3.0 s", *deep, "RecursionError: too deep")
    assert (log.end, log.seconds) == ("failed", 3.0)
    assert log.tail[-1] == "RecursionError: too deep"


def test_a_long_log_is_read_at_both_ends(written):
    steps = [f"{BEGAN} a: {number} of 3000, 1/s, {3000 - number} s left" for number in range(3000)]
    log = written(*steps)
    assert log.left == 1 and log.end is None
    assert len(log.tail) < 1000


def test_the_place_is_read_where_the_log_tells_it(written):
    first = "rule evolve starts with 1 thread(s) on node-3, SLURM job 17"
    assert written(first=first).where == "node-3, SLURM job 17"
    assert written().where == ""


def test_a_log_that_is_empty_or_no_text_has_no_end(tmp_path):
    for content in (b"", b"\xff\xfe\x00rubbish\n"):
        path = tmp_path / "job.log"
        path.write_bytes(content)
        log = read_log(path)
        assert log is not None and log.end is None and log.began is None


def test_no_log_is_no_log(tmp_path):
    assert read_log(tmp_path / "none.log") is None
    assert read_log(Path("no/such/folder/job.log")) is None
