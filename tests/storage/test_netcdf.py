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
from macrodyn.storage.errors import StoreError
from macrodyn.storage.netcdf import (
    gather_shards,
    read_attributes,
    read_dataset,
    write_dataset,
)

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


def test_attributes_can_be_read_alone(written):
    assert read_attributes(written) == {"dt": 0.25, **ATTRIBUTES}


def test_other_programs_read_a_sealed_file_as_it_is(written):
    expected = read_dataset(written)
    with xr.open_dataset(written, engine="netcdf4", decode_times=False) as data:
        xr.testing.assert_identical(data.load(), expected)
    with netCDF4.Dataset(written) as file:
        assert file["states"][:].shape == (5, 6, 4)


def test_a_file_that_another_program_changed_is_refused(written):
    with netCDF4.Dataset(written, "a") as file:
        file["number"][0] = 7
    with pytest.raises(StoreError, match="cannot be read"):
        read_dataset(written)


def test_the_data_set_given_is_left_alone(tmp_path):
    data = make_dataset()
    write_dataset(data, tmp_path / "a.nc", ATTRIBUTES)
    assert data.attrs == {"dt": 0.25}


def test_failed_write_leaves_the_old_file_and_nothing_else(written, monkeypatch):
    before = written.read_bytes()

    def fail(self, path, **options):
        Path(path).write_bytes(b"half a file")
        raise RuntimeError("an error in HDF5")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(RuntimeError, match="an error in HDF5"):
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
    path.write_text("not a data file\n" * 50, encoding="utf-8")


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
    assert str(caught.value).endswith(f"rm {written}, then run the same command again")


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


STAGE = "stages/test/0123456789ab"


def rewrite(path: Path, change=lambda data: data, **attributes) -> None:
    """Write a shard again, with something changed in it."""
    data = change(read_dataset(path))
    write_dataset(data, path, {**ATTRIBUTES, **attributes})


def refused(paths: list[Path], config: dict | None = None) -> str:
    with pytest.raises(StoreError) as caught:
        gather_shards(paths, "sample", "number", config)
    return str(caught.value)


def test_shards_say_which_they_are_and_the_whole_does_not(tmp_path):
    paths = write_shards(tmp_path / STAGE, 3)
    for shard, path in enumerate(paths):
        found = read_attributes(path)
        assert (found["shard"], found["shards"]) == (shard, 3)
        assert found["stage_key"] == "0123456789ab"
    gathered = gather_shards(paths, "sample", "number")
    assert not {"shard", "shards"} & gathered.attrs.keys()


def test_shard_of_another_configuration_than_the_first_is_refused(tmp_path):
    paths = write_shards(tmp_path, 3)
    rewrite(paths[1], stage_config='{"seed": 2}')
    message = refused(paths)
    assert message.startswith(f"{paths[1]} was made from another configuration")
    assert f"rm {paths[1]}, then" in message


def test_shards_that_agree_on_another_configuration_are_refused(tmp_path):
    paths = write_shards(tmp_path, 3)
    gather_shards(paths, "sample", "number", {"seed": 1})
    assert refused(paths, {"seed": 2}).startswith(f"{paths[0]} was made from another")


def test_configurations_are_compared_by_value(tmp_path):
    config = {"sizes": [8, 8], "seed": 1, "dt": 0.1}
    (path,) = write_shards(tmp_path, 1)
    rewrite(path, stage_config='{"seed": 1, "dt": 0.1, "sizes": [8, 8]}')
    gather_shards([path], "sample", "number", {**config, "sizes": (8, 8)})


def test_damaged_shard_is_named(tmp_path):
    paths = write_shards(tmp_path, 3)
    truncated(paths[2])
    assert refused(paths).startswith(f"{paths[2]} cannot be read")


def test_shard_under_the_name_of_another_is_refused(tmp_path):
    paths = write_shards(tmp_path, 3)
    paths[1].write_bytes(paths[0].read_bytes())
    message = refused(paths)
    assert message.startswith(f"{paths[1]} was made for another place: its shard is 0, not 1")


def test_shard_of_another_cut_is_refused(tmp_path):
    two, three = (write_shards(tmp_path / name, n) for name, n in (("two", 2), ("three", 3)))
    three[0].write_bytes(two[0].read_bytes())
    message = refused(three)
    assert message.startswith(f"{three[0]} was made for another place: its shards is 2, not 3")


@pytest.mark.parametrize("chosen", [[0, 1], [0, 2, 2], [0, 1, 2, 1]], ids=str)
def test_missing_and_repeated_shards_are_noticed(tmp_path, chosen):
    paths = write_shards(tmp_path, 3)
    assert "not all shards of one cut" in refused([paths[i] for i in chosen])


def test_sample_that_two_shards_hold_is_noticed(tmp_path):
    paths = write_shards(tmp_path, 2)
    rewrite(paths[1], lambda data: data.assign(number=("sample", np.array([1, 4, 5]))))
    assert f"{paths[1]} holds the number 4, which is there already" in refused(paths)


def test_sample_that_a_shard_holds_twice_is_noticed(tmp_path):
    paths = write_shards(tmp_path, 2)
    rewrite(paths[1], lambda data: data.assign(number=("sample", np.array([1, 3, 3]))))
    assert f"{paths[1]} holds the number 3, which is there already" in refused(paths)


def test_sample_that_no_shard_holds_is_noticed(tmp_path):
    paths = write_shards(tmp_path, 2)
    rewrite(paths[0], lambda data: data.isel(sample=[0, 1, 3]))
    message = refused(paths)
    assert "lack the number 4" in message and f"rm {paths[0]} {paths[1]}, then" in message


def test_shards_that_disagree_in_what_they_share_are_refused(tmp_path):
    paths = write_shards(tmp_path, 3)
    rewrite(paths[2], lambda data: data.assign(constant=("lag", np.array([1.0, 3.0]))))
    assert f"{paths[2]} differs from shard-0-of-3.nc in the variable constant" in refused(paths)


def test_shard_that_lacks_a_variable_is_refused(tmp_path):
    paths = write_shards(tmp_path, 3)
    rewrite(paths[1], lambda data: data.drop_vars("single"))
    assert f"{paths[1]} has other variables than shard-0-of-3.nc" in refused(paths)


def write_examples(folder: Path, shards: int, numbered: bool) -> list[Path]:
    """Shards of which some keep a few snapshots for figures, and some none."""
    paths = write_shards(folder, shards)
    numbers = np.array([0, 3, 6])
    for shard, path in enumerate(paths):
        own = numbers[numbers % shards == shard][::-1]
        kept = {"level_0_raw": (("example", "level_0_x"), own[:, None] * np.ones((1, 4)))}
        if numbered:
            kept["example_number"] = ("example", own)
        rewrite(path, lambda data, kept=kept: data.assign(kept))
    return paths


@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_examples_do_not_depend_on_the_number_of_shards(tmp_path, shards):
    paths = write_examples(tmp_path, shards, numbered=True)
    for order in (paths, paths[::-1]):
        gathered = gather_shards(order, "sample", "number")
        assert gathered.example_number.values.tolist() == [0, 3, 6]
        assert gathered.level_0_raw.values[:, 0].tolist() == [0, 3, 6]
        assert gathered.number.values.tolist() == list(range(7))


def test_examples_without_numbers_are_those_of_the_first_shard(tmp_path):
    gathered = gather_shards(write_examples(tmp_path, 2, numbered=False), "sample", "number")
    assert gathered.level_0_raw.values[:, 0].tolist() == [6, 0]


def test_file_of_another_stage_is_refused(tmp_path):
    path = tmp_path / "stages" / "simulate" / "0123456789ab" / "data.nc"
    write_dataset(make_dataset(), path, ATTRIBUTES)
    with pytest.raises(StoreError, match="its stage is test, not simulate"):
        read_dataset(path)
    with pytest.raises(StoreError, match="its stage is test, not simulate"):
        read_attributes(path)


def test_file_of_another_configurations_folder_is_refused(tmp_path):
    one, other = (tmp_path / "stages" / "test" / key / "data.nc" for key in ("a" * 12, "b" * 12))
    for path in (one, other):
        write_dataset(make_dataset(), path, ATTRIBUTES)
        read_dataset(path)
    other.write_bytes(one.read_bytes())
    with pytest.raises(StoreError, match=f"its stage_key is {'a' * 12}, not {'b' * 12}"):
        read_dataset(other)


def test_link_is_read_like_the_file_and_replaced_when_written(written, tmp_path):
    outside = tmp_path / "outside.nc"
    written.rename(outside)
    written.symlink_to(outside)
    before = outside.read_bytes()
    assert read_dataset(written).sizes["sample"] == 5
    write_dataset(make_dataset(3), written, ATTRIBUTES)
    assert outside.read_bytes() == before
    assert not written.is_symlink() and read_dataset(written).sizes["sample"] == 3
