"""How drift and diffusion are learned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from macrodyn.config.section import NotNegativeFloat, PositiveFloat, PositiveInt, Section
from macrodyn.learning.settings import TrainingSettings


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
    increments: Literal["compensated", "plain"] = Field(
        default="compensated",
        description="What the drift is fitted to. compensated: increments less what is known of "
        "their noise, of systems that say their expected rates. plain: increments.",
    )
    likelihood: Literal["mean", "patches"] = Field(
        default="mean",
        description="mean: of the mean increment of the m patches. patches: of all m increments, "
        "which show Sigma more sharply; for short dt and independent patches.",
    )


class DynamicsSettings(TrainingSettings, LikelihoodSettings):
    """Drift and diffusion networks and their training by the partial likelihood."""

    weight_decay: NotNegativeFloat = 0.1
