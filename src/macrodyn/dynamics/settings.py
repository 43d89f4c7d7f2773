"""How drift and diffusion are learned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from macrodyn.config.numbers import REAL, WHOLE
from macrodyn.config.section import (
    LearningRate,
    NotNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
)
from macrodyn.learning.settings import TrainingSettings

Degree = Annotated[int, Field(ge=1, le=20), WHOLE]
Ridge = Annotated[float, Field(gt=0, le=1), REAL]


class LikelihoodSettings(Section):
    """The ensemble, and the likelihood that it is trained by."""

    members: PositiveInt = Field(default=5, description="Ensemble size: one seed each.")
    hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 64)
    activation: Literal["silu", "tanh"] = "silu"
    covariance: Literal["full", "diagonal", "constant"] = Field(
        default="full", description="Form of Sigma: full Cholesky factor, diagonal, or constant."
    )
    covariance_factor: Literal["theory", "estimated"] | PositiveFloat = Field(
        default="theory", description="K/m by theory, estimated from the data, or a number."
    )
    increments: Literal["compensated", "plain", "rates"] = Field(
        default="compensated",
        description="What the drift is fitted to. compensated: increments less what is known of "
        "their noise, of systems that say their expected rates. plain: increments. rates: the "
        "expected rates of the snapshots themselves, as for an endlessly short dt, without closure "
        "variables.",
    )
    covariance_from: Literal["increments", "rates"] = Field(
        default="increments",
        description="What the covariance is fitted to. increments: those of the pairs. rates: the "
        "expected covariance rates of the snapshots, without noise, of systems that say them; for "
        "short dt, and without closure variables.",
    )
    buffer_noise: Literal["counted", "ignored"] = Field(
        default="counted",
        description="What the noise of a patch does to its buffer within dt: it is part of the "
        "whole's noise, as neighbours follow each other.",
    )
    likelihood: Literal["mean", "patches"] = Field(
        default="mean",
        description="mean: of the mean increment of the m patches. patches: of all m increments, "
        "which show Sigma more sharply; for short dt and independent patches.",
    )


class PolynomialSettings(Section):
    """Polynomials of which cross-validation over groups chooses one."""

    degrees: Annotated[tuple[Degree, ...], Field(min_length=1)] = Field(
        default=(1, 2, 3, 4, 5, 6, 7, 8),
        description="Total degrees of the drift to choose from; those with more features than a "
        "tenth of the snapshots are passed over.",
    )
    ridges: Annotated[tuple[Ridge, ...], Field(min_length=1)] = Field(
        default=(1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
        description="Strengths of the ridge penalty to choose from, relative to the mean square "
        "of the features.",
    )


class DynamicsSettings(TrainingSettings, LikelihoodSettings):
    """Drift and diffusion networks and their training by the partial likelihood."""

    model: Literal["mlp", "onsagernet", "gfinn", "polynomial"] = Field(
        default="mlp",
        description="mlp: networks, trained by the likelihood. onsagernet: the same with a drift "
        "that lowers a potential. gfinn: with one that keeps an energy and never lowers an "
        "entropy. polynomial: Chebyshev ridge regression, in about a second; members are resamples "
        "of the groups.",
    )
    polynomial: PolynomialSettings = PolynomialSettings()
    weight_decay: NotNegativeFloat = 0.0
    # Chosen in trials on two Ising studies, by the prediction's error and the members' scatter.
    steps: PositiveInt = Field(default=1000, description="Most steps of the optimiser.")
    batch: PositiveInt = Field(default=512, description="Samples per step.")
    learning_rate: LearningRate = 2e-3
    output_ridge: Ridge | None = Field(
        default=1e-4,
        description="The drift's output layer is solved for in the end by ridge regression of this "
        "strength, relative to the mean square of the features; of a hundred times as much where "
        "increments are not compensated. The noise's is as well, where the validation data gain by "
        "it. Null: both stay as they were trained.",
    )
