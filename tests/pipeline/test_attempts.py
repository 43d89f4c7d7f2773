"""A further attempt gets more if the job was killed; an error that repeats is not tried again."""

from __future__ import annotations

import pytest

from macrodyn.pipeline.attempts import (
    VARIABLE,
    RepeatedError,
    begin_run,
    forget,
    growth,
    refuse_repetition,
    remember,
)
from macrodyn.storage.errors import StoreError, WriteError

STAMP = "2026-11-25 13:55:04,069 "
BEGUN = STAMP + "rule closure starts with 1 thread(s) on n1, SLURM job 3\n"
FAILED = BEGUN + STAMP + "failed after 3.0 s\nTraceback (most recent call last):\n"
FULL = "rule closure: a.nc cannot be written: the disk is full: make room in results (log: b.log)"
# What the job's log and SLURM's say, and whether the next attempt gets more.
ENDS = {
    "killed": (BEGUN, "", True),
    "told to stop": (BEGUN + STAMP + "stopped by SIGTERM after 9.0 s: checkpoint\n", "", True),
    "out of memory": (FAILED + "numpy._ArrayMemoryError: Unable to allocate 9 GiB\n", "", True),
    "out of memory in torch": (FAILED + "RuntimeError: can't allocate memory: 9 bytes\n", "", True),
    "diverged": (FAILED + "FloatingPointError: The closure's loss diverged\n", "", False),
    "a full disk": ("", FULL, False),
    "never begun": (None, "slurm_script: 4: /study/python: not found", False),
    "never begun, and no word": (None, "", False),
    "time limit before it began": (None, "slurmstepd: error: *** DUE TO TIME LIMIT ***", True),
    "memory before it began": (None, "slurmstepd: error: Detected 1 oom_kill event", True),
}


@pytest.mark.parametrize(("own", "slurm", "more"), ENDS.values(), ids=ENDS)
def test_only_a_job_that_was_killed_gets_more(tmp_path, own, slurm, more):
    log = tmp_path / "closure.log"
    if own is not None:
        log.write_text(own, encoding="utf-8")
    assert growth(1, log, slurm) == 1
    assert [growth(n, log, slurm) for n in (2, 3)] == ([2, 3] if more else [1, 1])


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")  # restored afterwards
    begin_run()
    return tmp_path / "closure.log"


def test_an_error_that_repeats_is_not_tried_again_in_the_same_run(log):
    refuse_repetition(log)
    try:
        raise FloatingPointError("the loss diverged")
    except FloatingPointError as error:
        remember(log, error)
    with pytest.raises(RepeatedError, match=r"not tried again.*: the loss diverged") as refused:
        refuse_repetition(log)
    assert "in test_an_error_that_repeats" in str(refused.value.__cause__)
    begin_run()
    refuse_repetition(log)


def test_what_was_kept_of_an_error_goes_with_success(log):
    remember(log, ValueError("wrong"))
    forget(log)
    refuse_repetition(log)
    assert not list(log.parent.iterdir())
    forget(log)


def test_an_error_of_the_machine_is_tried_again(log):
    unreadable = StoreError("a.nc cannot be read (Stale file handle)")
    unreadable.__cause__ = OSError(116, "Stale file handle")
    for error in (MemoryError(), WriteError("the disk is full"), RuntimeError("CUDA"), unreadable):
        remember(log, error)
        refuse_repetition(log)


def test_where_jobs_do_not_know_their_run_they_are_tried_again(log, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    remember(log, ValueError("wrong"))
    refuse_repetition(log)
    remember(None, ValueError("wrong"))
    refuse_repetition(None)


def test_a_log_folder_that_cannot_be_written_hides_no_error(log):
    log = log / "no" / "folder.log"
    remember(log, ValueError("wrong"))
    refuse_repetition(log)
