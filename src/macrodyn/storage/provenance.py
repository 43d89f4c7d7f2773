"""What made a file, and for which place: versions, commit, configuration, stage and shard."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from macrodyn.paths import StrPath
from macrodyn.storage.errors import refusal

_PACKAGES = ("numpy", "numba", "torch", "xarray", "netCDF4", "snakemake")
_KEY = re.compile(r"[0-9a-f]{12}")
_SHARD = re.compile(r"shard-(\d+)-of-(\d+)\.nc")


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
    try:
        # An environment may stand in the repository of a study, whose commit says nothing here.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git("rev-parse", "HEAD")
        status = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+changes" if status else "")


def _git(*arguments: str) -> str:
    """Return what git prints of the folder of this module."""
    return subprocess.run(
        ["git", "-C", str(Path(__file__).parent), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=10,
        check=True,
    ).stdout.strip()


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


def place(path: StrPath) -> dict[str, Any]:
    """Return what a file's path says of its content.

    Args:
        path: The file.

    Returns:
        ``stage`` and ``stage_key`` for a file in a stage's folder, which is
        ``stages/<stage>/<stage_key>``; ``shard`` and ``shards`` for a shard.
    """
    path = Path(path)
    found: dict[str, Any] = {}
    parts = path.absolute().parts
    if len(parts) >= 4 and parts[-4] == "stages" and _KEY.fullmatch(parts[-2]):
        found |= {"stage": parts[-3], "stage_key": parts[-2]}
    if numbers := _SHARD.fullmatch(path.name):
        found |= {"shard": int(numbers[1]), "shards": int(numbers[2])}
    return found


def check_origin(attributes: Mapping[str, Any], path: StrPath) -> None:
    """Check that a file was made for the place where it stands.

    A stage's folder is named by a digest of its configuration, so this finds out files of another
    configuration, of another stage and of another shard. Files outside of such folders, with names
    other than those of shards, may hold anything.

    Args:
        attributes: Global attributes of a data set, or the origin of a model.
        path: Where the file stands.

    Raises:
        StoreError: If it was made for another place, or does not say for which.
    """
    for name, expected in place(path).items():
        if name not in attributes:
            raise refusal(path, f"does not say for which {name} it was made")
        if str(attributes[name]) != str(expected):
            raise refusal(
                path,
                f"was made for another place: its {name} is {attributes[name]}, not {expected}",
            )
