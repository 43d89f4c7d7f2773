"""Checkpoints of a training, in two alternating slots, so that one is always whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from macrodyn.storage.models import ModelFileError, load_model, save_model

logger = logging.getLogger(__name__)


class CheckpointStore:
    """Checkpoints of one training in a folder of their own.

    Args:
        folder: The folder; made when first needed, removed by `delete`.
        fingerprint: Digest of the settings and data; others' checkpoints are ignored.
    """

    def __init__(self, folder: Path, *, fingerprint: str) -> None:
        """Remember where and whose."""
        self.folder, self.fingerprint = Path(folder), fingerprint
        self._slots = [self.folder / f"slot_{i}.safetensors" for i in range(2)]
        self._next = 0

    def save(self, step: int, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        """Write a checkpoint over the older of the two."""
        description = {"fingerprint": self.fingerprint, "step": step, "state": metadata}
        save_model(self._slots[self._next], tensors, description)
        self._next = 1 - self._next

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest whole checkpoint of this training, or None."""
        newest = -1
        found = None
        for index, slot in enumerate(self._slots):
            if not slot.exists():
                continue
            try:
                tensors, description = load_model(slot)
            except ModelFileError as error:
                logger.warning("Ignoring a damaged checkpoint: %s", error)
                continue
            if description.get("fingerprint") != self.fingerprint:
                logger.warning("Ignoring %s: it is of other data or settings", slot)
                continue
            if description["step"] > newest:
                newest, found = description["step"], (tensors, description["state"])
                self._next = 1 - index
        if found is not None:
            logger.info("Continuing from step %d of %s", newest, self.folder)
        return found

    def delete(self) -> None:
        """Remove the checkpoints, and the folder if it holds nothing else."""
        for slot in self._slots:
            slot.unlink(missing_ok=True)
            slot.with_suffix(".json").unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
