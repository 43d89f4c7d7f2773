"""What made a file: versions, commit, configuration."""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "numba", "torch", "xarray", "netCDF4", "snakemake")


@lru_cache(maxsize=1)
def software() -> dict[str, str]:
    """Return the versions of macrodyn and of the packages that its numbers depend on."""
    found = {}
    for name in ("macrodyn", *_PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Return the commit of the source tree, with ``+changes`` if it was edited; '' outside git."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
        status = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+changes" if status else "")


def provenance(stage: str, config: dict[str, Any]) -> dict[str, str]:
    """Return the global attributes that every file of a stage carries.

    Args:
        stage: Name of the stage.
        config: What the stage's result depends on, with its seed.
    """
    versions = software()
    return {
        "stage": stage,
        "stage_config": json.dumps(config, sort_keys=True),
        "macrodyn_version": versions["macrodyn"],
        "git_commit": git_commit(),
        "software": json.dumps(versions),
    }
