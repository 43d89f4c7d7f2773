"""What partial evolution asks of a system: patches of a lattice that evolve by themselves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import ALONE, PatchGeometry, Surroundings
from macrodyn.streams import Seeds, substreams
from macrodyn.systems.base import System
from macrodyn.systems.space import Grid, StateKind

Stop = Literal["time", "events"]
Upsampling = Literal["tile", "replicate", "interpolate"]


class PatchSystem(System):
    """A microscopic system on a lattice, or on sites that are merely numbered by one.

    States are arrays ``[batch, channel, *lattice]``.

    Attributes:
        space: What a state is.
        periodic: Whether the lattice closes on itself; otherwise it has ends, and windows may reach
            beyond them.
        halo: Range of the interaction, in sites; 0 where sites see each other through `rest` alone.
        long_range: Whether a patch depends on all of its state, through `rest`; no two patches of
            a state are then relaxed at once.
        least_buffer: Narrowest buffer of a patch with frozen surroundings that keeps the drift
            right, in sites: 1 where two sites exchange what they hold, as an exchange across the
            edge then belongs to neither patch.
        stops: How a patch's evolution may end: after a time, or after a number of events.
        upsamplings: Ways of making larger states that suit this system.
        rate_intervals: Equal intervals of Simpson's rule by which `evolve_compensated` integrates
            the expected rates over one call; even.
    """

    space: ClassVar[Grid]
    periodic: ClassVar[bool] = True
    halo: ClassVar[int] = 1
    long_range: ClassVar[bool] = False
    least_buffer: ClassVar[int] = 0
    stops: ClassVar[tuple[Stop, ...]] = ("time",)
    upsamplings: ClassVar[tuple[Upsampling, ...]] = ("tile", "replicate")
    rate_intervals: ClassVar[int] = 4

    @property
    def dimension(self) -> int:
        """Dimension of the lattice."""
        return self.space.dimension

    @property
    def channels(self) -> int:
        """Numbers at each site."""
        return self.space.channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a state's entries."""
        return np.dtype(self.space.dtype)

    @property
    def kind(self) -> StateKind:
        """What a site holds."""
        return self.space.kind

    @property
    def species(self) -> int:
        """Number of species; 0 for other kinds."""
        return self.space.species

    @property
    def state_labels(self) -> Mapping[int, str]:
        """What the values of a site are called in figures, by value."""
        return self.space.labels

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

    @property
    def knows_rates(self) -> bool:
        """Whether the system says its expected rates of change."""
        return type(self).expected_rates is not PatchSystem.expected_rates

    def expected_rates(
        self, windows: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Expected rate of change of the observables by a patch, given the microscopic state.

        The generator's action L phi, a sum over the patch's sites (not over its buffer's): what
        `observable_increment` tends to on average over a short time, divided by that time. So it
        is as if all K patches changed so, and pairs that cross the edge count in full. Where a
        system says so, drift is learned with far less noise. Optional: a system that knows neither
        rates nor forces leaves it out.

        Args:
            windows: Patches with their margin, shape [batch, channel, *patch.window].
            patch: Geometry of the windows; a whole periodic system is a periodic patch.
            around: What of the surroundings is not in the windows; see `evolve_patch`.

        Returns:
            Per unit time, shape [batch, observable].

        Raises:
            NotImplementedError: If the system does not say.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say its expected rates")

    @property
    def knows_covariance(self) -> bool:
        """Whether the system says the expected covariance rates of its observables."""
        return type(self).covariance_rates is not PatchSystem.covariance_rates

    def covariance_rates(self, states: NDArray) -> NDArray[np.float64]:
        """Expected covariance of the whole's observables per unit time, given its state.

        The generator's action on products, Gamma_kl = L(phi_k phi_l) - phi_k L phi_l - phi_l L
        phi_k (carre du champ): of jumps the sum over all that may happen of rate times the product
        of the changes; of noise on a field sum_i s_i^2 (d phi_k / d x_i) (d phi_l / d x_i). It is
        what the covariance of increments over a short time tends to, divided by that time, and so
        the noise Sigma of the macroscopic model, given all of the state. Optional.

        Args:
            states: Whole states, shape [batch, channel, *lattice].

        Returns:
            Per unit time, shape [batch, observable, observable], symmetric.

        Raises:
            NotImplementedError: If the system does not say.

        Source: Ethier and Kurtz, *Markov Processes* (1986), proposition 4.1.7, for the martingale.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say its covariance rates")

    def evolve_compensated(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches, and integrate their expected rates along the path: the compensator.

        The increment of the observables less the compensator A is a martingale: its mean is zero
        for any duration, whatever the state. Here A is Simpson's rule over ``rate_intervals``
        equal parts of the duration, of fourth order in their length. A system whose kernel sees
        the rates of every moment overrides this by one that is exact.

        Args:
            windows: Patches with their margin, shape [batch, channel, *patch.window]; left
                unchanged.
            patch: Geometry of the windows.
            duration: Physical time.
            seeds: One stream per window, shape [batch], uint64.
            around: What of the surroundings is not in the windows; see `evolve_patch`.

        Returns:
            The windows afterwards, halo unchanged, and A, shape [batch, observable].

        Raises:
            NotImplementedError: If the system does not say its expected rates.

        Source: Dynkin's formula.
        """
        parts = self.rate_intervals
        now = windows
        compensator = self.expected_rates(now, patch, around)
        for part in range(parts):
            keys = substreams(seeds, part)
            now, _ = self.evolve_patch(now, patch, duration / parts, keys, around=around)
            weight = 1.0 if part == parts - 1 else 4.0 if part % 2 == 0 else 2.0
            compensator = compensator + weight * self.expected_rates(now, patch, around)
        return now, compensator * (duration / (3.0 * parts))

    @property
    def knows_noise(self) -> bool:
        """Whether the system says which noise has driven its sites."""
        return type(self).evolve_driven is not PatchSystem.evolve_driven

    def evolve_driven(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64], NDArray]:
        """Do as `evolve_compensated` does, and tell the noise that has driven the sites.

        Given the windows before, the noise and its negative are equally likely. To first order it
        is what chance has added to the sites. So what it makes of a closure variable, to first
        order, is known to be zero on average, and can be taken out. Optional.

        Args:
            windows: Patches with their margin, shape [batch, channel, *patch.window]; left
                unchanged.
            patch: Geometry of the windows.
            duration: Physical time.
            seeds: One stream per window, shape [batch], uint64.
            around: What of the surroundings is not in the windows; see `evolve_patch`.

        Returns:
            The windows afterwards and A, as of `evolve_compensated`; and the noise summed along the
            path, shaped like the windows, zero where nothing evolves.

        Raises:
            NotImplementedError: If the system does not tell.
        """
        raise NotImplementedError(f"{type(self).__name__} does not tell the noise of its sites")

    @property
    def knows_equilibrium(self) -> bool:
        """Whether the system has moves that lead to its equilibrium other than its dynamics."""
        return type(self).equilibrate is not PatchSystem.equilibrate

    def equilibrate(
        self, states: NDArray, sweeps: int, seeds: Seeds, *, first: bool = False
    ) -> NDArray:
        """Move whole systems by moves that leave the equilibrium distribution as it is.

        These are no dynamics: clusters of spins, exchanges of distant atoms. They reach an
        equilibrium that the dynamics does not reach in the time that one has. Optional.

        Args:
            states: Shape [batch, channel, *lattice]; left unchanged.
            sweeps: How often each site is tried, about.
            seeds: One stream per state, shape [batch], uint64.
            first: Whether the states are far from equilibrium, and what happens on the way to it
                is not used: they may be cooled down slowly.

        Returns:
            The states afterwards.

        Raises:
            NotImplementedError: If the system has no such moves.
        """
        raise NotImplementedError(f"{type(self).__name__} has no moves but its dynamics")

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

    def longest_wait(self) -> float | None:
        """Longest mean time until an event of one site, over all surroundings that it may have.

        A patch that evolves until events have happened may wait so long for each of them.

        Returns:
            Physical time, infinite where a site may be frozen for good; None if it is not known.
        """
        return None
