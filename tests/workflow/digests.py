"""Digests of what a study has computed: arrays of data sets and models, and figures of merit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from macrodyn.storage.netcdf import read_dataset


def stage_digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Digest the arrays of a stage's folder, by name."""
    arrays: dict[str, np.ndarray] = {}
    if (folder / "data.nc").exists():
        data = read_dataset(folder / "data.nc")
        arrays = {str(name): values.values for name, values in data.variables.items()}
    elif (folder / "model.safetensors").exists():
        arrays = dict(load_file(folder / "model.safetensors"))
    return {name: digest(values) for name, values in sorted(arrays.items())}


def digest(values: np.ndarray) -> dict[str, Any]:
    """Digest an array; with its mean and size, by which machines that round otherwise compare."""
    if values.dtype.kind in "OU":
        text = json.dumps(values.tolist())
        return {"sha256": hashlib.sha256(text.encode()).hexdigest()[:16]}
    content = np.ascontiguousarray(values)
    found = {
        "sha256": hashlib.sha256(content.tobytes() + str(content.dtype).encode()).hexdigest()[:16],
        "shape": list(values.shape),
    }
    if values.size:
        found["mean"] = float(np.mean(values, dtype=np.float64))
        found["rms"] = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
    return found


def merits(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of merit of a run's metrics, by their path; costs in seconds left out."""
    found: dict[str, Any] = {}

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, (*path, str(key)))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                walk(item, (*path, str(number)))
        elif path[-1] != "core_seconds":
            found["/".join(path)] = value

    kept = ("horizons", "markov", "residual_by_age", "exact", "covariance_factor", "samples")
    for key in (*kept, "closure", "costs"):
        walk(metrics.get(key), (key,))
    return found
