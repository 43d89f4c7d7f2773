"""NetCDF-4 files through xarray: compressed, described, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from macrodyn.storage.files import atomic_path

_CHUNK_BYTES = 4 * 2**20


class StoreError(RuntimeError):
    """A data file is missing, damaged or not what was expected."""


def write_dataset(dataset: xr.Dataset, path: Path, attributes: dict[str, str]) -> None:
    """Write a data set atomically: temporary file beside it, fsync, rename.

    Args:
        dataset: The data; variables should carry ``units`` and ``long_name``.
        path: Target file; its folder is made if need be.
        attributes: Global attributes to add, such as `provenance`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = dataset.assign_attrs(**attributes)
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "iuf" and variable.ndim and variable.size:
            encoding[str(name)] = {
                "zlib": True,
                "complevel": 1,
                "shuffle": variable.dtype.itemsize > 1,
                "chunksizes": _chunks(variable),
            }
            if variable.dtype.kind == "f":
                encoding[str(name)]["_FillValue"] = None
    with atomic_path(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)


def read_dataset(path: Path, variables: Sequence[str] | None = None) -> xr.Dataset:
    """Read a data set into memory.

    Args:
        path: The file.
        variables: Names of the variables to read; all if left out.

    Raises:
        StoreError: If the file is missing or damaged.
    """
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as dataset:
            chosen = dataset if variables is None else dataset[list(variables)]
            return chosen.load()
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        reason = "is missing" if not path.exists() else f"cannot be read ({error})"
        raise StoreError(f"{path} {reason}: delete it if it is there, and run again") from error


def gather_shards(paths: Sequence[Path], dimension: str, order: str) -> xr.Dataset:
    """Concatenate shards along a dimension, sorted by one of its variables.

    Variables without the dimension must agree in all shards and are taken from the first. The
    costs of the shards (attributes ``site_updates``, ``core_seconds``) are added up.

    Raises:
        StoreError: If a shard is unreadable, or shards were made from different configurations.
    """
    shards = [read_dataset(path) for path in paths]
    first = shards[0].attrs.get("stage_config")
    for path, shard in zip(paths, shards, strict=True):
        if shard.attrs.get("stage_config") != first:
            raise StoreError(
                f"{path} was made from another configuration than {paths[0]}: "
                "delete it and run again"
            )
    gathered = xr.concat(
        shards,
        dim=dimension,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
    )
    gathered = gathered.isel({dimension: np.argsort(gathered[order].values, kind="stable")})
    for cost in ("site_updates", "core_seconds"):
        gathered.attrs[cost] = float(sum(shard.attrs.get(cost, 0.0) for shard in shards))
    return gathered


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    """Whole rows along the first axis, a few MiB each."""
    row = variable.dtype.itemsize * int(np.prod(variable.shape[1:], dtype=np.int64))
    first = max(1, min(variable.shape[0], _CHUNK_BYTES // max(row, 1)))
    return (first, *variable.shape[1:])
