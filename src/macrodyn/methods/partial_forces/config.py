"""The sections of a run of partial forces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from macrodyn.closure.coordinates import CoordinateClosureSettings
from macrodyn.config.models import RunConfig
from macrodyn.config.section import (
    AtLeastFour,
    AtLeastTwo,
    Finite,
    Lattice,
    Name,
    NotNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Ranges,
    Section,
    Share,
)
from macrodyn.dynamics.force_fit import ForceFitSettings

Baseline = Literal["interpolation", "nearest", "regression", "constant", "observables"]


class TimesConfig(Section):
    """Record times: first, first + spacing, ..."""

    first: NotNegativeFloat = Field(default=0.0, description="The first of them.")
    spacing: PositiveFloat = Field(default=0.001, description="Physical time between two.")
    points: AtLeastTwo = Field(default=250, description="How many there are.")

    @property
    def values(self) -> tuple[float, ...]:
        """The times, rounded to 15 digits."""
        return tuple(float(f"{self.first + k * self.spacing:.15g}") for k in range(self.points))


class TrajectoriesConfig(Section):
    """Simulated trajectories, whose configurations are learned from."""

    runs: AtLeastFour = Field(
        default=90, description="Trajectories, their initial macrostates spread over the range."
    )
    initial_range: Ranges = Field(
        description="Range of the initial macrostates; by name where these have several components."
    )
    times: TimesConfig = TimesConfig()
    precision: Literal["single", "double"] = Field(
        default="double", description="Of the stored states."
    )
    while_above: dict[Name, Finite] = Field(
        default_factory=dict,
        description="Records are used as long as each observable named here is above its value.",
    )


class ForcesConfig(Section):
    """Which forces are computed: all else that is learned from costs none."""

    number: PositiveInt | Literal["all"] = Field(
        default="all",
        description="Coordinates of each configuration, drawn anew for each without replacement; "
        "particles, where the forces on a particle come together.",
    )
    runs: PositiveInt | Literal["all"] = Field(
        default="all", description="Trajectories whose configurations are used: the first so many."
    )
    configurations: PositiveInt | Literal["all"] = Field(
        default="all", description="Configurations that are used, of all those of the runs."
    )
    draw: Literal["random", "first"] = Field(
        default="random",
        description="Which configurations: random ones, or the first in the order of the runs.",
    )
    displaced: Share = Field(
        default=0.0,
        description="Share of the configurations that are moved off the trajectories, along "
        "differences of others, before forces are computed: what leads back to the trajectories "
        "is learned there. Runs must differ in small ways, as where they share their start.",
    )
    displacement: PositiveFloat = Field(
        default=0.005, description="How far, in units of such a difference."
    )


class ForecastConfig(Section):
    """Trajectories that are held out, and how the model predicts them."""

    runs: PositiveInt = Field(default=10, description="Trajectories that nothing learned from.")
    initial_range: Ranges | None = Field(
        default=None, description="Range of their initial macrostates; that of simulate if null."
    )
    times: TimesConfig | None = Field(
        default=None, description="Their record times; those of simulate if null."
    )
    step: PositiveFloat | None = Field(
        default=None, description="Step of the Runge-Kutta scheme; the spacing if null."
    )
    unresolved: PositiveInt = Field(
        default=64,
        description="Held-out configurations at which all forces are computed, to tell what share "
        "of them the encoder does not resolve; nothing is learned from them.",
    )


class PartialForcesRun(RunConfig):
    """Everything that a run of partial forces depends on."""

    method: str = "partial-forces"
    size: Lattice = Field(description="Sites along each axis; of particles their number.")
    simulate: TrajectoriesConfig
    forces: ForcesConfig = ForcesConfig()
    closure: CoordinateClosureSettings = CoordinateClosureSettings()
    dynamics: ForceFitSettings = ForceFitSettings()
    evaluate: ForecastConfig = ForecastConfig()
    baselines: tuple[Baseline, ...] = Field(
        default=("interpolation", "nearest", "regression", "constant", "observables"),
        description="What needs no forces at all. interpolation: of the observables of the "
        "training runs, by initial macrostate. nearest: the run that began nearest. regression: "
        "of the observables at each time on the first ones. constant: the initial values. "
        "observables: an ordinary differential equation of the observables alone, from their "
        "differences in time.",
    )
    published: dict[Name, PositiveFloat] = Field(
        default_factory=dict, description="Published test errors to show beside this run's."
    )

    @property
    def forecast_times(self) -> TimesConfig:
        """Record times of what is held out."""
        return self.evaluate.times or self.simulate.times

    @property
    def forecast_range(self) -> Ranges:
        """Range of the initial macrostates of what is held out."""
        return self.evaluate.initial_range or self.simulate.initial_range
