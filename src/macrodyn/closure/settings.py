"""How a closure is trained, and what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from macrodyn.closure.layers import EncoderKind


@dataclass(frozen=True, kw_only=True)
class ClosureSettings:
    """How a closure is trained.

    Attributes:
        dimension: Number of closure variables; 0 for none.
        encoder: Kind of encoder, see `Architecture`.
        channels: Widths of the convolutions.
        hidden: Width of the decoder's first layer.
        steps: Most optimiser steps; the learning rate falls to 0 over them (cosine).
        batch: Patches per step.
        learning_rate: First learning rate of Adam.
        patience: Validations without improvement after which training stops.
        validation_every: Steps between validations, each followed by a checkpoint.
        validation_fraction: Part of the groups that is held out, in (0, 1).
        validation_patches: Most patches that a validation reads.
        train_baseline: Train the decoder on the observables alone where `dimension` is 0.
        seed: Seed of the weights, the split and the batches.
        device: Device of the data and the model.
    """

    dimension: int
    encoder: EncoderKind = "pooled"
    channels: tuple[int, ...] = (8, 16)
    hidden: int = 64
    steps: int = 2000
    batch: int = 256
    learning_rate: float = 2e-3
    patience: int = 10
    validation_every: int = 100
    validation_fraction: float = 0.1
    validation_patches: int = 8192
    train_baseline: bool = False
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse settings that cannot train.

        Raises:
            ValueError: If a setting is out of range; the message names it.
        """
        for name in ("steps", "batch", "patience", "validation_every", "validation_patches"):
            if getattr(self, name) < 1:
                raise ValueError(f"closure {name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"closure validation_fraction must be in (0, 1), got {self.validation_fraction}"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"closure learning_rate must be positive, got {self.learning_rate}")


@dataclass
class History:
    """Course of a training; losses are per site, see `reconstruction_loss`.

    Attributes:
        steps: Steps at which the loss was validated.
        training_loss: Mean loss of the batches since the validation before.
        validation_loss: Loss on the held-out patches.
        best_step: Step whose weights were kept; 0 where nothing was trained.
        best_loss: Its validation loss; none where nothing was trained.
        stopped_early: Whether patience ended the training.
    """

    steps: list[int] = field(default_factory=list)
    training_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best_step: int = 0
    best_loss: float | None = None
    stopped_early: bool = False
