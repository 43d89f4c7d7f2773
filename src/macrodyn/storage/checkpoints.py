"""Checkpoints of a long computation, in two slots, of which one is whole at any moment."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from macrodyn.storage.models import ModelFileError, load_model, save_model

logger = logging.getLogger(__name__)


class Checkpoints:
    """Two checkpoints written in turn: an interruption while one is written leaves the other.

    Args:
        folder: Where they stand; made when first needed.
        fingerprint: What the computation depends on; checkpoints of another one are not used.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = Path(folder)
        self.fingerprint = fingerprint
        self.paths = [self.folder / f"checkpoint-{slot}.safetensors" for slot in (0, 1)]
        self._turn = 0

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any], *, step: int) -> None:
        """Write the next checkpoint over the older of the two.

        Args:
            tensors: Weights, optimiser and generator state.
            state: Everything else, as plain JSON values.
            step: Steps done.
        """
        metadata = {"fingerprint": self.fingerprint, "step": step, "state": state}
        save_model(self.paths[self._turn], tensors, metadata)
        self._turn = 1 - self._turn

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any], int] | None:
        """Read the latest whole checkpoint of this computation.

        Damaged checkpoints and those of another computation are passed over with a warning: what
        is lost is time, not the result.

        Returns:
            Tensors, state and step as they were saved; None where there is no such checkpoint.
        """
        latest = None
        for slot, path in enumerate(self.paths):
            if not (path.exists() or path.with_suffix(".json").exists()):
                continue
            try:
                tensors, metadata = load_model(path)
            except ModelFileError as error:
                logger.warning("Checkpoint not used: %s", error)
                continue
            if metadata.get("fingerprint") != self.fingerprint:
                logger.warning("Checkpoint not used: %s is of other data or settings", path)
                continue
            if latest is None or metadata["step"] > latest[2]:
                latest = tensors, metadata["state"], metadata["step"]
                self._turn = 1 - slot
        if latest is not None:
            logger.info("Continuing from step %d of %s", latest[2], self.folder)
        return latest

    def remove(self) -> None:
        """Delete both checkpoints, and their folder where nothing else is in it."""
        for path in self.paths:
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def fingerprint(settings: dict[str, Any], *arrays: Tensor | np.ndarray) -> str:
    """SHA-256 digest of settings and data.

    Args:
        settings: Plain JSON values.
        arrays: Data, of any shape and type.

    Returns:
        The digest, hexadecimal.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.shape} {values.dtype.str}".encode())
        digest.update(values.data)
    return digest.hexdigest()
