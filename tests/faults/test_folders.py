"""Folders that are shared: two runs at once, and files that other computers see late."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import xarray as xr

from macrodyn.storage.netcdf import read_dataset

pytestmark = pytest.mark.workflow


@pytest.fixture
def gathered(study) -> Path:
    """The small simulations of the tiny study: two shards and their gathering."""
    (path,) = study.results.glob("stages/simulate/*/data.nc")
    return path.relative_to(study.folder)


def test_second_run_in_one_folder_is_refused_and_the_first_ends_well(
    workflow, config, study, gathered, tally
):
    arguments = [str(gathered), "--cores", "1", "--configfile", str(config)]
    first = workflow.start(*arguments)
    locks = workflow.folder / ".snakemake" / "locks"
    while not (locks.exists() and any(locks.iterdir())):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.01)
    second = workflow.run(*arguments)
    # It was told while the first one ran.
    assert first.poll() is None
    printed, _ = first.communicate(timeout=300)
    assert second.returncode != 0
    assert "LockException" in second.stdout and "cannot be locked" in second.stdout
    assert "Finished jobid" not in second.stdout
    assert first.returncode == 0, printed
    xr.testing.assert_equal(
        read_dataset(workflow.folder / gathered), read_dataset(study.folder / gathered)
    )
    again = workflow.run(*arguments)
    assert again.returncode == 0 and "Nothing to be done" in again.stdout
    tally("two runs in one folder", 1, 1)


class LateFile(threading.Thread):
    """Hides a file as soon as it is made, and shows it some seconds later, as NFS may do."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__(daemon=True)
        self.path, self.seconds = path, seconds
        self.hidden = path.with_name("hidden-" + path.name)
        self.given_up = threading.Event()
        self.seen = False

    def run(self) -> None:
        while not self.path.exists():
            if self.given_up.wait(0.0005):
                return
        os.replace(self.path, self.hidden)
        self.seen = True
        time.sleep(self.seconds)
        os.replace(self.hidden, self.path)


def run_with_late_file(workflow, arguments, path: Path, seconds: float):
    late = LateFile(path, seconds)
    late.start()
    done = workflow.run(*arguments)
    late.given_up.set()
    late.join(60)
    assert late.seen and not late.is_alive()
    return done


def test_file_that_appears_late_is_waited_for(workflow, config, study, gathered, tally):
    shard = gathered.with_name("shard-1-of-2.nc")
    arguments = [gathered, "--cores", "1", "--configfile", config, "--latency-wait", "60"]
    done = run_with_late_file(workflow, arguments, workflow.folder / shard, 4)
    assert done.returncode == 0, done.stdout
    xr.testing.assert_equal(
        read_dataset(workflow.folder / gathered), read_dataset(study.folder / gathered)
    )
    tally("output seen seconds late", 1, 1)


def test_file_that_appears_too_late_is_named_and_made_again(
    workflow, config, study, gathered, tally
):
    shard = gathered.with_name("shard-1-of-2.nc")
    arguments = [gathered, "--cores", "1", "--configfile", config, "--latency-wait", "1"]
    failed = run_with_late_file(workflow, arguments, workflow.folder / shard, 6)
    assert failed.returncode != 0
    assert "latency" in failed.stdout and str(shard) in failed.stdout
    assert not (workflow.folder / gathered).exists()
    done = workflow.run(*arguments)
    assert done.returncode == 0, done.stdout
    xr.testing.assert_equal(
        read_dataset(workflow.folder / gathered), read_dataset(study.folder / gathered)
    )
    tally("output seen too late", 1, 1)
