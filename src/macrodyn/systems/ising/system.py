"""Two-dimensional Ising model under Glauber dynamics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds
from macrodyn.systems.ising import compensator, kernels
from macrodyn.systems.ising.clusters import cluster_updates
from macrodyn.systems.ising.parameters import IsingParameters
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.shared.spins import MAGNETISATION, MEAN_SPIN, STATE_LABELS, independent_spins
from macrodyn.systems.space import Grid, Observable

_ALGORITHMS = {
    "uniformisation": kernels.UNIFORMISATION,
    "n-fold": kernels.NFOLD,
    "auto": kernels.AUTOMATIC,
}


class Ising(PatchSystem):
    """Spins s_i = +-1 on a periodic square grid with rates 1 / (1 + exp(dE / T)).

    Time is in sweeps: units of the inverse attempt rate of one site. The observables are the
    magnetisation (mean spin) and the domain-wall density (fraction of unlike neighbour bonds).

    On the device `cuda` spins, of patches and of whole lattices, evolve on a GPU. Without a usable
    one they do on the CPU, and one warning is logged. Uniformisation gives the same bits on both,
    the n-fold way too but for its times, which agree to rounding; see `ising.cuda`.
    """

    space: ClassVar[Grid] = Grid("spin", 2, labels=STATE_LABELS)
    observables = (
        MAGNETISATION,
        Observable("domain_wall_density", (0.0, 1.0), r"domain-wall density $\rho$"),
    )
    macrostate = (MEAN_SPIN,)
    time_unit = "sweep"
    stops = ("time", "events")
    devices = ("cpu", "cuda")
    Parameters = IsingParameters
    parameters: IsingParameters

    def __init__(self, parameters: IsingParameters, **named: Any) -> None:
        super().__init__(parameters, **named)
        self._rates = kernels.flip_rates(parameters.temperature, parameters.field)
        self._class_rates = compensator.class_rates(self._rates)
        self._algorithm = _ALGORITHMS[parameters.algorithm]
        self._advance: Callable[..., tuple[NDArray, NDArray, NDArray]] = kernels.advance
        if self.device == "cuda":
            from macrodyn.systems.ising import cuda  # needed on a GPU alone

            if cuda.is_usable():
                self._advance = cuda.advance

    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray:
        """Draw independent spins with the expected magnetisation ``macrostate``, in [-1, 1]."""
        return independent_spins(macrostate, shape, seeds)

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Advance whole lattices by ``duration``; see `PatchSystem.evolve`."""
        self._check(states, duration)
        padded = np.zeros((len(states), *(n + 2 for n in states.shape[2:])), dtype=np.int8)
        padded[:, 1:-1, 1:-1] = states[:, 0]
        self._advance(padded, True, self._rates, float(duration), -1, seeds, self._algorithm)
        return np.ascontiguousarray(padded[:, None, 1:-1, 1:-1])

    def evolve_patch(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        events: int | None = None,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches in their windows; an event is a flip. See `PatchSystem.evolve_patch`."""
        padded, periodic = self._padded(windows, patch, duration)
        count = -1 if events is None else events
        elapsed, _, _ = self._advance(
            padded, periodic, self._rates, float(duration), count, seeds, self._algorithm
        )
        return _unpadded(padded, periodic), elapsed

    def expected_rates(
        self, windows: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Expected rates of (m, rho), exactly; see `PatchSystem.expected_rates`."""
        padded, periodic = self._padded(windows, patch)
        return compensator.expected_rates(padded, periodic, patch.buffer, self._class_rates)

    def covariance_rates(self, states: NDArray) -> NDArray[np.float64]:
        """Those of (m, rho), exactly; see `PatchSystem.covariance_rates`."""
        whole = PatchGeometry(states.shape[2:], boundary="periodic")
        padded, periodic = self._padded(states, whole)
        sites = math.prod(states.shape[2:])
        first, second = (
            compensator.expected_rates(padded, periodic, 0, table) / sites
            for table in compensator.class_covariances(self._rates)
        )
        entries = np.stack([first[:, 0], first[:, 1], first[:, 1], second[:, 1]], axis=1)
        return entries.reshape(-1, 2, 2)

    def evolve_compensated(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches by uniformisation, on a CPU, with exact compensators.

        See `PatchSystem.evolve_compensated`.
        """
        padded, periodic = self._padded(windows, patch, duration)
        integral = compensator.advance(
            padded,
            periodic,
            patch.buffer,
            self._rates,
            self._class_rates,
            float(duration),
            seeds,
        )
        return _unpadded(padded, periodic), integral

    def equilibrate(
        self, states: NDArray, sweeps: int, seeds: Seeds, *, first: bool = False
    ) -> NDArray:
        """Draw clusters of spins anew; see `PatchSystem.equilibrate`."""
        self._check(states, 0.0)
        temperature, field = self.parameters.temperature, self.parameters.field
        return cluster_updates(states[:, 0], temperature, field, sweeps, seeds)[:, None]

    def _padded(
        self, windows: NDArray, patch: PatchGeometry, duration: float = 0.0
    ) -> tuple[NDArray, bool]:
        """Copy windows as the kernels want them, with a rim; and whether the rim mirrors them."""
        self._check(windows, duration)
        if windows.shape[2:] != patch.window:
            raise ValueError(f"windows {windows.shape[2:]} do not fit the patch {patch.window}")
        periodic = patch.boundary == "periodic"
        rim = 1 if periodic else 0
        return np.pad(windows[:, 0], ((0, 0), (rim, rim), (rim, rim))), periodic

    def longest_wait(self) -> float:
        """Mean waiting time of a spin that agrees with its four neighbours and the field."""
        with np.errstate(divide="ignore"):
            return float(1.0 / self._rates.min())

    def observe(self, states: NDArray) -> NDArray[np.float64]:
        """Measure magnetisation and domain-wall density: [batch, 2]."""
        return kernels.measure(np.ascontiguousarray(states[:, 0]))

    def observe_patch(self, patches: NDArray) -> NDArray[np.float64]:
        """Measure mean spin and fraction of unlike bonds among those inside the patch."""
        spins = patches[:, 0]
        unlike = np.zeros(len(spins))
        bonds = 0
        for axis in (1, 2):
            n = spins.shape[axis]
            pairs = np.take(spins, range(n - 1), axis) != np.take(spins, range(1, n), axis)
            unlike += pairs.sum(axis=(1, 2))
            bonds += pairs[0].size if len(pairs) else 0
        return np.stack([spins.mean(axis=(1, 2)), unlike / max(bonds, 1)], axis=1)

    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Change of (m, rho) by one patch; see `PatchSystem.observable_increment`."""
        if patch.boundary == "periodic":
            return self.observe(after) - self.observe(before)
        return patch.attribute(lambda windows: _patch_density(windows, patch), before, after)

    @staticmethod
    def _check(states: NDArray, duration: float) -> None:
        if states.dtype != np.int8:
            raise TypeError(f"spins are int8, not {states.dtype}")
        if not duration >= 0:
            raise ValueError(f"a duration must not be negative: {duration}")
        if min(states.shape[2:]) < 2:
            raise ValueError(
                f"a lattice {states.shape[2:]} has sites that are their own neighbours: every side "
                "must be 2 or more"
            )


def _unpadded(padded: NDArray, periodic: bool) -> NDArray:
    inner = padded[:, None, 1:-1, 1:-1] if periodic else padded[:, None]
    return np.ascontiguousarray(inner)


def _patch_density(windows: NDArray, patch: PatchGeometry) -> NDArray[np.float64]:
    """Mean spin of patches, and unlike bonds that have an end in them over 2 n: [batch, 2]."""
    margin = patch.margin
    rows, columns = patch.shape
    spins = windows[:, 0]
    core = spins[:, margin : margin + rows, margin : margin + columns]
    vertical = spins[:, margin - 1 : margin + rows + 1, margin : margin + columns]
    horizontal = spins[:, margin : margin + rows, margin - 1 : margin + columns + 1]
    unlike = (vertical[:, 1:] != vertical[:, :-1]).sum(axis=(1, 2))
    unlike = unlike + (horizontal[:, :, 1:] != horizontal[:, :, :-1]).sum(axis=(1, 2))
    return np.stack([core.mean(axis=(1, 2)), unlike / (2.0 * rows * columns)], axis=1)
