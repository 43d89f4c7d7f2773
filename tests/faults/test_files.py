"""Damaged files of a finished study: each is refused by name, and the way on that is told works."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from macrodyn.closure.model import load_autoencoder
from macrodyn.config.load import load_study
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.pipeline.planner import plan_study
from macrodyn.storage.errors import StoreError
from macrodyn.storage.models import load_model
from macrodyn.storage.netcdf import gather_shards, read_attributes, read_dataset
from macrodyn.storage.sealed import read_sealed_json

from .conftest import messages, removals

pytestmark = pytest.mark.workflow

REGIONS = 64
FLIPS_IN_A_REGION = 32
CUTS = 512


def as_shard(path: Path) -> xr.Dataset:
    return gather_shards([path], "sample", "number")


def as_description(path: Path) -> Any:
    return load_model(path.with_suffix(".safetensors"))


# Kind of file, one of them, and what reads it in the workflow.
KINDS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "gathered data": ("stages/upsample/*/data.nc", read_dataset),
    "costs in data": ("stages/simulate/*/data.nc", read_attributes),
    "encoded data": ("stages/encode/*/data.nc", read_dataset),
    "prediction": ("stages/predict/*/data.nc", read_dataset),
    "shard": ("stages/evolve/*/shard-0-of-1.nc", as_shard),
    "closure": ("stages/closure/*/model.safetensors", load_autoencoder),
    "closure's description": ("stages/closure/*/model.json", as_description),
    "dynamics": ("stages/dynamics/*/model.safetensors", Ensemble.load),
    "dynamics' description": ("stages/dynamics/*/model.json", as_description),
    "training": ("stages/dynamics/*/training.json", read_sealed_json),
    "metrics": ("*/metrics.json", read_sealed_json),
}
kinds = pytest.mark.parametrize(("pattern", "read"), KINDS.values(), ids=KINDS)
FORMS = {".nc": "NetCDF", ".safetensors": "model weights", ".json": "JSON"}


@pytest.fixture
def one_of(study, tmp_path) -> Callable[[str], Path]:
    """Copy one file of the study with those beside it, at the same place below a new folder."""

    def copy(pattern: str) -> Path:
        source = min(study.results.glob(pattern))
        folder = tmp_path / source.parent.relative_to(study.results)
        shutil.copytree(source.parent, folder)
        return folder / source.name

    return copy


def refused(read: Callable[[Path], Any], path: Path) -> bool:
    """Whether a reader says of which file it has no use."""
    try:
        read(path)
    except StoreError as error:
        return f"rm {path}" in str(error) or str(path.with_suffix(".json")) in str(error)
    return False


@kinds
def test_every_flipped_bit_is_found(one_of, tally, pattern, read):
    path = one_of(pattern)
    size = path.stat().st_size
    read(path)
    generator = random.Random(size)
    found = tried = 0
    with path.open("r+b", buffering=0) as file:
        for region in range(REGIONS):
            begin, end = region * size // REGIONS, (region + 1) * size // REGIONS
            for _ in range(FLIPS_IN_A_REGION):
                position, bit = generator.randrange(begin, end), generator.randrange(8)
                file.seek(position)
                (byte,) = file.read(1)
                file.seek(position)
                file.write(bytes([byte ^ 1 << bit]))
                tried += 1
                found += refused(read, path)
                file.seek(position)
                file.write(bytes([byte]))
    read(path)
    tally(f"{FORMS[path.suffix]}: a bit flipped", tried, found)


@kinds
def test_every_truncation_is_found(one_of, tally, pattern, read):
    path = one_of(pattern)
    whole = path.read_bytes()
    generator = random.Random(len(whole))
    lengths = {0, 1, 8, 512, len(whole) - 48, len(whole) - 2, len(whole) - 1}
    lengths |= {generator.randrange(len(whole)) for _ in range(CUTS)}
    found = 0
    for length in lengths:
        path.write_bytes(whole[:length])
        found += refused(read, path)
    path.write_bytes(whole)
    read(path)
    tally(f"{FORMS[path.suffix]}: cut short", len(lengths), found)


@kinds
@pytest.mark.parametrize("size", [4096, 65536])
def test_block_of_zeros_is_found(one_of, tally, pattern, read, size):
    """What a crash may leave: the right length, but blocks that were not written."""
    path = one_of(pattern)
    whole = path.read_bytes()
    found = tried = 0
    for begin in range(0, len(whole), size):
        damaged = whole[:begin] + bytes(min(size, len(whole) - begin)) + whole[begin + size :]
        if damaged == whole:  # zeros stood there already
            continue
        path.write_bytes(damaged)
        tried += 1
        found += refused(read, path)
    tally(f"{FORMS[path.suffix]}: a block of zeros", tried, found)


def test_every_file_in_the_place_of_another_is_refused(study, tmp_path, tally):
    """All pairs of data files of the study, one put in the place of the other."""
    files = sorted(study.results.glob("stages/*/*/*.nc"))
    found = tried = 0
    for place in files:
        target = tmp_path / place.relative_to(study.results)
        target.parent.mkdir(parents=True, exist_ok=True)
        for source in files:
            # Gathered data and shards of one stage have the same origin, but not the same names.
            if source == place or (source.parent == place.parent and place.name == "data.nc"):
                continue
            shutil.copyfile(source, target)
            tried += 1
            found += refused(read_dataset, target)
    tally("NetCDF of another stage, configuration or shard", tried, found)


def test_every_model_in_the_place_of_another_is_refused(study, tmp_path, tally):
    folders = sorted(path.parent for path in study.results.glob("stages/*/*/model.safetensors"))
    found = tried = 0
    for place in folders:
        for source in folders:
            if source == place:
                continue
            target = tmp_path / place.relative_to(study.results)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
            tried += 1
            found += refused(load_model, target / "model.safetensors")
    tally("model of another stage or configuration", tried, found)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 16
    path.write_bytes(content)


def put_in_place(source: Path) -> Callable[[Path], Any]:
    return lambda path: shutil.copyfile(source, path)


@pytest.mark.slow
def test_the_way_on_that_is_told_works(study, copied_study, job_counts, tally):
    """One call meets four faults; after the commands that it tells, it ends as it should."""
    plans = plan_study(load_study(study.config_file))
    base, other = plans["base"], plans["published-setting"]

    def path(stage, name: str) -> Path:
        return Path("results/tiny") / stage.folder / name

    naive = path(base["pairs/naive"], "shard-0-of-1.nc")
    pairs = base["pairs/full"]
    # What is damaged, how, and the result that is made from it.
    faults = [
        (
            path(pairs, "shard-0-of-1.nc"),
            put_in_place(study.folder / naive),
            path(pairs, "data.nc"),
        ),
        (
            path(base["latents/naive"], "data.nc"),
            cut,
            path(base["model/naive"], "model.safetensors"),
        ),
        (
            path(base["model/ours"], "model.safetensors"),
            flip,
            path(base["prediction/ours/transient"], "data.nc"),
        ),
        (
            path(other["model/ours"], "model.json"),
            flip,
            path(other["prediction/ours/transient"], "data.nc"),
        ),
    ]
    for damaged, damage, result in faults:
        place = copied_study.folder / damaged
        before = place.stat()
        damage(place)
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
        (copied_study.folder / result).unlink()
    targets = [result for _, _, result in faults]
    command = (*targets, "--cores", "1", "--configfile", study.config_file)
    failed = copied_study.run(*command)
    assert failed.returncode != 0
    told = messages(failed.stdout)
    for damaged, _, result in faults:
        (line,) = [line for line in told if str(damaged) in line.split(": rm ")[0]]
        assert str(damaged) in line.split(": rm ")[1]
        assert not (copied_study.folder / result).exists()
    for file in removals(failed.stdout):
        (copied_study.folder / file).unlink()
    done = copied_study.run(*command)
    assert done.returncode == 0, done.stdout
    survived = 0
    for damaged, _, result in faults:
        for name in (damaged, result):
            one, again = study.folder / name, copied_study.folder / name
            if name.suffix == ".nc":
                xr.testing.assert_equal(read_dataset(one), read_dataset(again))
            elif name.suffix == ".safetensors":
                assert one.read_bytes() == again.read_bytes()
        survived += 1
    tally("damaged file met by the workflow", len(faults), survived)
    # Only what was damaged is made again, and what follows from it.
    assert job_counts(done.stdout) == {
        "evolve": 1,
        "gather": 1,
        "encode": 1,
        "dynamics": 3,
        "predict": 2,
    }
