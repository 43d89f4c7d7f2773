"""NetCDF files: written whole or not at all, read back bit by bit, gathered in one order."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from macrodyn.storage import netcdf
from macrodyn.storage.netcdf import StoreError, gather_shards, read_dataset, write_dataset

ATTRIBUTES = {"stage": "test", "stage_config": '{"seed": 1}'}


def make_dataset(samples: int = 5) -> xr.Dataset:
    rng = np.random.default_rng(3)
    z = rng.standard_normal((samples, 2))
    z[0] = [np.nan, np.inf]
    return xr.Dataset(
        {
            "states": (
                ("sample", "x", "y"),
                rng.choice(np.array([-1, 1], np.int8), (samples, 6, 4)),
                {"units": "1", "long_name": "spins"},
            ),
            "z": (("sample", "variable"), z, {"units": "1", "long_name": "observables"}),
            "single": (("sample",), rng.standard_normal(samples).astype(np.float32)),
            "number": ("sample", np.arange(samples)),
            "condition_values": (("sample", "condition"), np.zeros((samples, 0))),
        },
        coords={"variable": ["magnetisation", "ρ"], "condition": np.array([], dtype=str)},
        attrs={"dt": 0.25},
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "stages" / "data.nc"
    write_dataset(make_dataset(), path, ATTRIBUTES)
    return path


def test_round_trip_is_bitwise(written):
    data, expected = read_dataset(written), make_dataset()
    assert set(data.variables) == set(expected.variables)
    for name, variable in expected.variables.items():
        assert data[name].dims == variable.dims, name
        assert data[name].attrs == variable.attrs, name
        if variable.dtype.kind in "iuf" and variable.size:
            assert data[name].dtype == variable.dtype, name
            assert data[name].values.tobytes() == variable.values.tobytes(), name
    assert list(data["variable"].values) == ["magnetisation", "ρ"]
    assert data.sizes["condition"] == 0
    assert data.attrs == {"dt": 0.25, **ATTRIBUTES}


def test_data_stay_after_the_file_is_gone(written):
    data = read_dataset(written)
    written.unlink()
    assert data.states.values.shape == (5, 6, 4)


def test_numbers_are_compressed(written):
    with netCDF4.Dataset(written) as file:
        assert file.data_model == "NETCDF4"
        for name in ("states", "z", "single"):
            assert file[name].filters()["zlib"], name
            assert "_FillValue" not in file[name].ncattrs(), name


def test_chunks_are_whole_rows_of_a_few_mebibytes():
    tall = xr.Variable(("sample", "x"), np.zeros((3000, 4096)))
    assert netcdf._chunks(tall) == (128, 4096)
    wide = xr.Variable(("sample", "x"), np.zeros((2, 2**20)))
    assert netcdf._chunks(wide) == (1, 2**20)
    few = xr.Variable(("sample", "x"), np.zeros((3, 2)))
    assert netcdf._chunks(few) == (3, 2)


def test_some_variables_can_be_read_alone(written):
    data = read_dataset(written, ["z"])
    assert set(data.data_vars) == {"z"}
    assert data.attrs["stage"] == "test"


def test_the_data_set_given_is_left_alone(tmp_path):
    data = make_dataset()
    write_dataset(data, tmp_path / "a.nc", ATTRIBUTES)
    assert data.attrs == {"dt": 0.25}


def test_failed_write_leaves_the_old_file_and_nothing_else(written, monkeypatch):
    before = written.read_bytes()

    def fail(self, path, **options):
        Path(path).write_bytes(b"half a file")
        raise RuntimeError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_dataset(make_dataset(3), written, ATTRIBUTES)
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == ["data.nc"]


def test_interrupted_rename_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(make_dataset(), tmp_path / "data.nc", ATTRIBUTES)
    assert not list(tmp_path.iterdir())


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced_by_text(path: Path) -> None:
    path.write_text("not a data file\n" * 50)


def overwritten_inside(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for start in range(200, len(content), 300):
        content[start : start + 60] = b"\xff" * 60
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [truncated, emptied, replaced_by_text, overwritten_inside])
def test_damaged_file_is_named(written, damage):
    damage(written)
    with pytest.raises(StoreError, match="cannot be read") as caught:
        read_dataset(written)
    assert str(written) in str(caught.value)
    assert "delete it" in str(caught.value) and "run again" in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError, match="is missing") as caught:
        read_dataset(tmp_path / "none.nc")
    assert str(tmp_path / "none.nc") in str(caught.value)


def test_missing_variable_is_named(written):
    with pytest.raises(StoreError, match="nothing_such"):
        read_dataset(written, ["nothing_such"])


def write_shards(folder: Path, shards: int, samples: int = 7) -> list[Path]:
    """Deal samples out in turn, as the stages do."""
    whole = make_dataset(samples)
    paths = []
    for shard in range(shards):
        part = whole.isel(sample=slice(shard, None, shards))
        part = part.assign_attrs(site_updates=float(10 * part.sizes["sample"]), core_seconds=1.5)
        part["constant"] = ("lag", np.array([1.0, 2.0]))
        paths.append(folder / f"shard-{shard}-of-{shards}.nc")
        write_dataset(part, paths[-1], ATTRIBUTES)
    return paths


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 9])
def test_gathered_data_do_not_depend_on_the_number_of_shards(tmp_path, shards):
    gathered = gather_shards(write_shards(tmp_path, shards), "sample", "number")
    expected = make_dataset(7).assign(constant=("lag", np.array([1.0, 2.0])))
    xr.testing.assert_equal(gathered, expected)
    assert gathered.states.dtype == np.int8 and gathered.single.dtype == np.float32
    assert gathered.attrs["site_updates"] == 70
    assert gathered.attrs["core_seconds"] == pytest.approx(1.5 * shards)


def test_gathered_data_do_not_depend_on_the_order_of_shards(tmp_path):
    paths = write_shards(tmp_path, 3)
    first = gather_shards(paths, "sample", "number")
    for order in itertools.permutations(paths):
        xr.testing.assert_equal(gather_shards(order, "sample", "number"), first)


def test_shard_of_another_configuration_is_refused(tmp_path):
    paths = write_shards(tmp_path, 3)
    other = read_dataset(paths[1])
    write_dataset(other, paths[1], {**ATTRIBUTES, "stage_config": '{"seed": 2}'})
    with pytest.raises(StoreError, match="another configuration") as caught:
        gather_shards(paths, "sample", "number")
    assert str(caught.value).startswith(str(paths[1]))


def test_damaged_shard_is_named(tmp_path):
    paths = write_shards(tmp_path, 3)
    truncated(paths[2])
    with pytest.raises(StoreError, match="cannot be read") as caught:
        gather_shards(paths, "sample", "number")
    assert str(paths[2]) in str(caught.value)
