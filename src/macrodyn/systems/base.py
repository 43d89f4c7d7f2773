"""The interface of a microscopic system.

A system is one class. It knows its physics (how states begin, evolve and are observed) and nothing
of upsampling, closures or learning. Everything else in macrodyn sees only this interface.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from macrodyn.config.numbers import as_annotated
from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds

StateKind = Literal["spin", "field", "species"]
STATE_KINDS: tuple[StateKind, ...] = get_args(StateKind)


class Parameters(BaseModel):
    """Physical parameters of a system; subclass it with the system's own, with their limits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        return as_annotated(value, cls.model_fields[str(info.field_name)].annotation)


class System(ABC):
    """A microscopic system on a lattice, or on sites that are merely numbered by one.

    States are arrays ``[batch, channel, *lattice]``. Times are physical times of the system, in the
    unit that ``time_unit`` names. Every method that draws random numbers takes one seed per state
    and must give the same state for the same seed, whatever else is in the batch.

    Attributes:
        dimension: Dimension of the lattice.
        channels: Fields per site.
        dtype: Type of a state's entries.
        kind: What a site holds: it chooses the closure's reconstruction loss.
        species: Number of species, for the kind ``species``, whose sites hold 0 to species - 1; 0
            for the others.
        periodic: Whether the lattice closes on itself; otherwise it has ends, and windows may reach
            beyond them.
        halo: Range of the interaction, in sites; 0 where sites see each other through `rest` alone.
        long_range: Whether a patch depends on all of its state, through `rest`; no two patches of
            a state are then relaxed at once.
        observables: Names of the macroscopic observables z*, in order.
        bounds: Lowest and highest possible value of each observable; trajectories keep them.
        macrostates: What ``initial_states`` takes: lowest and highest value of each number that
            describes an initial macrostate, by name, in order.
        time_unit: Name of the unit of time.
        stops: How a patch's evolution may end: after a time, or after a number of events.
        upsamplings: Ways of making larger states that suit this system.
        devices: Where patches can be evolved: ``cpu``, and ``cuda`` where there are kernels for it.
        labels: How observables are written in figures, by name, e.g. ``order parameter $m$``; what
            stands between dollar signs, in TeX, is the symbol. Without one, the name is written.
        state_labels: What the values of a site are called in figures, by value, where they are few,
            e.g. ``{0: "empty", 1: "occupied"}``. Without a label, the value is written.
        version: Raise it when the same parameters give other results: what was computed with
            another version is then not used again.
        Parameters: The pydantic model of its parameters.
    """

    dimension: ClassVar[int]
    channels: ClassVar[int] = 1
    dtype: ClassVar[type[np.generic]]
    kind: ClassVar[StateKind]
    species: ClassVar[int] = 0
    periodic: ClassVar[bool] = True
    halo: ClassVar[int] = 1
    long_range: ClassVar[bool] = False
    observables: ClassVar[tuple[str, ...]]
    bounds: ClassVar[tuple[tuple[float, float], ...]]
    macrostates: ClassVar[Mapping[str, tuple[float, float]]] = {"macrostate": (-math.inf, math.inf)}
    time_unit: ClassVar[str] = "1"
    stops: ClassVar[tuple[str, ...]] = ("time",)
    upsamplings: ClassVar[tuple[str, ...]] = ("tile", "replicate")
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    labels: ClassVar[Mapping[str, str]] = {}
    state_labels: ClassVar[Mapping[int, str]] = {}
    version: ClassVar[int] = 1
    Parameters: ClassVar[type[Parameters]]

    def __init__(self, parameters: Any, *, device: str = "cpu", prepared: Any = None) -> None:
        self.parameters = parameters

    @classmethod
    def prepare(cls, parameters: Any, planner: Any) -> Mapping[str, Any]:
        """Return the stages that must run before the system can be used, by role."""
        return {}

    def with_parameters(self, **changes: float) -> Self:
        """Return the same system with some parameters changed, validated anew."""
        return type(self)(type(self.parameters)(**{**self.parameters.model_dump(), **changes}))

    def on(self, device: str) -> Self:
        """Return the system as it evolves patches on a device.

        Args:
            device: One of ``devices``.

        Raises:
            ValueError: If there are no kernels for it.
        """
        if device not in self.devices:
            raise ValueError(f"{type(self).__name__} runs on {', '.join(self.devices)} only")
        return self

    @abstractmethod
    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray:
        """Draw initial states.

        Args:
            macrostate: The initial macrostate of each state, shape [batch, component], a component
                for each of ``macrostates`` (for spins: the expected magnetisation). One value must
                mean the same at every size.
            shape: Sites along each axis.
            seeds: One stream per state, shape [batch], uint64.

        Returns:
            States, shape [batch, channel, *shape].
        """

    @abstractmethod
    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Advance whole systems.

        Args:
            states: Shape [batch, channel, *lattice]; left unchanged.
            duration: Physical time.
            seeds: One stream per state, shape [batch], uint64.

        Returns:
            The states after ``duration``.
        """

    @abstractmethod
    def evolve_patch(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        events: int | None = None,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches inside their windows, the surroundings frozen.

        Args:
            windows: Patches with their margin, shape [batch, channel, *patch.window]; left
                unchanged.
            patch: Geometry of the windows: what evolves, what is frozen, or periodic wrap.
            duration: Physical time.
            seeds: One stream per window, shape [batch], uint64.
            events: If given, stop after this number of events instead of after ``duration``.
            around: What of the surroundings is not in the windows: where the lattice ends in them,
                and what `rest` said. Systems on periodic lattices with a finite range need none.

        Returns:
            The windows afterwards, halo unchanged, and the physical time that passed, [batch].
        """

    @abstractmethod
    def observe(self, states: NDArray) -> NDArray[np.float64]:
        """Measure the intensive observables z* of whole systems.

        Args:
            states: Shape [batch, channel, *lattice].

        Returns:
            Shape [batch, observable]; defined in the same way at every size.
        """

    @abstractmethod
    def observe_patch(self, patches: NDArray) -> NDArray[np.float64]:
        """Measure the observables of patches from their own sites only.

        Args:
            patches: Patches without margin, shape [batch, channel, *patch].

        Returns:
            Shape [batch, observable].
        """

    @abstractmethod
    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Change of the observables by the evolution of a patch, as if all K patches changed so.

        A pair of sites that crosses the patch's edge counts in full for a move of its end inside
        the patch, and not at all for a move of the other end, which belongs to another patch:
        `PatchGeometry.attribute` keeps the two apart where a buffer has moved as well. So the mean
        over the K patches of a tiling is the drift of the whole system as the duration goes to
        zero, and the mean square is K times the whole's. A measure of the patch that wraps or
        drops such pairs has neither.

        Args:
            before: Windows before, shape [batch, channel, *patch.window].
            after: Windows after, the same shape.
            patch: Geometry of the windows.
            around: What of the surroundings is not in the windows; see `evolve_patch`.

        Returns:
            Shape [batch, observable].
        """

    def rest(self, states: NDArray, active: NDArray) -> NDArray[np.float64] | None:
        """Measure what patches see of their states beyond the window, frozen while they evolve.

        A system whose sites interact at any distance, such as through a mean field, overrides this.

        Args:
            states: Whole states, shape [batch, channel, *lattice].
            active: The sites that will evolve, M patches (with their buffers) of each state, shape
                [batch, M, channel, *patch.active].

        Returns:
            Shape [batch, M, quantity]: the system's own affair, handed back to it as
            ``around.rest``. None where the window tells all.
        """
        return None

    def relations(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Exact linear relations A z = b among the observables, such as that shares add up to 1.

        They are built into the model of the dynamics.

        Returns:
            A, shape [relation, observable], and b, shape [relation]; None if there are none.
        """
        return None

    def longest_wait(self) -> float | None:
        """Longest mean time until an event of one site, over all surroundings that it may have.

        A patch that evolves until events have happened may wait so long for each of them.

        Returns:
            Physical time, infinite where a site may be frozen for good; None if it is not known.
        """
        return None

    def exact_moments(
        self, observables: NDArray[np.float64], shape: Shape
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Exact drift and covariance rate of the observables, where the rates give them.

        Learned drift and diffusion are compared with them.

        Args:
            observables: Values of the observables, shape [batch, observable].
            shape: Sites along each axis.

        Returns:
            Drift per unit time, shape [batch, observable], and covariance per unit time, shape
            [batch, observable, observable], of a whole system of that shape; NaN for what is not a
            function of the observables. None if nothing is known.
        """
        return None
