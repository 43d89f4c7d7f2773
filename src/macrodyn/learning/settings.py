"""Settings that every training has."""

from __future__ import annotations

from pydantic import Field

from macrodyn.config.section import Fraction, LearningRate, PositiveInt, Section


class TrainingSettings(Section):
    """How long, on what, and how fast."""

    steps: PositiveInt = Field(default=2000, description="Most steps of the optimiser.")
    batch: PositiveInt = Field(default=1024, description="Samples per step.")
    learning_rate: LearningRate = 1e-3
    patience: PositiveInt = Field(
        default=15, description="Validations without improvement before training stops."
    )
    validation_every: PositiveInt = 50
    validation_fraction: Fraction = Field(
        default=0.15, description="Part of the samples that is held out, in whole groups."
    )
