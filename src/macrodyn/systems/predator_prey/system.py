"""A stochastic predator-prey field on a line."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.predator_prey.kernels import Dynamics, Segment, advance, field_drift
from macrodyn.systems.predator_prey.parameters import PredatorPreyParameters
from macrodyn.systems.shared.integrators import SCHEMES
from macrodyn.systems.space import Component, Grid, Observable

_log = logging.getLogger("macrodyn")


class PredatorPrey(PatchSystem):
    """Densities of prey u and predators v on the n sites of a line with closed ends.

    ::

        du = (u (1 - u - v) + D lap u) dt + s dW_u
        dv = (a v (u - b) + lap v) dt + s dW_v

    with lap = [1, -2, 1] between sites and independent noise at each site. Beyond an end stands a
    copy of the end site, so that nothing flows out (Neumann). The observables are the two means.
    Initial states are the waves u = m + k cos(10 pi x), v = 1 - u.

    Densities are float32. In a duration all steps are equal: their number is the smallest that
    makes them no longer than ``step``.

    On the device `cuda` fields, of patches and of whole lines, evolve on a GPU. Without one that
    torch can use they do on the CPU, and one warning is logged. Both draw the same random words;
    the fields agree to rounding.
    """

    version: ClassVar[int] = 2
    space: ClassVar[Grid] = Grid("field", 1, channels=2, dtype=np.float32)
    periodic: ClassVar[bool] = False
    halo: ClassVar[int] = 1
    observables = (
        Observable("prey", label=r"mean prey density $\bar u$"),
        Observable("predator", label=r"mean predator density $\bar v$"),
    )
    macrostate = (Component("mean", 0.0, 1.0), Component("amplitude", 0.0, 0.5))
    time_unit = "1"
    stops = ("time",)
    upsamplings = ("tile", "interpolate", "replicate")
    devices = ("cpu", "cuda")
    Parameters = PredatorPreyParameters
    parameters: PredatorPreyParameters

    def __init__(self, parameters: PredatorPreyParameters, **named: Any) -> None:
        super().__init__(parameters, **named)
        self._place = "cuda" if self.device == "cuda" and gpu_is_usable() else "cpu"

    def initial_states(
        self, macrostate: NDArray[np.float64], shape: Shape, seeds: Seeds
    ) -> NDArray:
        """Make waves u = m + k cos(10 pi x), v = 1 - u; nothing is random.

        Args:
            macrostate: Mean m and amplitude k of each state, shape [batch, 2].
            shape: Sites, (n,).
            seeds: Not used but for their number, shape [batch].

        Returns:
            States, shape [batch, 2, n], float32.

        Raises:
            ValueError: If a density would be negative.
        """
        macrostate = np.asarray(macrostate, dtype=np.float64)
        if macrostate.shape != (len(seeds), 2):
            raise ValueError(
                f"initial macrostates of shape {macrostate.shape} should be {(len(seeds), 2)}: a "
                "mean and an amplitude for each state"
            )
        mean, amplitude = macrostate[:, :1], macrostate[:, 1:]
        within = (amplitude >= 0) & (amplitude <= np.minimum(mean, 1.0 - mean))
        if not within.all():
            bad = macrostate[~within[:, 0]][0]
            raise ValueError(
                f"mean {bad[0]} with amplitude {bad[1]} makes negative densities: the amplitude "
                "must lie between 0 and the smaller of mean and 1 - mean"
            )
        (n,) = shape
        spacing = self.parameters.spacing or 1.0 / n
        wave = np.cos(10.0 * np.pi * spacing * (np.arange(n) + 0.5))
        prey = mean + amplitude * wave
        return np.stack([prey, 1.0 - prey], axis=1).astype(np.float32)

    def evolve(self, states: NDArray, duration: float, seeds: Seeds) -> NDArray:
        """Advance whole lines by ``duration``; see `PatchSystem.evolve`."""
        self._check(states, duration)
        line = Segment.of_window(states.shape[2], halo=0)
        return advance(states, line, self._dynamics(), float(duration), seeds)

    def evolve_patch(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        events: int | None = None,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches in their windows; see `PatchSystem.evolve_patch`.

        Where a window reaches beyond an end of the line (``around.outside``), what evolves ends
        there as the line does; its sites outside are given the final value of the end site. A
        periodic patch is joined at its ends, although the line itself is not.

        Raises:
            ValueError: If ``events`` is given: nothing here happens in events.
        """
        if events is not None:
            raise ValueError(f"a field has no events to stop after: events must be None: {events}")
        after = np.empty_like(windows)
        for segment, ends, which in self._segments(windows, patch, duration, around):
            moved = advance(
                windows[which], segment, self._dynamics(), float(duration), seeds[which]
            )
            after[which] = _with_ends(moved, *ends)
        return after, np.full(len(windows), float(duration))

    def expected_rates(
        self, windows: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Mean drift of the patches' sites, with what diffuses across the edge.

        See `PatchSystem.expected_rates`.
        """
        drift = np.empty(windows.shape)
        for segment, ends, which in self._segments(windows, patch, 0.0, around):
            drift[which] = _with_ends(field_drift(windows[which], segment, self._dynamics()), *ends)
        return self.observe(patch.cut(drift))

    def evolve_compensated(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Advance patches with compensators that are exact for the scheme, whatever its step.

        A is what the scheme has made of the drift in all its steps: the increment less the mean
        noise of the patch, whose mean is zero. The states are those of `evolve_patch`. See
        `PatchSystem.evolve_compensated`.
        """
        return self.evolve_driven(windows, patch, duration, seeds, around)[:2]

    def evolve_driven(
        self,
        windows: NDArray,
        patch: PatchGeometry,
        duration: float,
        seeds: Seeds,
        around: Surroundings = ALONE,
    ) -> tuple[NDArray, NDArray[np.float64], NDArray]:
        """The same, with the noise of all steps; see `PatchSystem.evolve_driven`."""
        after, noise = np.empty_like(windows), np.empty_like(windows)
        for segment, ends, which in self._segments(windows, patch, duration, around):
            kicked = np.zeros_like(windows[which])
            moved = advance(
                windows[which], segment, self._dynamics(), float(duration), seeds[which], kicked
            )
            after[which], noise[which] = _with_ends(moved, *ends), _with_ends(kicked, *ends)
        increment = self.observable_increment(windows, after, patch, around)
        return after, increment - self.observe(patch.cut(noise)), noise

    def observe(self, states: NDArray) -> NDArray[np.float64]:
        """Measure the mean densities of prey and predators: [batch, 2]."""
        return states.mean(axis=2, dtype=np.float64)

    def observe_patch(self, patches: NDArray) -> NDArray[np.float64]:
        """Measure the mean densities of patches: [batch, 2]."""
        return self.observe(patches)

    def observable_increment(
        self, before: NDArray, after: NDArray, patch: PatchGeometry, around: Surroundings = ALONE
    ) -> NDArray[np.float64]:
        """Change of the patches' mean densities; see `PatchSystem.observable_increment`.

        A mean knows no pairs of sites: what diffused across the edge is in it. Sites outside the
        line count as the site that they copy.
        """
        return self.observe(patch.cut(after)) - self.observe(patch.cut(before))

    def covariance_rates(self, states: NDArray) -> NDArray[np.float64]:
        """Those of the means, s^2 / n; see `exact_moments` and `PatchSystem.covariance_rates`."""
        return self.exact_moments(np.zeros((len(states), 2)), states.shape[2:])[1]

    def exact_moments(
        self, observables: NDArray[np.float64], shape: Shape
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Exact covariance rate of the means, s^2 / n each; their drift needs more than the means.

        Diffusion within the line changes no mean, and the noise of two sites or densities is
        independent. See `System.exact_moments`.
        """
        rate = self.parameters.noise**2 / math.prod(shape)
        drift = np.full((len(observables), 2), np.nan)
        return drift, np.tile(rate * np.eye(2), (len(observables), 1, 1))

    def _segments(
        self, windows: NDArray, patch: PatchGeometry, duration: float, around: Surroundings
    ) -> Iterator[tuple[Segment, tuple[int, int], NDArray[np.intp] | slice]]:
        """What moves in windows, how many sites lie beyond their ends, and in which it is so."""
        self._check(windows, duration)
        if windows.shape[2:] != patch.window:
            raise ValueError(f"windows {windows.shape[2:]} do not fit the patch {patch.window}")
        (sites,) = patch.window
        if patch.boundary == "periodic":
            yield Segment(0, sites, periodic=True), (0, 0), slice(None)
            return
        if patch.halo < self.halo:
            raise ValueError(f"a frozen halo must be {self.halo} site wide or more: {patch.halo}")
        for low, high, which in _alike(around.outside, len(windows)):
            yield Segment.of_window(sites, patch.halo, low, high), (low, high), which

    def _dynamics(self) -> Dynamics:
        p = self.parameters
        return Dynamics(
            self._react, (p.diffusion, 1.0), p.noise, SCHEMES[p.integrator], p.step, self._place
        )

    def _react(self, state: Tensor, out: Tensor, scratch: Tensor) -> None:
        """Add u (1 - u - v) and a v (u - b) to the drift; see `kernels.Reaction`."""
        (u, v), (du, dv) = state, out
        torch.add(u, v, out=scratch)
        scratch.mul_(u)
        du.add_(u).sub_(scratch)
        torch.sub(u, self.parameters.threshold, out=scratch)
        scratch.mul_(v).mul_(self.parameters.conversion)
        dv.add_(scratch)

    @staticmethod
    def _check(states: NDArray, duration: float) -> None:
        if states.dtype != np.float32:
            raise TypeError(f"densities are float32, not {states.dtype}")
        if states.ndim != 3 or states.shape[1] != 2:
            raise ValueError(f"states of shape {states.shape} should be [batch, 2, sites]")
        if not 0 <= duration < math.inf:
            raise ValueError(f"a duration must be finite and not negative: {duration}")


@cache
def gpu_is_usable() -> bool:
    """Whether torch computes on a GPU here; logs why not, once."""
    reason = "torch sees no GPU"
    if torch.cuda.is_available():
        try:
            if float(torch.ones(2, device="cuda").sum()) == 2.0:
                return True
            reason = "a trial on the GPU gave a wrong sum"
        except RuntimeError as error:  # whatever is wrong with this node's driver
            reason = f"a trial on the GPU failed: {error}"
    _log.warning("predator-prey fields evolve on the CPU, not on a GPU: %s", reason)
    return False


def _with_ends(windows: NDArray, low: int, high: int) -> NDArray:
    """Give sites beyond the ends the value of the end site, in place."""
    sites = windows.shape[2]
    windows[:, :, :low] = windows[:, :, low, None]
    windows[:, :, sites - high :] = windows[:, :, sites - high - 1, None]
    return windows


def _alike(
    outside: NDArray[np.int64] | None, batch: int
) -> list[tuple[int, int, NDArray[np.intp] | slice]]:
    """Sites beyond the low and the high end, and the windows that have so many there."""
    if outside is None:
        return [(0, 0, slice(None))]
    if outside.shape != (batch, 1, 2):
        raise ValueError(f"outside has the shape {outside.shape}, not {(batch, 1, 2)}")
    pairs, group = np.unique(outside[:, 0], axis=0, return_inverse=True)
    return [
        (int(low), int(high), np.flatnonzero(group.reshape(-1) == number))
        for number, (low, high) in enumerate(pairs)
    ]
