"""Why a job ended that left no reason in its log: SLURM's log of it, as real ones read."""

from __future__ import annotations

import pytest

from macrodyn.pipeline.slurm_reasons import newest_log, reason, reasons

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
FULL = "rule reference: a.nc cannot be written: the disk is full: make room in a (log: b.log)"
NOT_FOUND = "/var/spool/job00002/slurm_script: 4: /study/python: not found"
CANCELLED = (
    "slurmstepd-n1: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-25T13:55:39 DUE TO TIME LIMIT"
)
MEMORY = "slurmstepd-n1: error: StepId=3.0 exceeded memory limit (1022 > 900), being killed"
SAID = {
    "a full disk": (USUAL + TRACEBACK + FULL + "\n" + TRACEBACK + FAILED, [FULL]),
    "an interpreter that the node cannot run": (NOT_FOUND + "\n", [NOT_FOUND]),
    "a time limit": (USUAL + CANCELLED + "\n" + FAILED, [CANCELLED]),
    "memory": (
        USUAL + MEMORY + "\n" + MEMORY + "\nsrun: error: n1: task 0: Killed\n",
        [
            MEMORY,
            "srun: error: n1: task 0: Killed",
        ],
    ),
    "a module that is missing": (
        USUAL
        + "Traceback (most recent call last):\nModuleNotFoundError: No module named 'yaml'\n"
        + FAILED.replace("srun: error: n1: task 0: Exited with exit code 1\n", ""),
        ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'yaml'"],
    ),
    "nothing": (USUAL, []),
}


@pytest.mark.parametrize(("text", "lines"), SAID.values(), ids=SAID)
def test_of_a_log_of_slurm_what_says_why_is_shown(text, lines):
    assert reason(text) == lines


@pytest.fixture
def logs(tmp_path):
    place = tmp_path / "rule_reference" / "abc_0_2"
    place.mkdir(parents=True)
    (place / "9.log").write_text(USUAL + MEMORY)
    (place / "10.log").write_text(USUAL + FULL)
    return tmp_path


def test_the_latest_attempt_counts(logs):
    assert newest_log(logs, "reference", ["abc", "0", "2"]).name == "10.log"
    assert newest_log(logs, "reference", ["abc", "1", "2"]) is None
    assert newest_log(logs, "summarise", []) is None


def test_only_jobs_that_say_nothing_themselves_are_told(logs, tmp_path):
    own = tmp_path / "own.log"
    job = ("reference", ("abc", "0", "2"), own)
    for text in (
        None,
        "",
        "2026-11-25 13:55:04,069 rule reference starts with 1 thread(s) on n1\n",
    ):
        if text is not None:
            own.write_text(text)
        (said,) = reasons(logs, [job])
        assert str(own) in said and "10.log" in said and said.endswith(f"\n    {FULL}")
    own.write_text("2026-11-25 13:55:04,069 failed after 2.0 s\nTraceback\nValueError: no\n")
    assert not list(reasons(logs, [job]))
    assert not list(reasons(logs, [("evaluate", ("base",), tmp_path / "none.log")]))
