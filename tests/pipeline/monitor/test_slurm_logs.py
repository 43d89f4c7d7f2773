"""Why a job failed on a cluster, from SLURM's log of it."""

from __future__ import annotations

import os

import pytest

from macrodyn.pipeline.monitor.slurm_logs import find_slurm_log, telling_lines, unsaid_reasons

USUAL = """
SNAKEMAKE
=========
  Date: 2026-11-25 13:54:44
  Workflow ID: fe19641c-5c24-4cbf-a26f-7ee9fec40964
  Snakemake version: 9.27.1
  Command: /venv/lib/python3.11/site-packages/snakemake/__main__.py --cores all
  Config file(s): [PosixPath('/study/small.yaml')]
  Config MD5: 557b52c996afd9524109893caa5e9dae

Building DAG of jobs...
Using shell: /usr/bin/bash
Provided remote nodes: 1
Conda environments: ignored
Select jobs to execute...
Execute 1 jobs...

[Wed Nov 25 13:54:47 2026]
Job 0: Simulating the large system directly, shard 1 of 2
Reason: Forced execution
srun: cluster configuration lacks support for cpu binding
"""
FAILED = """[Wed Nov 25 14:06:08 2026]
Error in rule reference:
    message: None
    jobid: 0
    output: results/small/stages/reference/e9481308fa95/shard-0-of-2.nc
    log: results/small/stages/reference/e9481308fa95/logs/shard-0-of-2.log (check log file(s))
Shutting down, this might take some time.
Exiting because a job execution failed. Look above for error messages
Storing output in storage.
Elapsed time: 0:00:14.350625
WorkflowError:
At least one job did not complete successfully.
srun: error: n1: task 0: Exited with exit code 1
"""
TRACEBACK = """--- Logging error ---
Traceback (most recent call last):
  File "/root/.pyenv/versions/3.11.7/lib/python3.11/logging/__init__.py", line 1114, in emit
    self.flush()
OSError: [Errno 28] No space left on device
"""
FULL_DISK = "a.nc cannot be written: the disk is full: make room in a"
OWN = f"rule reference: {FULL_DISK} (log: b.log)"
NOT_FOUND = "/var/spool/job00002/slurm_script: 4: /study/python: not found"
CANCELLED = (
    "slurmstepd-n1: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-25T13:55:39 DUE TO TIME LIMIT"
)
MEMORY = "slurmstepd-n1: error: StepId=3.0 exceeded memory limit (1022 > 900), being killed"
WHOLE = {
    "a full disk": (USUAL + TRACEBACK + OWN + "\n" + TRACEBACK + FAILED, (FULL_DISK,)),
    "an interpreter that the node cannot run": (NOT_FOUND + "\n", (NOT_FOUND,)),
    "a time limit": (USUAL + CANCELLED + "\n" + FAILED, (CANCELLED,)),
    "memory": (
        USUAL + MEMORY + "\n" + MEMORY + "\nsrun: error: n1: task 0: Killed\n",
        (MEMORY, "srun: error: n1: task 0: Killed"),
    ),
    "a module that is missing": (
        USUAL + "ModuleNotFoundError: No module named 'yaml'\n" + FAILED,
        ("ModuleNotFoundError: No module named 'yaml'",),
    ),
    "nothing": (USUAL, ()),
}
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


@pytest.mark.parametrize(("text", "reasons"), WHOLE.values(), ids=WHOLE)
def test_the_reason_is_found_in_a_whole_log(text, reasons):
    assert telling_lines(text.splitlines()) == reasons


def test_the_last_reasons_are_shown_each_once():
    lines = [f"ValueError: {n}" for n in (1, 2, 3, 3, 4, 4)]
    assert telling_lines(lines, most=3) == tuple(f"ValueError: {n}" for n in (2, 3, 4))


def test_the_newest_log_of_a_job_is_read(tmp_path):
    here = tmp_path / "rule_simulate" / "0123456789ab_0_2"
    here.mkdir(parents=True)
    for number, age in ((9, 50), (10, 5), (8, 90)):
        log = here / f"{number}.log"
        log.write_text(f"slurmstepd: error: job {number}\n", encoding="utf-8")
        os.utime(log, (1000 - age, 1000 - age))
    wildcards = ("0123456789ab", "0", "2")
    found = find_slurm_log("simulate", wildcards, str(tmp_path))
    assert found.path == here / "10.log" and found.touched == 995
    assert found.reasons == ("slurmstepd: error: job 10",)
    assert find_slurm_log("simulate", wildcards, tmp_path, since=996) is None
    assert find_slurm_log("simulate", ("0123456789ab", "1", "2"), tmp_path) is None
    assert find_slurm_log("summarise", (), tmp_path) is None


def test_of_two_attempts_at_one_time_the_later_job_counts(tmp_path):
    here = tmp_path / "rule_reference" / "abc_0_2"
    here.mkdir(parents=True)
    for number in (10, 9):
        (here / f"{number}.log").write_text(MEMORY, encoding="utf-8")
        os.utime(here / f"{number}.log", (1000, 1000))
    assert find_slurm_log("reference", ["abc", "0", "2"], tmp_path).path.name == "10.log"


@pytest.mark.parametrize(
    ("text", "last"), [(USUAL + OWN, FULL_DISK), ("so\nit is\n\n", "it is")], ids=["told", "untold"]
)
def test_only_jobs_that_say_nothing_themselves_are_told(tmp_path, text, last):
    here, own = tmp_path / "rule_reference" / "abc_0_2", tmp_path / "own.log"
    here.mkdir(parents=True)
    (here / "10.log").write_text(text, encoding="utf-8")
    job = ("reference", ("abc", "0", "2"), own)
    for said in (
        None,
        "",
        "2026-11-25 13:55:04,069 rule reference starts with 1 thread(s) on n1\n",
    ):
        if said is not None:
            own.write_text(said, encoding="utf-8")
        (paragraph,) = unsaid_reasons(tmp_path, [job])
        assert str(own) in paragraph and "10.log" in paragraph
        assert paragraph.endswith(f"\n    {last}")
    failed = "2026-11-25 13:55:04,069 failed after 2.0 s\nTraceback\nValueError: no\n"
    own.write_text(failed, encoding="utf-8")
    assert not list(unsaid_reasons(tmp_path, [job]))
    assert not list(unsaid_reasons(tmp_path, [("evaluate", ("base",), tmp_path / "none.log")]))
