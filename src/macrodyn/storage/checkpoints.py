"""Checkpoints of a long computation, in two slots, of which one is whole at any moment."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from macrodyn.paths import StrPath
from macrodyn.storage.errors import Interrupted, StoreError, refusal
from macrodyn.storage.files import atomic_path, error_number
from macrodyn.storage.sealed import read_sealed, seal

logger = logging.getLogger(__name__)

_FORMAT = "macrodyn-checkpoint-1"
# Writing checkpoints may take this part of the time.
_SHARE = 0.05

Arrays = dict[str, NDArray]


class Checkpoints:
    """When a computation keeps a checkpoint, where, and how it goes on from it.

    A loop calls `open` before its first step, `after` after each one, and `close` after the last.
    Two files are written in turn, so that an interruption while one is written leaves the other.
    They stay until `remove`, which is for whoever has written the computation's result.

    Args:
        folder: Where they stand, and nothing else does; made when first needed.
        every: Least number of seconds between two checkpoints.
        stop: Says whether the computation shall stop; it is asked after every step.

    Attributes:
        active: Whether a loop is between `open` and `close`, and so will stop when asked to.
        spent: Seconds that the computation took before this process continued it.
    """

    def __init__(
        self, folder: StrPath, *, every: float = 300.0, stop: Callable[[], bool] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.paths = [self.folder / f"{slot}.checkpoint" for slot in (0, 1)]
        self.every = every
        self.active = False
        self.spent = 0.0
        self._stop = stop or (lambda: False)
        self._fingerprint = ""
        self._turn = 0
        self._began = self._saved = time.monotonic()
        self._pause = every

    def open(self, fingerprint: str) -> tuple[Arrays, dict[str, Any], int] | None:
        """Begin a computation, and find out where it was interrupted.

        Damaged checkpoints and those of another computation are passed over with a warning that
        names the file: what is lost is time, not the result.

        Args:
            fingerprint: Digest of what the computation depends on.

        Returns:
            Arrays, state and step as they were given to `after`; None where there is no checkpoint
            of this computation.
        """
        self._fingerprint, self.active = fingerprint, True
        self._began = self._saved = time.monotonic()
        latest = None
        for slot, path in enumerate(self.paths):
            if not path.exists():
                continue
            try:
                arrays, header = read_checkpoint(path)
            except StoreError as error:
                logger.warning("Checkpoint not used: %s %s", path, error.problem)
                continue
            if header["fingerprint"] != fingerprint:
                logger.warning("Checkpoint not used: %s is of other data or settings", path)
                continue
            if latest is None or header["step"] > latest[2]:
                latest = arrays, header["state"], header["step"]
                self.spent = header["seconds"]
                self._turn = 1 - slot
        if latest is not None:
            logger.info("continuing from step %d (%s)", latest[2], self.folder)
        return latest

    def after(
        self, step: int, total: int, collect: Callable[[], tuple[dict[str, Any], dict[str, Any]]]
    ) -> None:
        """Keep a checkpoint if it is time to, or if the computation shall stop.

        Where none can be written, on a full disk say, the computation goes on with a warning: it
        may well end before one is needed.

        Args:
            step: Steps done.
            total: Steps in all.
            collect: Gives all that the next step depends on: arrays (of NumPy or torch), and
                everything else as plain JSON values.

        Raises:
            Interrupted: If the computation shall stop, once its checkpoint is written.
        """
        stop = self._stop()
        if not stop and time.monotonic() - self._saved < self._pause:
            return
        where = f"step {step} of {total}"
        try:
            self.save(*collect(), step=step)
        except OSError as error:
            logger.warning("No checkpoint at %s: %s", where, error)
            self._saved = time.monotonic()
            if stop:
                raise Interrupted(f"no checkpoint at {where}: {error}") from error
        if stop:
            raise Interrupted(f"checkpoint written at {where}")

    def save(self, arrays: dict[str, Any], state: dict[str, Any], *, step: int) -> None:
        """Write the next checkpoint over the older of the two.

        Args:
            arrays: Named arrays, of NumPy or torch.
            state: Everything else, as plain JSON values.
            step: Steps done.
        """
        begin = time.monotonic()
        header = {
            "format": _FORMAT,
            "fingerprint": self._fingerprint,
            "step": step,
            "seconds": self.spent + begin - self._began,
            "state": state,
        }
        write_checkpoint(self.paths[self._turn], arrays, header)
        self._turn = 1 - self._turn
        self._saved = time.monotonic()
        self._pause = max(self.every, (self._saved - begin) / _SHARE)

    def close(self) -> None:
        """End the loop: it is not asked to stop any more; its checkpoints stay."""
        self.active = False

    def remove(self) -> None:
        """Delete the folder, with what a killed process left in it, and its parent if empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.folder.parent.rmdir()
        except OSError:  # others have checkpoints there, or it is gone
            pass


def write_checkpoint(path: StrPath, arrays: dict[str, Any], header: dict[str, Any]) -> None:
    """Write arrays and a header atomically, and seal them.

    Args:
        path: The file.
        arrays: Named arrays, of NumPy or torch.
        header: Plain JSON values.

    Raises:
        OSError: If the file cannot be written, or its folder vanishes meanwhile.
    """
    plain = {name: np.ascontiguousarray(_numpy(array)) for name, array in arrays.items()}
    text = json.dumps(header)
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(plain, temporary, {"checkpoint": text})
            # The library puts a file of its own there, which nobody else may read.
            temporary.chmod(mode)
        except SafetensorError as error:
            number = error_number(error)
            if number is None:
                raise
            # As other writers say it, so that the computation can go on without.
            raise OSError(number, os.strerror(number), str(path)) from error
        seal(temporary)


def read_checkpoint(path: StrPath) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_checkpoint` wrote, once its seal has been verified.

    Raises:
        StoreError: If the file is damaged or is no checkpoint; the message names it.
    """
    payload = read_sealed(path)
    try:
        length = int.from_bytes(payload[:8], "little")
        header = json.loads(json.loads(payload[8 : 8 + length])["__metadata__"]["checkpoint"])
        if header["format"] != _FORMAT:
            raise refusal(path, f"has the format {header['format']}, not {_FORMAT}")
        return load(payload), header
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise refusal(path, f"is no checkpoint ({error})") from None


def fingerprint(settings: dict[str, Any], *arrays: Any) -> str:
    """SHA-256 digest of settings and data.

    Args:
        settings: Plain JSON values.
        arrays: Data, of any shape and type, of NumPy or torch.

    Returns:
        The digest, hexadecimal.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        values = np.ascontiguousarray(_numpy(array))
        digest.update(f"{values.shape} {values.dtype.str}".encode())
        digest.update(values.data)
    return digest.hexdigest()


def _numpy(array: Any) -> NDArray:
    """Return the array of NumPy behind a tensor, without importing torch where there is none."""
    return array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)
