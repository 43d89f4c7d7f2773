"""How a training went."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(kw_only=True)
class History:
    """How a training went; one column a member.

    Attributes:
        steps: Step of each validation, length V.
        training_loss: Mean loss of the batches since the validation before, V rows of M.
        validation_loss: Loss of what is held out, V rows of M.
        best_step: Step of each member's kept parameters; empty where nothing was trained.
        best_loss: Validation loss of each member's kept parameters.
        finished_step: Step at which training ended.
        stopped_early: Whether patience ended it.
        seconds: Wall time, interruptions not counted.
    """

    steps: list[int] = field(default_factory=list)
    training_loss: list[list[float]] = field(default_factory=list)
    validation_loss: list[list[float]] = field(default_factory=list)
    best_step: list[int] = field(default_factory=list)
    best_loss: list[float] = field(default_factory=list)
    finished_step: int = 0
    stopped_early: bool = False
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
