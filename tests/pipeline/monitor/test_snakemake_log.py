"""What Snakemake's own log says of jobs, and by when it should have said it."""

from __future__ import annotations

import os
from datetime import datetime

import pytest

from macrodyn.pipeline.monitor.snakemake_log import (
    LATE,
    SnakemakeLog,
    is_forgotten,
    read_snakemake_log,
)

NOW = datetime(2026, 3, 1, 12).timestamp()
REFUSED = """\
[Sun Mar  1 11:00:00 2026]
Error in rule simulate:
    message: SLURM sbatch failed. The error message was 'sbatch: error: Invalid account'.
    sbatch call:
        sbatch --parsable -D /a --wrap="python -m snakemake --jobs 1 --mode 'remote'"
For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 14
    output: results/s/stages/simulate/0123456789ab/shard-0-of-2.nc
    log: results/s/a.log (check log file(s) for error details)
"""
LOCAL = """\
Error in rule evaluate:
    message: None
    jobid: 3
    log: results/s/b.log (check log file(s) for error details)
"""
AGAIN = "Trying to restart job 14.\n"
SENT = "Job 14 has been submitted with SLURM jobid 7 (log: /x/logs/rule_simulate/k_0_2/7.log).\n"


@pytest.fixture
def write(tmp_path):
    """Write a log of Snakemake that began, and last said something, so many seconds before now."""

    def write(text: str, began: float, touched: float) -> None:
        name = datetime.fromtimestamp(NOW - began).strftime("%Y-%m-%dT%H%M%S.%f.snakemake.log")
        path = tmp_path / ".snakemake" / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (NOW - touched, NOW - touched))

    return write


@pytest.mark.parametrize(
    ("text", "failures"),
    [
        (REFUSED, {"results/s/a.log": "sbatch: error: Invalid account"}),
        (LOCAL, {"results/s/b.log": ""}),
        (REFUSED + AGAIN, {}),
        (REFUSED + SENT, {}),
        (REFUSED + AGAIN + SENT + REFUSED, {"results/s/a.log": "sbatch: error: Invalid account"}),
        ("Building DAG of jobs...\n", {}),
    ],
    ids=["refused", "local", "tried again", "sent again", "refused again", "nothing"],
)
def test_failures_are_those_that_were_not_tried_again(write, tmp_path, text, failures):
    write(text, began=100, touched=50)
    found = read_snakemake_log(str(tmp_path))
    assert found.failures == failures and found.touched == NOW - 50


def test_the_folder_of_slurms_logs_is_the_one_that_was_used(write, tmp_path):
    write(SENT, began=100, touched=50)
    assert str(read_snakemake_log(tmp_path).slurm_logs) == "/x/logs"


def test_the_log_of_the_run_that_holds_the_lock_is_read_and_not_a_later_one(write, tmp_path):
    assert read_snakemake_log(tmp_path) is None
    write("an earlier run", began=9000, touched=8000)
    write(REFUSED, began=500, touched=400)
    write("a dry run", began=20, touched=19)
    assert read_snakemake_log(tmp_path).touched == NOW - 19
    assert read_snakemake_log(tmp_path, begun=NOW - 490).touched == NOW - 400


def test_snakemake_has_forgotten_jobs_whose_end_it_does_not_tell_in_time():
    log = SnakemakeLog(touched=NOW - 5000)
    assert is_forgotten([NOW - 6000, NOW - LATE - 1], log, NOW)
    assert not is_forgotten([NOW - 6000, NOW - LATE + 1], log, NOW)
    assert not is_forgotten([], log, NOW) and not is_forgotten([NOW - 4000], None, NOW)


def test_a_run_that_was_told_to_be_quiet_has_forgotten_nothing(tmp_path):
    logs = tmp_path / ".snakemake" / "log"
    logs.mkdir(parents=True)
    (logs / "2026-11-29T071633.168775.snakemake.log").touch()
    log = read_snakemake_log(tmp_path)
    assert log is not None and log.quiet
    assert not is_forgotten([log.touched + 1], log, log.touched + 10 * LATE)
