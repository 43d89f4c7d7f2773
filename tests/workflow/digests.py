"""Digests of what a study has computed: arrays of data sets and models, and figures of merit."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from macrodyn.pipeline.planner import StudyPlan
from macrodyn.storage.machine import processor
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json

RECORDED = Path(__file__).parent / "digests.json"
MERITS = ("horizons", "markov", "residual_by_age", "exact", "covariance_factor", "samples")
# Relative difference of what another processor computes: it rounds otherwise.
ELSEWHERE = 2e-3

# Of an array: digest of its bytes, and root mean square where it holds numbers.
Digest = tuple[str, float | None]


def machine() -> dict[str, str]:
    """What decides the last bits of what torch computes."""
    return {
        "processor": processor(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.split("+")[0],
        "numpy": np.__version__,
    }


def study_digests(folder: Path, plans: StudyPlan) -> dict[str, dict[str, Any]]:
    """Digest what stands in a study's folder: for each run its stages by role, and its merits."""
    return {
        name: {
            "stages": {
                role: {"folder": stage.folder, "arrays": _stage(folder / stage.folder)}
                for role, stage in plan.roles.items()
            },
            "merits": _merits(read_sealed_json(folder / name / "metrics.json")),
        }
        for name, plan in plans.items()
    }


def _stage(folder: Path) -> dict[str, Digest]:
    if (folder / "data.nc").exists():
        data = read_dataset(folder / "data.nc")
        arrays = {str(name): found.values for name, found in data.variables.items()}
    else:
        arrays = load_file(folder / "model.safetensors")
    return {name: _digest(values) for name, values in sorted(arrays.items())}


def _digest(values: np.ndarray) -> Digest:
    if values.dtype.kind in "OU":
        return _sha(json.dumps(values.tolist()).encode()), None
    size = float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else None
    whole = f"{values.dtype}{values.shape}".encode() + np.ascontiguousarray(values).tobytes()
    return _sha(whole), size


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _merits(metrics: dict[str, Any]) -> dict[str, float]:
    """Figures of merit that are numbers, by their path."""
    found: dict[str, float] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{path}/{key}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[path] = value

    for key in MERITS:
        walk(metrics.get(key), key)
    return found


def differences(found: Any, recorded: Any, exact: bool, path: str = "") -> list[str]:
    """Where digests differ from recorded ones, other than by rounding where that is allowed."""
    if isinstance(recorded, dict):
        missing = [f"{path}/{key}: missing" for key in recorded.keys() - found.keys()]
        more = (
            differences(found[k], recorded[k], exact, f"{path}/{k}") for k in recorded if k in found
        )
        return [*missing, *(line for lines in more for line in lines)]
    if isinstance(recorded, list):
        if found[0] == recorded[0] or (not exact and _near(found[1], recorded[1])):
            return []
    elif found == recorded or (
        not exact and isinstance(recorded, float) and _near(found, recorded)
    ):
        return []
    return [f"{path}: {found}, recorded {recorded}"]


def _near(value: float | None, other: float | None) -> bool:
    if value is None or other is None:
        return value is other
    return math.isclose(value, other, rel_tol=ELSEWHERE, abs_tol=1e-6)
