"""Atomic files: a reader sees the whole old file or the whole new one, never a part."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in place of `path` on success.

    The temporary file stands in the same folder, as a rename is atomic only within one file
    system. It is flushed to the disk before it is renamed. When the block raises, the temporary
    file is removed and `path` is left as it was.

    Args:
        path: The file to make. Its folder is made where it is missing.

    Yields:
        The temporary path, with the suffix of `path`; the block must create it and close it.

    Raises:
        FileNotFoundError: If the block did not create the temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        _synchronise(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _synchronise(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write strict, readable JSON atomically.

    Args:
        path: The file.
        content: Plain values; nan and infinities are refused.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _synchronise(path: Path) -> None:
    """Flush a file or a folder to the disk; a folder only where the system can open one."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
