"""How a closure is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from macrodyn.closure.features import FeatureName
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
    """The closure variables: known features, and those that a patch autoencoder finds."""

    features: tuple[FeatureName, ...] = Field(
        default=(),
        description="Closure variables that are known beforehand: generator (expected rate of "
        "change of each observable), correlation-r (of sites at a distance r), moment-p (mean over "
        "patches of the p-th power of each observable of a patch; p = 2, 3, 4). "
        "generator:<observable> and moment-p:<observable>: of one observable.",
    )
    candidates: tuple[FeatureName, ...] = Field(
        default=(),
        description="Features that are measured and judged, but are no closure variables: the "
        "report says which of them were worth having.",
    )
    objective: Literal["reconstruction", "prediction"] = Field(
        default="reconstruction",
        description="What the autoencoder's variables are chosen by. reconstruction: how well a "
        "patch is rebuilt from them. prediction: how well the observables' rates of change, over "
        "each of evolve.lags, are told from the observables and them.",
    )
    decoder: Literal["patch", "whole"] = Field(
        default="patch",
        description="patch: rebuilds a patch from its own observables and closure variables. "
        "whole: from those of the whole snapshot, the distribution of its patches; finds moments "
        "of patches, which patch cannot. Of reconstruction only.",
    )
    steps: PositiveInt = Field(default=1500, description="Most steps of the optimiser.")
    batch: PositiveInt = Field(
        default=256, description="Patches per step; of prediction snapshots."
    )
    patience: PositiveInt = Field(
        default=6, description="Validations without improvement before training stops."
    )
    validation_every: PositiveInt = 100

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As before there was a choice: what was trained is found again.
        content: dict[str, Any] = serialise(self)
        if self.objective == "reconstruction":
            content.pop("objective", None)
        return content
