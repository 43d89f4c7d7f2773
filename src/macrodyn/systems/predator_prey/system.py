"""A stochastic predator-prey field on a line."""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.lattice import ALONE, PatchGeometry, Shape, Surroundings
from macrodyn.streams import Seeds
from macrodyn.systems.patch_system import PatchSystem
from macrodyn.systems.predator_prey.kernels import Dynamics, Segment, advance
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
        self._check(windows, duration)
        if events is not None:
            raise ValueError(f"a field has no events to stop after: events must be None: {events}")
        if windows.shape[2:] != patch.window:
            raise ValueError(f"windows {windows.shape[2:]} do not fit the patch {patch.window}")
        dynamics, (sites,) = self._dynamics(), patch.window
        elapsed = np.full(len(windows), float(duration))
        if patch.boundary == "periodic":
            loop = Segment(0, sites, periodic=True)
            return advance(windows, loop, dynamics, float(duration), seeds), elapsed
        if patch.halo < self.halo:
            raise ValueError(f"a frozen halo must be {self.halo} site wide or more: {patch.halo}")

        after = np.empty_like(windows)
        for low, high, which in _alike(around.outside, len(windows)):
            segment = Segment.of_window(sites, patch.halo, low, high)
            moved = advance(windows[which], segment, dynamics, float(duration), seeds[which])
            moved[:, :, :low] = moved[:, :, low, None]
            moved[:, :, sites - high :] = moved[:, :, sites - high - 1, None]
            after[which] = moved
        return after, elapsed

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
