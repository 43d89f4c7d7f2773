"""Try the methods of a microscopic system on a few small states, as the stages will call them."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.lattice import PatchGeometry, Shape, Tiling, gather
from macrodyn.streams import seeds
from macrodyn.systems.trial.calls import Calls, FailedError, last
from macrodyn.systems.trial.case import Case
from macrodyn.systems.trial.identities import Moved, broken_identity, tiled, trial_lattice
from macrodyn.systems.trial.rates import check_rates
from macrodyn.systems.windows import cut_windows


class Trial(Calls):
    """Calls of a system's methods, and what was wrong with them.

    Attributes:
        system: The system.
        wrong: What was wrong, in order.
    """

    def run(self, case: Case) -> list[str]:
        """Call the methods, but for those that need what another one failed to give.

        States evolve for the study's own dt: in a shorter time a method that changes its input
        might have nothing to change.

        Args:
            case: What they are tried on; its sizes and macrostates fit the system.

        Returns:
            What was wrong with them.
        """
        system, small = self.system, case.small
        observables = len(system.observables)
        # One state more than observables, so that no wrong shape looks like a right one.
        number = observables + 1
        states = self._states(case, number)
        if states is None:
            return self.wrong
        keys, duration = seeds(0, "check", index=number), case.duration
        after = self.call("evolve", states, duration, keys)
        if self.check("evolve", after, states.shape, system.dtype):
            self._check_species("evolve", after)
            self.check_alone("evolve", after, states[-1:], duration, keys[-1:])
        values = self.call("observe", states)
        if self.check("observe", values, (number, observables)):
            self._check_bounds(values)
            self._check_exact(values, small)
        self._check_patches(case, states)
        self._check_labels()
        return self.wrong

    def _states(self, case: Case, number: int) -> NDArray | None:
        """Draw states of macrostates inside the study's ranges; None if they cannot be used."""
        system, small = self.system, case.small
        low, high = np.array(case.ranges, dtype=float).T
        parts = np.linspace(0, 1, number + 2)[1:-1, None]
        keys = seeds(0, "check", index=number)
        macrostates = low + parts * (high - low)
        states = self.call("initial_states", macrostates, small, keys)
        shape = (number, system.channels, *small)
        if not self.check("initial_states", states, shape, system.dtype):
            return None
        self.check_alone("initial_states", states, macrostates[-1:], small, keys[-1:])
        if system.kind == "spin" and not np.isin(states, (-1, 1)).all():
            self.wrong.append("initial_states gives spins that are neither -1 nor +1")
        if not self._check_species("initial_states", states):
            return None
        return np.ascontiguousarray(states)

    def _check_species(self, method: str, states: NDArray) -> bool:
        """Check that sites hold the species that there are."""
        number = self.system.species
        right = self.system.kind != "species" or (states.min() >= 0 and states.max() < number)
        if not right:
            self.wrong.append(
                f"{method} gives species from {states.min()} to {states.max()}, but there are "
                f"{number}: number them 0 to {number - 1}"
            )
        return bool(right)

    def _check_bounds(self, values: NDArray[np.float64]) -> None:
        columns = zip(self.system.observable_names, self.system.bounds, values.T, strict=True)
        for name, (low, high), column in columns:
            slack = 1e-6 * float(np.abs(column).max())
            if column.min() < low - slack or column.max() > high + slack:
                self.wrong.append(
                    f"observe gives {name} from {column.min():.4g} to {column.max():.4g}, outside "
                    f"its bounds ({low}, {high}), at which predictions are cut off"
                )

    def _check_exact(self, values: NDArray[np.float64], small: Shape) -> None:
        moments = self.call("exact_moments", values, small)
        if moments is None:
            return
        if not isinstance(moments, tuple) or len(moments) != 2:
            self.wrong.append("exact_moments does not return a pair (drift, covariance), or None")
            return
        for part, value, rank in zip(("drift", "covariance"), moments, (1, 2), strict=True):
            shape = (len(values), *[values.shape[1]] * rank)
            self.check(f"exact_moments ({part})", value, shape, finite=False)

    def _check_patches(self, case: Case, states: NDArray) -> None:
        """Evolve and measure patches, two of each state, cut out as for the study's pairs."""
        system, sides = self.system, case.patch
        if Tiling(case.large, sides).number == 1:
            return  # the study evolves no patches
        patch = PatchGeometry(sides, system.halo, case.buffer, case.boundary)
        lattice = trial_lattice(patch, case.large)
        states = tiled(states, lattice)
        # The first and the last patch; where the lattice has ends, they are at both.
        origins = Tiling(lattice, sides).origins()[[0, -1]]
        if patch.boundary == "frozen":
            cut = gather(states, origins - patch.margin, patch.window, system.periodic)
            moving: tuple[Any, ...] = (..., *patch.moving)
            rest = self.call("rest", states, cut[moving])
            if self.failed("rest"):
                return
            if rest is not None and np.shape(rest)[:2] != (len(states), 2):
                self.wrong.append(
                    f"rest returns shape {np.shape(rest)} for {len(states)} states with 2 patches "
                    "each: it should be (state, patch, quantity)"
                )
                return
        windows, around = cut_windows(system, states, origins, patch)
        keys = seeds(0, "check patches", index=len(windows))
        events = math.prod(sides) if case.events else None
        result = self.call(
            "evolve_patch", windows, patch, case.duration, keys, events, around=around
        )
        measured = self.call("observe_patch", patch.cut(windows))
        size = (len(windows), len(system.observables))
        self.check("observe_patch", measured, size)
        if self.failed("evolve_patch"):
            return
        if not isinstance(result, tuple) or len(result) != 2:
            self.wrong.append("evolve_patch does not return a pair (windows, elapsed times)")
            return
        after, elapsed = result
        timed = self.check("evolve_patch (elapsed times)", elapsed, (len(windows),))
        if not self.check("evolve_patch", after, windows.shape, system.dtype):
            return
        frozen = _frozen_sites(patch, around.outside)
        if (np.moveaxis(after != windows, 1, -1) & frozen[..., None]).any():
            self.wrong.append(
                "evolve_patch changes the frozen halo: only the part of a window that "
                "patch.moving cuts out evolves"
            )
        if timed:
            arguments = windows[-1:], patch, case.duration, keys[-1:], events, last(around)
            self.check_alone("evolve_patch", result, *arguments)
        increment = self.call("observable_increment", windows, after, patch, around)
        if self.check("observable_increment", increment, size) and not self.wrong:
            moved = Moved(states, origins, patch, windows, after, around)
            with suppress(FailedError):
                broken = broken_identity(system, moved, self.measure)
                self.wrong += [broken] if broken else []
            if system.knows_rates and not self.wrong:
                with suppress(FailedError):
                    check_rates(self, moved, case.duration)

    def _check_labels(self) -> None:
        """Read the labels as figures do, at the very end of a study."""
        from matplotlib.mathtext import MathTextParser

        for name, text in self.system.labels.items():
            try:
                MathTextParser("path").parse(text)
            except ValueError as error:
                self.wrong.append(f"the label of {name} cannot be drawn: {error}")


def _frozen_sites(patch: PatchGeometry, outside: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Sites of windows that must not change; what lies beyond the ends of a lattice may.

    Args:
        patch: Geometry of the windows.
        outside: Sites beyond the ends, [batch, dimension, 2].

    Returns:
        Shape [batch, *patch.window], or [1, *patch.window] where nothing lies beyond an end.
    """
    frozen = np.ones((1 if outside is None else len(outside), *patch.window), dtype=bool)
    moving: tuple[Any, ...] = (..., *patch.moving)
    frozen[moving] = False
    for window, ends in zip(frozen, () if outside is None else outside, strict=False):
        for axis, (low, high) in enumerate(ends):
            along = np.moveaxis(window, axis, 0)
            along[:low] = False
            along[len(along) - high :] = False
    return frozen
