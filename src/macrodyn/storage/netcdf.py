"""NetCDF-4 files through xarray: compressed, described, sealed, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from macrodyn.paths import StrPath
from macrodyn.storage.errors import StoreError, refusal
from macrodyn.storage.files import atomic_path, probe
from macrodyn.storage.provenance import check_origin, place
from macrodyn.storage.sealed import seal, verify

__all__ = [
    "StoreError",
    "gather_shards",
    "pad_examples",
    "read_attributes",
    "read_dataset",
    "write_dataset",
]

_CHUNK_BYTES = 4 * 2**20
# Files that stand beside data sets and could be taken for them.
_OTHERS = {
    ".safetensors": "a model: macrodyn.closure.load_autoencoder opens it, or "
    "macrodyn.dynamics.Ensemble.load",
    ".json": "JSON: any editor, or json.load, reads it",
}


def write_dataset(dataset: xr.Dataset, path: StrPath, attributes: Mapping[str, Any]) -> None:
    """Write a data set atomically: temporary file beside it, seal, fsync, rename.

    The place of the file (`place`) joins the attributes, so that a file which is moved to another
    stage or shard is found out.

    Args:
        dataset: The data; variables should carry ``units`` and ``long_name``.
        path: Target file; its folder is made if need be.
        attributes: Global attributes to add, such as `provenance`.

    Raises:
        WriteError: If the file cannot be written; what was at `path` is left as it was.
    """
    dataset = dataset.assign_attrs(**{**place(path), **attributes})
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "iuf" and variable.ndim and variable.size:
            encoding[name] = {
                "zlib": True,
                "complevel": 1,
                "shuffle": variable.dtype.itemsize > 1,
                "chunksizes": _chunks(variable),
            }
            if variable.dtype.kind == "f":
                encoding[name]["_FillValue"] = None
    with atomic_path(path) as temporary:
        try:
            # Dimensions in the order of the variables. Left out, those without an extent, which
            # the file that was read called unlimited, come first, in the order of a set.
            dataset.to_netcdf(
                temporary,
                engine="netcdf4",
                format="NETCDF4",
                encoding=encoding,
                unlimited_dims=[],
            )
        except (OSError, RuntimeError) as error:
            # HDF5 says no more than that there was an error, or calls a full disk a permission.
            raise probe(temporary) or error from error
        seal(temporary)


def read_dataset(path: StrPath, variables: Sequence[str] | None = None) -> xr.Dataset:
    """Read a data set into memory, once its seal and its origin are verified.

    Args:
        path: The file.
        variables: Names of the variables to read; all if left out.

    Raises:
        StoreError: If the file is missing, damaged, lacks a variable, or was made for another
            place.
    """
    if Path(path).suffix in _OTHERS and Path(path).exists():
        raise StoreError(f"{path} is no data set, but {_OTHERS[Path(path).suffix]}")
    verify(path)
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as dataset:
            check_origin(dataset.attrs, path)
            chosen = dataset if variables is None else dataset[list(variables)]
            return chosen.load()
    except (OSError, KeyError, ValueError) as error:
        raise refusal(path, f"cannot be read ({error})") from error


def read_attributes(path: StrPath) -> dict[str, Any]:
    """Read the global attributes of a data set, verified like `read_dataset`."""
    return dict(read_dataset(path, []).attrs)


def pad_examples(shard: xr.Dataset, total: int) -> xr.Dataset:
    """Give a shard as many examples as there are in all shards.

    Sizes along ``example`` are then the same in all of them, as `xarray.open_mfdataset` needs.

    Args:
        shard: The shard; what it lacks is filled with zeros, and ``example_number`` with -1.
        total: Number of examples in all shards.
    """
    if "example_number" not in shard:
        return shard
    padded = {
        name: variable.pad(
            {"example": (0, total - variable.sizes["example"])},
            constant_values=-1 if name == "example_number" else 0,
        )
        for name, variable in shard.variables.items()
        if "example" in variable.dims
    }
    return shard.drop_dims("example").assign(padded)


def gather_shards(
    paths: Sequence[StrPath], dimension: str, order: str, config: dict[str, Any] | None = None
) -> xr.Dataset:
    """Concatenate shards along a dimension, sorted by one of its variables.

    Variables along ``example`` are concatenated as well and sorted by ``example_number``, if the
    shards have that variable, and else taken from the first. All others must agree in all shards.
    The costs of the shards (attributes ``site_updates``, ``core_seconds``) are added up.

    Args:
        paths: All shards of a stage.
        dimension: What the shards are cut along.
        order: The variable along it that numbers what is sampled, from 0 without gaps.
        config: The stage's configuration; that of the first shard if left out.

    Raises:
        StoreError: If a shard is unreadable or from another configuration, one is missing or given
            twice, or they do not fit together.
    """
    files = [Path(path) for path in paths]
    shards = [read_dataset(path) for path in files]
    wanted = shards[0].attrs.get("stage_config") if config is None else json.dumps(config)
    for path, shard in zip(files, shards, strict=True):
        if not _same_json(shard.attrs.get("stage_config"), wanted):
            raise refusal(path, "was made from another configuration than this study's")
    _check_complete(files, shards)
    joined = _join(
        files, [shard.drop_dims("example", errors="ignore") for shard in shards], dimension
    )
    gathered = joined.isel({dimension: np.argsort(joined[order].values, kind="stable")})
    _check_numbers(files, shards, gathered[order].values, order)
    gathered = gathered.assign(_examples(files, shards))
    for name in ("shard", "shards"):
        gathered.attrs.pop(name, None)
    for cost in ("site_updates", "core_seconds"):
        total = math.fsum(shard.attrs.get(cost, 0.0) for shard in shards)
        # The last digits depend on how the work was cut.
        gathered.attrs[cost] = float(f"{total:.12g}")
    return gathered


def _same_json(text: Any, other: Any) -> bool:
    try:
        return bool(json.loads(text) == json.loads(other))
    except (TypeError, ValueError):
        return bool(text == other)


def _check_complete(paths: Sequence[Path], shards: Sequence[xr.Dataset]) -> None:
    """Check that the files are all shards of one cut; their names agree with what they hold."""
    found = {(str(shard.attrs.get("shard")), str(shard.attrs.get("shards"))) for shard in shards}
    if found == {("None", "None")}:
        return
    if found != {(str(i), str(len(paths))) for i in range(len(paths))}:
        names = ", ".join(path.name for path in paths)
        raise StoreError(f"{paths[0].parent}: these are not all shards of one cut: {names}")


def _check_numbers(
    paths: Sequence[Path], shards: Sequence[xr.Dataset], numbers: NDArray, order: str
) -> None:
    """Check that what is sampled is there once each, and name the shard where it is not."""
    if np.array_equal(numbers, np.arange(len(numbers))):
        return
    seen = np.array([], dtype=numbers.dtype)
    for path, shard in zip(paths, shards, strict=True):
        own = shard[order].values
        values, times = np.unique(own, return_counts=True)
        if len(twice := [*values[times > 1], *np.intersect1d(own, seen)]):
            raise refusal(path, f"holds the {order} {twice[0]}, which is there already")
        seen = np.union1d(seen, own)
    (lost, *_) = np.setdiff1d(np.arange(len(numbers)), seen)
    raise refusal(paths[0], f"and those beside it lack the {order} {lost}", *paths[1:])


def _join(paths: Sequence[Path], shards: Sequence[xr.Dataset], dimension: str) -> xr.Dataset:
    """Concatenate along a dimension what has it; check that all else agrees."""
    for path, shard in zip(paths, shards, strict=True):
        if set(shard.variables) != set(shards[0].variables):
            raise refusal(path, f"has other variables than {paths[0].name}")
        for name, variable in shard.variables.items():
            first = shards[0].variables[name]
            if variable.dims != first.dims or (
                dimension not in variable.dims and not variable.equals(first)
            ):
                raise refusal(path, f"differs from {paths[0].name} in the variable {name}")
    return xr.concat(
        shards,
        dim=dimension,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
    )


def _examples(paths: Sequence[Path], shards: Sequence[xr.Dataset]) -> dict[Hashable, xr.Variable]:
    """What shards keep along ``example``, in an order that does not depend on their number."""
    kept = [
        shard[[n for n, v in shard.variables.items() if "example" in v.dims]] for shard in shards
    ]
    if not all("example_number" in part for part in kept):
        return dict(kept[0].variables)
    kept = [part.isel(example=np.flatnonzero(part["example_number"] >= 0)) for part in kept]
    joined = _join(paths, kept, "example")
    ordered = joined.isel(example=np.argsort(joined["example_number"].values, kind="stable"))
    return dict(ordered.variables)


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    """Whole rows along the first axis, a few MiB each."""
    row = variable.dtype.itemsize * int(np.prod(variable.shape[1:], dtype=np.int64))
    first = max(1, min(variable.shape[0], _CHUNK_BYTES // max(row, 1)))
    return (first, *variable.shape[1:])
