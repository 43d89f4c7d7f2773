"""Why a job failed on a cluster, from SLURM's log of it."""

from __future__ import annotations

import os

import pytest

from macrodyn.pipeline.slurm_logs import find_slurm_log, telling_lines

NODE = (
    "slurmstepd-n1: error: *** JOB 4 ON n1 CANCELLED AT 2026-03-01T12:00:00 DUE TO TIME LIMIT ***"
)
FULL = (
    "results/a/data.nc cannot be written: the disk is full (0.0 of 8 MiB left): make room in "
    "results/a, then run the same command again"
)
LOGS = {
    "a full disk": (
        [
            "--- Logging error ---",
            "Traceback (most recent call last):",
            "OSError: [Errno 28] No space left on device",
            "Call stack:",
            f"rule simulate: {FULL} (log: results/a/logs/shard-0-of-2.log)",
            "RuleException:",
            "CalledProcessError in file simulate.smk, line 27:",
            "Command 'python x.py' returned non-zero exit status 1.",
            "Error in rule simulate:",
        ],
        (FULL,),
    ),
    "no interpreter": (
        ["/bin/sh: 1: /nowhere/python: not found", "srun: error: n1: task 0: Exited with code 127"],
        ("/bin/sh: 1: /nowhere/python: not found",),
    ),
    "the time limit": (["Building DAG of jobs...", NODE], (NODE,)),
    "an import": (
        ["ImportError: libgomp.so.1: cannot open", "Exiting because a job execution failed."],
        ("ImportError: libgomp.so.1: cannot open",),
    ),
    "nothing": (["Building DAG of jobs...", "Provided cores: 1"], ()),
}


@pytest.mark.parametrize(("lines", "reasons"), LOGS.values(), ids=LOGS)
def test_the_lines_that_tell_are_found_among_the_others(lines, reasons):
    assert telling_lines(lines) == reasons


def test_the_last_reasons_are_shown_each_once():
    lines = [f"ValueError: {n}" for n in (1, 2, 3, 3, 4, 4)]
    assert telling_lines(lines, most=3) == tuple(f"ValueError: {n}" for n in (2, 3, 4))


def test_the_newest_log_of_a_job_is_read(tmp_path):
    here = tmp_path / "rule_simulate" / "0123456789ab_0_2"
    here.mkdir(parents=True)
    for number, age in ((9, 50), (10, 5), (8, 90)):
        log = here / f"{number}.log"
        log.write_text(f"slurmstepd: error: job {number}\n")
        os.utime(log, (1000 - age, 1000 - age))
    wildcards = ("0123456789ab", "0", "2")
    found = find_slurm_log("simulate", wildcards, str(tmp_path))
    assert found.path == here / "10.log" and found.touched == 995
    assert found.reasons == ("slurmstepd: error: job 10",)
    assert find_slurm_log("simulate", wildcards, tmp_path, since=996) is None
    assert find_slurm_log("simulate", ("0123456789ab", "1", "2"), tmp_path) is None
    assert find_slurm_log("summarise", (), tmp_path) is None
