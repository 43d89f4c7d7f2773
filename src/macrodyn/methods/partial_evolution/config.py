"""The sections of a run of partial evolution."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer

from macrodyn.closure.settings import ClosureSettings
from macrodyn.config.models import RunConfig
from macrodyn.config.section import (
    MARKS,
    AtLeastFour,
    AtLeastTwo,
    Fraction,
    Lattice,
    Name,
    NotNegativeFloat,
    NotNegativeInt,
    PositiveFloat,
    PositiveInt,
    Ranges,
    Section,
    Values,
    form,
)
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.lattice import Boundary
from macrodyn.systems.patch_system import Stop, Upsampling

Baseline = Literal["naive", "full", "polynomial"]
Reference = Literal["direct", "none"]
# What of `upsample.relaxation` says how long every level is relaxed, which chains say themselves.
UNUSED_BY_CHAINS = ("duration", "up_to_age")


class SizesConfig(Section):
    """The three sizes, in sites along each axis."""

    small: Lattice = Field(description="The system that can be simulated whole (n_s sites).")
    large: Lattice = Field(description="The system whose macroscopic dynamics is learned (n).")
    patch: Lattice | None = Field(
        default=None, description="What is relaxed and evolved; the small size if left out."
    )
    train: tuple[Lattice, ...] = Field(
        default=(),
        description="Lattices of the snapshots that the one model learns from, all together: its "
        "drift is taken to be the same for every number of sites n, its covariance to go as 1/n. "
        "sizes.large alone if left out.",
    )


class SimulateConfig(Section):
    """Small simulations: the snapshot set D_s."""

    initial_range: Ranges = Field(
        default=(-1.0, 1.0),
        description="Range of the initial macrostates of the groups; by name where the system's "
        "macrostates have several components.",
    )
    groups: PositiveInt = Field(
        default=64, description="Initial macrostates, spread evenly over the range with jitter."
    )
    replicas: PositiveInt = Field(default=64, description="Small systems in each group.")
    times: tuple[NotNegativeFloat, ...] = Field(
        default=(0, 0.5, 1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 50, 70, 100),
        min_length=1,
        description="Snapshot times: cover the transient and the equilibrium.",
    )


class RelaxationConfig(Section):
    """Patch-local relaxation after each level of upsampling."""

    duration: NotNegativeFloat = Field(
        default=8.0, description="Physical time for which every site is relaxed at each level."
    )
    sweep: PositiveFloat = Field(
        default=0.5, description="Physical time for which a patch is held between two offsets."
    )
    boundary: Boundary = Field(default="frozen", description="Surroundings of a relaxed patch.")
    up_to_age: bool = Field(
        default=True,
        description="Relax no longer than the snapshot's own age: what has had time t to grow "
        "needs no more to be rebuilt.",
    )


class ChainConfig(Section):
    """Large snapshots kept along one relaxation of small snapshots of one age."""

    start: NotNegativeFloat = Field(
        alias="from",
        description="Age of the small snapshots, one of simulate.times; they are put straight to "
        "the large size. From 0 on the large system's own initial states are taken.",
    )
    after: tuple[NotNegativeFloat, ...] = Field(
        min_length=1,
        description="Times of relaxation after which large snapshots are kept, increasing; their "
        "age is from + after.",
    )

    @property
    def ages(self) -> tuple[float, ...]:
        """Ages of the snapshots.

        They are rounded to 15 digits, so that equal ages of two chains are equal numbers.
        """
        return tuple(float(f"{self.start + time:.15g}") for time in self.after)

    # `serialize_by_alias` is not known to the oldest pydantic that is supported.
    @model_serializer
    def _as_written(self) -> dict[str, Any]:
        return {"from": self.start, "after": list(self.after)}


class RecordsConfig(Section):
    """Several snapshots of one chain of moves to equilibrium."""

    number: AtLeastTwo = Field(description="Snapshots kept of each chain.")
    spacing: PositiveInt = Field(default=1, description="Sweeps between two of them.")


class UpsampleConfig(Section):
    """From small snapshots to large ones."""

    method: Upsampling = Field(
        default="tile",
        description="tile: small systems of the same group and time side by side, randomly "
        "shifted (with ends: reflected in turn). replicate: every site becomes a block of equal "
        "sites. interpolate: linear between the sites.",
    )
    snapshots: PositiveInt = Field(
        default=8,
        description="Large snapshots for each group and snapshot time, or each record of a chain.",
    )
    relaxation: RelaxationConfig = RelaxationConfig()
    chains: tuple[ChainConfig, ...] = Field(
        default=(),
        description="Relaxations along which large snapshots are kept, in place of a brief one of "
        "every snapshot time; sweep and boundary are those of relaxation.",
    )
    equilibrate: NotNegativeInt = Field(
        default=0,
        description="Sweeps of moves that are no dynamics but lead to equilibrium (clusters of "
        "spins, exchanges of atoms), made of each large snapshot in the end: enough of them, and "
        "snapshots are those of equilibrium, with waves as long as the lattice.",
    )
    records: RecordsConfig | None = Field(
        default=None,
        description="More snapshots of each one that equilibrate ends, by going on with its moves: "
        "cheaper than as many that all begin anew. upsample.snapshots counts them all.",
    )

    @property
    def begun(self) -> int:
        """Number of snapshots that are put together for each group and time."""
        return self.snapshots // (self.records.number if self.records else 1)

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As before there were such moves: what was sampled is found again.
        content: dict[str, Any] = serialise(self)
        if not self.equilibrate:
            content.pop("equilibrate", None)
        if self.records is None:
            content.pop("records", None)
        return content


class EvolveConfig(Section):
    """Partial evolution: pairs before and after a short time."""

    dt: PositiveFloat | Literal["auto"] = Field(
        default=0.25,
        description="Physical time of a pair; auto: the one at which the estimated errors of the "
        "drift, by noise, memory and boundary, are least together.",
    )
    lags: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 4),
        min_length=1,
        description="Multiples of dt that are recorded: the first trains, all serve the Markov "
        "diagnostic. Must begin with 1 and grow.",
    )
    patches: PositiveInt = Field(default=4, description="m, patches evolved of each snapshot.")
    buffer: NotNegativeInt | Literal["auto"] = Field(
        default=0,
        description="Sites around the patch that evolve with it, uncounted; auto: chosen as dt is.",
    )
    boundary: Boundary = Field(default="frozen", description="Surroundings of an evolved patch.")
    stop: Stop = Field(
        default="time",
        description="time: after dt. events: after as many events as the patch has sites.",
    )

    @property
    def automatic(self) -> bool:
        """Whether dt or buffer are chosen from data."""
        return "auto" in (self.dt, self.buffer)


class HorizonConfig(Section):
    """Record times 0, spacing, ... of a comparison."""

    spacing: PositiveFloat
    points: AtLeastTwo
    step: PositiveFloat | None = Field(
        default=None, description="Step of the prediction's integrator; evolve.dt if left out."
    )


class EquilibriumConfig(Section):
    """Equilibrium sampled by moves that are no dynamics, where the system has such."""

    replicas: AtLeastTwo = Field(
        default=4, description="Chains begun from each initial macrostate."
    )
    burn_in: PositiveInt = Field(default=500, description="Sweeps before the first sample.")
    samples: AtLeastTwo = Field(default=50, description="Samples of each chain.")
    spacing: PositiveInt = Field(default=10, description="Sweeps between two samples.")


class EvaluateConfig(Section):
    """Predictions, and what they are compared with."""

    reference: Reference = Field(
        default="direct",
        description="direct: predictions are compared with direct simulation of the large system. "
        "none: it is never simulated; only smaller sizes are, those of evaluate.sizes, or "
        "sizes.small where none are given.",
    )
    initial: Annotated[
        Annotated[Values, Tag(MARKS[0])] | Annotated[dict[Name, Values], Tag(MARKS[1])],
        Discriminator(form),
    ] = Field(
        default=(-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75),
        description="Initial macrostates; by name where they have several components: every "
        "combination is taken.",
    )
    replicas: AtLeastFour = Field(
        default=200, description="Reference trajectories for each initial macrostate."
    )
    predicted_replicas: AtLeastTwo = Field(
        default=200, description="Predicted trajectories of each member and initial macrostate."
    )
    horizons: dict[Name, HorizonConfig] = Field(
        default={"transient": HorizonConfig(spacing=1.0, points=301)}, min_length=1
    )
    equilibrium_fraction: Fraction = Field(
        default=0.25, description="Late part of a horizon that is taken for equilibrium."
    )
    equilibrium: EquilibriumConfig | None = Field(
        default=None,
        description="Sample the equilibrium by moves that are no dynamics (clusters of spins, "
        "exchanges of atoms), and compare late predictions with it. Not if left out.",
    )
    conditions: dict[str, Values] = Field(
        default_factory=dict,
        description="Values of conditions at which the model is evaluated; every combination is "
        "taken. At the system's own where it is left out.",
    )
    sizes: tuple[Lattice, ...] = Field(
        default=(),
        description="Lattices for which the one model predicts: its drift is taken to be the same "
        "for every number of sites n, its covariance to go as 1/n. sizes.large if left out; "
        "without a reference sizes.small as well.",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # As before there was a choice: what was evaluated is found again.
        content: dict[str, Any] = serialise(self)
        if self.reference == "direct":
            content.pop("reference", None)
        return content


class HorizonOption(Section):
    """Options of an analysis that is about one horizon."""

    horizon: Name = Field(description="The horizon, with its values where there are conditions.")


class ScalingOption(Section):
    """Options of the analysis of how order goes with the size."""

    at: tuple[PositiveFloat, ...] = Field(
        min_length=1,
        description="Temperatures at which exponents are fitted, of those that are evaluated.",
    )
    observable: Name = Field(
        default="magnetisation", description="The order parameter, one of the observables."
    )
    temperature: Name = Field(
        default="temperature", description="The parameter that is the temperature."
    )
    exact: dict[Literal["beta_over_nu", "gamma_over_nu", "one_over_nu"], PositiveFloat] = Field(
        default_factory=dict, description="Known exponents, to be drawn beside and collapsed with."
    )
    critical: PositiveFloat | None = Field(
        default=None, description="Critical temperature, for the collapse; none if left out."
    )


class PartialEvolutionRun(RunConfig):
    """Everything that a run of partial evolution depends on."""

    conditions: dict[str, Values] = Field(
        default_factory=dict,
        description="Parameters of the system that become inputs of the model, with the values "
        "to sample; evaluated at the system's own, or at those of evaluate.conditions.",
    )
    sizes: SizesConfig
    simulate: SimulateConfig = SimulateConfig()
    upsample: UpsampleConfig = UpsampleConfig()
    evolve: EvolveConfig = EvolveConfig()
    closure: ClosureSettings = ClosureSettings()
    dynamics: DynamicsSettings = DynamicsSettings()
    evaluate: EvaluateConfig = EvaluateConfig()
    baselines: tuple[Baseline, ...] = Field(
        default=("naive", "full"),
        description="naive: the small system taken for the large one. full: whole snapshots "
        "evolved. polynomial: polynomials instead of networks, of the same latents as ours.",
    )
    published: dict[Name, dict[str, PositiveFloat]] = Field(
        default_factory=dict,
        description="Published test errors to show beside this run's: by horizon, then name.",
    )

    @property
    def patch(self) -> tuple[int, ...]:
        """Sides of the patch that is evolved: its own, or the small size."""
        return self.sizes.patch or self.sizes.small

    @property
    def trained(self) -> tuple[tuple[int, ...], ...]:
        """Lattices that are learned from, the main one first, which the diagnostics are about.

        That is sizes.large if it is among them, else the largest.
        """
        large, given = self.sizes.large, self.sizes.train or (self.sizes.large,)
        main = large if large in given else max(sorted(given), key=math.prod)
        return (main, *sorted(set(given) - {main}))

    def is_compared(self, size: tuple[int, ...]) -> bool:
        """Whether a size is simulated directly, for predictions to be compared with."""
        return self.evaluate.reference == "direct" or math.prod(size) < math.prod(self.sizes.large)

    @property
    def ages(self) -> tuple[float, ...]:
        """Ages of the large snapshots of each group; one for each chain's record, if repeated."""
        chains = self.upsample.chains
        return tuple(age for c in chains for age in c.ages) if chains else self.simulate.times

    @property
    def steps(self) -> tuple[float, ...]:
        """The dt, or those that are tried where it is chosen from data."""
        if self.evolve.dt != "auto":
            return (self.evolve.dt,)
        ages = sorted({0.0, *self.ages})
        gaps = [b - a for a, b in pairwise(ages)]
        gap = min(gaps, default=1.0)
        # From far below the time between two snapshots to several of them, and to the spacing of
        # the predictions: within a pair the model knows nothing of how its change comes about. Each
        # divides that spacing, as a drift learned from one dt and stepped by another is off by the
        # difference; and most are multiples of a decimal step of the system's own scheme.
        finest = min((h.spacing for h in self.evaluate.horizons.values()), default=gap)
        steps = [finest / (m * 10**k) for k in range(9) for m in (1, 2, 5)]
        fitting = [step for step in steps if gap / 16 <= step * (1 + 1e-9) <= 8 * gap]
        return tuple(sorted(fitting)) or (min(finest, 8 * gap),)

    @property
    def buffer(self) -> int:
        """The buffer; 0, which always fits, where it is chosen from data."""
        return 0 if self.evolve.buffer == "auto" else self.evolve.buffer

    @property
    def groups(self) -> int:
        """Groups of small systems, of all combinations of conditions."""
        return self.simulate.groups * math.prod(map(len, self.conditions.values()))
