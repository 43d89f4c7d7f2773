"""Shards as other software opens them: `xarray.open_mfdataset` joins them as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import netCDF4
import numpy as np
import pytest
import xarray as xr

from macrodyn.storage.netcdf import gather_shards, pad_examples, read_dataset, write_dataset


def shard(number: int, examples: int) -> xr.Dataset:
    """One of two shards: every second sample, and some examples of all three."""
    samples = np.arange(number, 6, 2)
    data = xr.Dataset(
        {
            "z": (("sample", "variable"), samples[:, None] * np.array([1.0, 10.0])),
            "condition_values": (("sample", "condition"), np.zeros((3, 0))),
            "number": ("sample", samples),
            "example_number": ("example", np.arange(number, number + 2 * examples, 2)),
            "level_0_raw": (("example", "x"), np.full((examples, 4), number + 1, np.int8)),
        },
        attrs={"site_updates": 1.0, "core_seconds": 2.0, "stage_config": "{}"},
    )
    return pad_examples(data, 3)


@pytest.fixture
def paths(tmp_path):
    found = [tmp_path / f"shard-{i}-of-2.nc" for i in range(2)]
    for number, path in enumerate(found):
        write_dataset(shard(number, examples=2 - number), path, {})
    return found


# What open_mfdataset hands on, with the defaults of xarray of today and of before.
DEFAULTS = [{}, {"data_vars": "all", "coords": "different", "compat": "no_conflicts"}]


@pytest.mark.parametrize("options", DEFAULTS, ids=["new defaults", "old defaults"])
def test_shards_are_joined_by_others_as_they_are(paths, options):
    parts = [xr.open_dataset(path) for path in paths]
    joined = xr.combine_nested(parts, concat_dim="sample", join="outer", **options)
    gathered = gather_shards([str(path) for path in paths], "sample", "number")
    np.testing.assert_array_equal(joined.sortby("number").z, gathered.z)
    for part in parts:
        part.close()


def test_padding_is_no_example(paths):
    assert [read_dataset(path).sizes["example"] for path in paths] == [3, 3]
    gathered = gather_shards(paths, "sample", "number")
    assert gathered.example_number.values.tolist() == [0, 1, 2]
    assert gathered.level_0_raw.dtype == np.int8
    assert gathered.level_0_raw.values[:, 0].tolist() == [1, 2, 1]


GATHER = """
import json, sys
import netCDF4
from macrodyn.storage.netcdf import gather_shards, write_dataset
*paths, target = sys.argv[1:]
write_dataset(gather_shards(paths, "sample", "number"), target, {})
print(json.dumps(list(netCDF4.Dataset(target).dimensions)))
"""


def test_dimensions_have_one_order_whatever_the_hash_seed(paths, tmp_path):
    """Those without an extent are unlimited in the file, of which xarray keeps a set."""
    for path in paths:
        data = read_dataset(path).drop_vars(["level_0_raw", "example_number"])
        data["more"] = (("sample", "nothing", "none"), np.zeros((3, 0, 0)))
        write_dataset(data, path, {})
    orders = set()
    for seed in ("1", "2", "3", "4"):
        target = str(tmp_path / f"gathered-{seed}.nc")
        done = subprocess.run(
            [sys.executable, "-c", GATHER, *map(str, paths), target],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        orders.add(tuple(json.loads(done.stdout)))
    assert orders == {("sample", "variable", "condition", "nothing", "none")}


def test_dimensions_stand_in_the_order_of_the_variables(paths):
    gathered = gather_shards(paths, "sample", "number")
    # As of a file in which dimensions are unlimited.
    gathered.encoding["unlimited_dims"] = {"example", "condition", "sample"}
    write_dataset(gathered, paths[0].with_name("data.nc"), {})
    with netCDF4.Dataset(paths[0].with_name("data.nc")) as file:
        assert list(file.dimensions) == ["sample", "variable", "condition", "example", "x"]
