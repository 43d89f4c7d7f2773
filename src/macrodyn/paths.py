"""The type of what names a file: text, or a path; and where the workflow stands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]

_PACKAGE = Path(__file__).parent


def workflow() -> Path:
    """Find the workflow.

    Returns:
        Its Snakefile: that of the current folder, if it is a checkout; else the one beside the
        package's source; else the copy in the installed package.

    Raises:
        FileNotFoundError: If there is none.
    """
    for folder in (Path(), _PACKAGE.parents[1], _PACKAGE / "_workflow"):
        if is_checkout(folder):
            return folder / "Snakefile"
    raise FileNotFoundError(
        "the workflow is not there: neither is this folder a checkout of macrodyn, nor has the "
        "installed package a copy. Install macrodyn again, or call this in a checkout"
    )


def is_checkout(folder: StrPath) -> bool:
    """Whether the workflow stands in a folder; a Snakefile alone may be another project's.

    Args:
        folder: The folder.
    """
    parts = ("Snakefile", "workflow/rules/stages.smk")
    return all((Path(folder) / part).is_file() for part in parts)
