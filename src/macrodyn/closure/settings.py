"""How a closure is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from macrodyn.config.section import NotNegativeInt, PositiveInt, Section
from macrodyn.learning.settings import TrainingSettings


class EncoderSettings(Section):
    """What the autoencoder looks like."""

    dimension: NotNegativeInt = Field(
        default=2, description="Closure variables; 0: the observables alone."
    )
    encoder: Literal["strided", "pooled", "dense"] = Field(
        default="pooled",
        description="pooled: mean of local terms, which knows no origin of the tiling. strided: "
        "convolutions, then all of the patch. dense: layers that read all of the patch.",
    )
    channels: tuple[PositiveInt, ...] = Field(
        default=(8, 16),
        min_length=1,
        description="Of the convolutions, each three sites wide: two read five sites. Of a dense "
        "encoder, widths of its layers.",
    )
    hidden: PositiveInt = Field(default=64, description="Width of the dense layers.")


class ClosureSettings(TrainingSettings, EncoderSettings):
    """The patch autoencoder that finds the closure variables."""

    steps: PositiveInt = Field(default=1500, description="Most steps of the optimiser.")
    batch: PositiveInt = Field(default=256, description="Patches per step.")
    patience: PositiveInt = Field(
        default=6, description="Validations without improvement before training stops."
    )
    validation_every: PositiveInt = 100
