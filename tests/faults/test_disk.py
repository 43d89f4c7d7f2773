"""Disks that are full or read-only: one clear error, the old file stays, no part of a new one."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.storage.errors import WriteError
from macrodyn.storage.files import write_json
from macrodyn.storage.models import load_model, save_model
from macrodyn.storage.netcdf import read_dataset, write_dataset
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

from .conftest import messages, remount

NOISE = np.random.default_rng(1).standard_normal((16, 4096))
SIZE = "1m"


def write_data(path: Path, rows: int) -> None:
    write_dataset(xr.Dataset({"z": (("sample", "x"), NOISE[:rows])}), path, {"stage": "test"})


def write_model(path: Path, rows: int) -> None:
    save_model(path, {"z": torch.tensor(NOISE[:rows])}, {"rows": rows})


def write_text(path: Path, rows: int) -> None:
    write_sealed_json(path, {"z": NOISE[:rows].tolist()})


def write_plain(path: Path, rows: int) -> None:
    write_json(path, NOISE[:rows].tolist())


Write = Callable[[Path, int], None]
# Name of a file, how it is written with so many rows, and how it is read.
KINDS: dict[str, tuple[str, Write, Callable[[Path], Any]]] = {
    "NetCDF": ("data.nc", write_data, read_dataset),
    "model": ("model.safetensors", write_model, load_model),
    "sealed JSON": ("training.json", write_text, read_sealed_json),
    "JSON": ("study.json", write_plain, Path.read_text),
}
kinds = pytest.mark.parametrize(("name", "write", "read"), KINDS.values(), ids=KINDS)


def fill(folder: Path, free: int) -> None:
    """Leave so many bytes free on a small disk."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    size = (folder / "filler").stat().st_size
    with (folder / "filler").open("r+b") as file:
        file.truncate(max(0, size - free))


def checked_failure(write: Write, path: Path, rows: int, number: int) -> str:
    """Check that a write fails for the right reason and leaves no trace; return the message."""
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    with pytest.raises(WriteError) as caught:
        write(path, rows)
    assert caught.value.errno == number
    message = str(caught.value)
    assert message.startswith(f"{path.parent}/{path.stem}.")
    assert message.endswith(", then run the same command again")
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    return message


@kinds
def test_full_disk_loses_nothing(tmp_path, small_disk, tally, name, write, read):
    folder = small_disk(tmp_path / "disk", SIZE)
    path = folder / name
    write(path, 1)
    old = path.read_bytes()
    frees = range(0, 131072, 8192)
    for free in frees:
        fill(folder, free)
        assert "the disk is full" in checked_failure(write, path, 12, errno.ENOSPC)
    (folder / "filler").unlink()
    assert path.read_bytes() == old
    read(path)
    write(path, 2)
    read(path)
    assert path.read_bytes() != old
    tally("disk full while a file is written", len(frees), len(frees))


@kinds
def test_read_only_disk_is_named(tmp_path, small_disk, tally, name, write, read):
    folder = small_disk(tmp_path / "disk", SIZE)
    path = folder / name
    write(path, 1)
    remount(folder, "ro")
    message = checked_failure(write, path, 2, errno.EROFS)
    assert "read-only" in message and str(folder) in message
    read(path)
    with pytest.raises(WriteError, match="read-only"):
        write(folder / "new" / name, 1)
    remount(folder, "rw")
    write(path, 2)
    tally("read-only disk", 2, 2)


@pytest.fixture
def limited_files():
    """Files can have no more than 64 KiB, as with ulimit -f."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, ignored)


@kinds
def test_limit_of_a_files_size_is_named(tmp_path, limited_files, tally, name, write, read):
    path = tmp_path / "files" / name
    write(path, 1) if name.endswith((".nc", ".safetensors")) else path.parent.mkdir()
    message = checked_failure(write, path, 12, errno.EFBIG)
    assert "ulimit -f" in message
    if path.exists():
        read(path)
    tally("limit of a file's size", 1, 1)


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from macrodyn.storage.files import write_json
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    write_json(Path(sys.argv[1]), {"version": 2})
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("hidden", [False, True], ids=["read-only", "not to be looked into"])
def test_folder_without_permission_is_named(tally, hidden):
    # Not in `tmp_path`, whose parents are for one user only.
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "results"
        write_json(folder / "a.json", {"version": 1})
        folder.chmod(0o555)
        Path(base).chmod(0o700 if hidden else 0o755)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, str(folder / "a.json")]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        folder.chmod(0o755)
        if "No module named" in done.stderr or "Permission denied" in done.stderr:
            pytest.skip("another user cannot read the package here")
        nearest = base if hidden and not os.geteuid() else folder
        assert done.stdout == (
            f"{folder}/a.json cannot be written: there is no permission to write: chmod u+w "
            f"{nearest}, then run the same command again\n"
        )
        assert [path.name for path in folder.iterdir()] == ["a.json"]
    tally("folder without permission", 1, 1)


SHARD = "results/tiny/stages/simulate/{key}/shard-0-of-2.nc"


@pytest.fixture
def shard(study) -> str:
    """The path of one shard of the tiny study."""
    (folder,) = study.results.glob("stages/simulate/*")
    return SHARD.format(key=folder.name)


@pytest.mark.workflow
def test_job_on_a_full_disk_fails_clearly_and_goes_on_after_it(
    workflow, config, study, shard, small_disk, tally
):
    disk = small_disk(workflow.folder / "results", "36k")
    failed = workflow.run(shard, "--cores", "1", "--configfile", config)
    assert failed.returncode != 0
    (line,) = messages(failed.stdout)
    assert f"{shard} cannot be written: the disk is full" in line
    left = [path.name for path in (workflow.folder / shard).parent.iterdir()]
    assert left == ["logs"]
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    done = workflow.run(shard, "--cores", "1", "--configfile", config)
    assert done.returncode == 0, done.stdout
    xr.testing.assert_equal(
        read_dataset(workflow.folder / shard), read_dataset(study.folder / shard)
    )
    tally("disk full under a job of the workflow", 1, 1)


@pytest.mark.workflow
def test_read_only_results_are_told_before_any_job(
    workflow, config, study, shard, small_disk, tally
):
    disk = small_disk(workflow.folder / "results")
    remount(disk, "ro")
    failed = workflow.run(shard, "--cores", "1", "--configfile", config)
    assert failed.returncode != 0
    assert "cannot be written: the file system of" in failed.stdout
    assert "is read-only: make it writable, then run the same command again" in failed.stdout
    assert "Finished jobid" not in failed.stdout and "Traceback" not in failed.stdout
    remount(disk, "rw")
    done = workflow.run(shard, "--cores", "1", "--configfile", config)
    assert done.returncode == 0, done.stdout
    xr.testing.assert_equal(
        read_dataset(workflow.folder / shard), read_dataset(study.folder / shard)
    )
    tally("read-only results folder under the workflow", 1, 1)
