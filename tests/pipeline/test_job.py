"""What surrounds a job: SIGTERM, its log, its sign of life. Each job is a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

from macrodyn.pipeline.job import Job, do
from macrodyn.storage.netcdf import read_dataset

JOB = """
import hashlib, sys, time, types
from macrodyn.pipeline import interrupt

interrupt._BEAT, interrupt._WAIT = 0.2, float(sys.argv[2])
rule = types.SimpleNamespace(
    log=["logs/data.log"], threads=1, rule="simulate", params={"config": {"a": 1}}, input={},
    output={"data": "data.nc"}, wildcards={"shard": "0", "shards": "1"}, resources={},
    config={"execution": {"checkpoint_minutes": 60}}, scriptdir="scripts",
)
stop = interrupt.listen(rule)
if sys.argv[1] == "loading":
    time.sleep(0.5)
    sys.argv[1] = "loop"
import numpy as np
from macrodyn.pipeline.job import job
with job(rule, stop) as this:
    this.info("at work")
    if sys.argv[1] == "loop":
        arrays = {"x": np.zeros(200)}
        for _, block in this.work("count").blocks([200], arrays, most=1):
            arrays["x"][block] += block.start
            time.sleep(float(sys.argv[3]))
        assert (arrays["x"] == np.arange(200)).all()
    elif sys.argv[1] == "busy":
        for _ in range(20):
            time.sleep(0.1)
    elif sys.argv[1] == "long":
        work = this.work("count")
        for _ in work.blocks([1], {"x": np.zeros(1)}, most=1):
            # Compiled code, during which Python calls no handler.
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    else:
        raise ValueError("no such thing")
    this.outputs["data"].write_text("result")
"""


class Process:
    """A job in a folder of its own."""

    def __init__(self, folder: Path, kind: str, *, slurm: bool, wait: float, pause: float) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        if slurm:
            environment["SLURM_JOB_ID"] = "7"
        self.folder = folder
        # A line that another job left must not be taken for this one's.
        (folder / "logs" / "data.log").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, kind, str(wait), str(pause)],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    @property
    def log(self) -> str:
        path = self.folder / "logs" / "data.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def terminate(
        self, after: float, by: signal.Signals = signal.SIGTERM, when: str = "at work"
    ) -> None:
        """Send a signal some time after the job's log has said something."""
        end = time.monotonic() + 60
        while when not in self.log:
            assert time.monotonic() < end and self.process.poll() is None
            time.sleep(0.02)
        time.sleep(after)
        self.process.send_signal(by)


@pytest.fixture
def start(tmp_path):
    started = []

    def run(kind: str, *, slurm: bool = False, wait: float = 0.5, pause: float = 0.02) -> Process:
        started.append(Process(tmp_path, kind, slurm=slurm, wait=wait, pause=pause))
        return started[-1]

    yield run
    for job in started:
        job.process.kill()
        job.process.communicate()


@pytest.mark.parametrize(
    ("slurm", "by"),
    [(False, signal.SIGTERM), (False, signal.SIGINT), (True, signal.SIGTERM)],
    ids=["alone", "Ctrl-C", "in SLURM"],
)
def test_a_signal_ends_a_loop_with_a_checkpoint_and_it_goes_on(start, tmp_path, slurm, by):
    job = start("loop", slurm=slurm)
    job.terminate(after=0.6, by=by)
    _, error = job.process.communicate(timeout=60)
    assert job.process.returncode == 143
    stopped = re.search(rf"stopped by {by.name} after .* at step (\d+) of 200", job.log)
    assert stopped and stopped[0] in error
    assert 0 < int(stopped[1]) < 200
    assert ("waiting for SLURM" in job.log) == slurm
    assert not (tmp_path / "data.nc").exists()
    assert (tmp_path / "checkpoint" / "data").is_dir()

    job = start("loop", pause=0.0)
    assert job.process.wait(timeout=60) == 0
    assert f"continuing from step {stopped[1]} " in job.log and "done in" in job.log
    assert (tmp_path / "data.nc").read_text(encoding="utf-8") == "result"
    assert not (tmp_path / "checkpoint").exists()


def test_a_stopped_job_in_slurm_waits_for_its_end_whatever_is_sent(start):
    job = start("loop", slurm=True, wait=60)
    job.terminate(after=0.3)
    end = time.monotonic() + 30
    while "waiting for SLURM" not in job.log and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    job.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        job.process.wait(timeout=1.5)
    job.process.kill()
    assert job.process.wait(timeout=10) == -signal.SIGKILL


def test_without_a_loop_a_job_ends_at_once_alone_and_works_on_in_slurm(start, tmp_path):
    alone = start("busy")
    alone.terminate(after=0.3)
    assert alone.process.wait(timeout=30) == 143
    assert "stopped by SIGTERM" in alone.log and "nothing to save" in alone.log
    assert not (tmp_path / "data.nc").exists()
    in_slurm = start("busy", slurm=True)
    in_slurm.terminate(after=0.3)
    assert in_slurm.process.wait(timeout=30) == 0
    assert (tmp_path / "data.nc").read_text(encoding="utf-8") == "result"


def test_a_signal_that_comes_while_a_job_loads_is_not_lost(start, tmp_path):
    alone = start("loading")
    alone.terminate(after=0.0, when="starts with")
    assert alone.process.wait(timeout=30) == 143
    assert "stopped by SIGTERM: the program was still loading" in alone.log
    in_slurm = start("loading", slurm=True)
    in_slurm.terminate(after=0.0, when="starts with")
    assert in_slurm.process.wait(timeout=30) == 143
    assert "SIGTERM has come (a time limit, preemption or scancel)" in in_slurm.log
    assert re.search(r"stopped by SIGTERM after .* checkpoint written at step 1 of", in_slurm.log)
    assert in_slurm.log.count("starts with") == 1


def test_a_signal_is_told_while_a_step_is_longer_than_what_is_left(start):
    job = start("long", slurm=True)
    job.terminate(after=0.5)
    end = time.monotonic() + 10
    while "to stop after the step under way" not in job.log:
        assert time.monotonic() < end and job.process.poll() is None
        time.sleep(0.05)
    assert "stopped by" not in job.log


def test_what_a_script_imports_first_is_light():
    heavy = "{'numpy', 'xarray', 'numba', 'torch', 'pydantic', 'snakemake'} & set(sys.modules)"
    code = f"import sys, macrodyn.pipeline.interrupt; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)
    for script in (Path(__file__).parents[2] / "scripts").glob("*.py"):
        first = script.read_text(encoding="utf-8").split("import", 1)[1]
        assert first.startswith(" listen\n\nstop = listen(snakemake)\n"), script


def test_a_living_job_touches_its_log(start, tmp_path):
    job = start("busy")
    log = tmp_path / "logs" / "data.log"
    end = time.monotonic() + 60
    while "at work" not in job.log and time.monotonic() < end:
        time.sleep(0.02)
    before, text = log.stat().st_mtime_ns, job.log
    time.sleep(1.0)
    assert log.stat().st_mtime_ns - before > 0.3e9 and job.log == text
    job.process.kill()
    job.process.wait()
    silent = log.stat().st_mtime_ns
    time.sleep(0.6)
    assert log.stat().st_mtime_ns == silent


def test_a_failed_job_says_so_in_its_log_and_on_the_terminal(start):
    job = start("wrong")
    _, error = job.process.communicate(timeout=60)
    assert job.process.returncode == 1
    assert "failed after" in job.log and "ValueError: no such thing" in job.log
    assert "rule simulate: no such thing (log: logs/data.log)" in error


def returning(job):
    """Work that returns a data set."""
    values = ("x", [job.config["value"]], {"long_name": "value", "units": "1"})
    return xr.Dataset({"value": values}, attrs={"core_seconds": 5.0})


def writing(job):
    """Work that writes what it makes itself."""
    job.outputs["data"].write_text(job.input("before", "log").name, encoding="utf-8")


def job_of(work, tmp_path):
    return Job(
        stage="own_stage",
        config={"value": 3.0},
        inputs={"before": {"data": "data.nc", "log": tmp_path / "log.txt"}, "before/2": {}},
        outputs={"data": tmp_path / "data.nc"},
        params={"work": f"{__name__}:{work}"},
        threads=2,
    )


def test_a_data_set_that_work_returns_is_written_with_its_origin_and_cost(tmp_path):
    do(job_of("returning", tmp_path))
    found = read_dataset(tmp_path / "data.nc")
    assert found.value.values == [3.0]
    assert found.attrs["stage"] == "own_stage" and '"value"' in found.attrs["stage_config"]
    # To what it carries, such as that of its shards, the job's own is added.
    assert 5 < found.attrs["core_seconds"] < 65


def test_work_that_returns_nothing_has_written_what_it_made(tmp_path):
    job = job_of("writing", tmp_path)
    do(job)
    assert (tmp_path / "data.nc").read_text(encoding="utf-8") == "log.txt"
    assert job.input("before") == Path("data.nc") and job.roles("before") == ["2"]
