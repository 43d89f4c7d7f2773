"""Atomic files: a reader sees the whole old file or the whole new one, never a part."""

from __future__ import annotations

import errno
import glob
import json
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from macrodyn.paths import StrPath
from macrodyn.storage.errors import AGAIN, WriteError

# As much as a probe writes: more than what a file system keeps back for the file's last block.
_PROBE_BYTES = 2**20

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up: make room in {folder}, or ask for more",
    errno.EFBIG: "the limit of a file's size is reached: raise it (ulimit -f)",
    errno.EROFS: "the file system of {folder} is read-only: make it writable",
    errno.EACCES: "there is no permission to write: chmod u+w {folder}",
    errno.EPERM: "there is no permission to write: chmod u+w {folder}",
    errno.EIO: "the disk of {folder} reports an error: have it checked",
    errno.ENOTDIR: "a part of its path is a file: move that file away",
    errno.EEXIST: "a part of its path is a file: move that file away",
    errno.EISDIR: "a folder has its name: move that folder away",
}


@contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in place of `path` on success.

    The temporary file stands in the same folder, as a rename is atomic only within one file
    system. It is flushed to the disk before it is renamed. When the block raises, the temporary
    file is removed and `path` is left as it was. A symbolic link at `path` is replaced, not
    followed.

    Args:
        path: The file to make. Its folder is made where it is missing.

    Yields:
        The temporary path, with the suffix of `path`; the block must create it and close it.

    Raises:
        FileNotFoundError: If the block did not create the temporary file.
        WriteError: If the disk is full, the folder may not be written to, or the like.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _synchronise(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        number = error_number(error)
        failure = _write_error(path, number) if number in _REASONS else None
        _remove(temporary)
        if failure is None:
            raise
        raise failure from error
    _synchronise(path.parent)


def write_json(path: StrPath, content: Any) -> None:
    """Write strict, readable JSON atomically.

    Args:
        path: The file.
        content: Plain values; nan and infinities are refused.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def remove_temporaries(path: StrPath, before: float) -> None:
    """Remove temporary files of `path` that processes left which were killed while they wrote.

    Args:
        path: The file that they were to become.
        before: Only those last written to before this time, in seconds of the epoch: a later one
            may belong to a process that lives.
    """
    path = Path(path)
    for temporary in path.parent.glob(f".{glob.escape(path.stem)}.*-*{path.suffix}"):
        try:
            if temporary.stat().st_mtime < before:
                temporary.unlink()
        except OSError:  # gone already, or not ours to remove
            pass


# As safetensors has written it from 0.6 on, and before.
_NUMBER = re.compile(r"\(os error (\d+)\)|\bOs \{ code: (\d+)")


def error_number(error: BaseException) -> int | None:
    """Return the system's number of an error; of safetensors' errors it stands in the text."""
    if isinstance(error, WriteError):
        return None
    if isinstance(error, OSError):
        return error.errno
    found = _NUMBER.search(str(error)) if isinstance(error, Exception) else None
    return int(found[1] or found[2]) if found else None


def probe(path: StrPath) -> OSError | None:
    """Find out why a file cannot be written, where a library has not said it, by writing to it.

    Args:
        path: A temporary file; what is in it is lost for use.

    Returns:
        The system's error; None if it takes what is written.
    """
    try:
        with Path(path).open("ab", buffering=0) as file:
            left = _PROBE_BYTES
            while left:  # a nearly full disk first takes a part
                left -= file.write(bytes(left))
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def _write_error(path: Path, number: int) -> WriteError:
    # Not `Path.exists`, which raises where a folder on the way may not be looked into.
    folder = next(p for p in path.absolute().parents if os.path.exists(p))
    found = WriteError(f"{path} cannot be written: {_reason(number, folder)}, {AGAIN}")
    found.errno = number
    return found


def _reason(number: int, folder: Path) -> str:
    """Why a file cannot be written to a folder, and what to do."""
    if number == errno.ENOSPC:
        usage = shutil.disk_usage(folder)
        free, total = usage.free / 2**20, usage.total / 2**20
        return f"the disk is full ({free:.1f} of {total:.0f} MiB left): make room in {folder}"
    return _REASONS[number].format(folder=shlex.quote(str(folder)))


def _remove(temporary: Path) -> None:
    """Remove a temporary file, where there is one and the system lets it."""
    try:
        # Libraries may still hold it open: emptied, it takes no space from the log of its failure.
        if temporary.exists():
            os.truncate(temporary, 0)
        temporary.unlink(missing_ok=True)
    except OSError:
        # The reason why it could not be written is what has to be told.
        pass


def _synchronise(path: Path) -> None:
    """Flush a file or a folder to the disk; a folder only where the system can open one."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
