"""Try the methods of a system with forces on two small states, as the stages will call them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import seeds
from macrodyn.systems.force_system import ForceSystem
from macrodyn.systems.trial.calls import Calls
from macrodyn.systems.trial.case import ForceCase

# Relative deviation of a derivative from a difference, and of forces from those of all.
_TOLERANCE = 1e-3
_STEP = 1e-5


class ForceTrial(Calls):
    """Calls of a system's methods, and what was wrong with them.

    Attributes:
        system: The system.
        wrong: What was wrong, in order.
    """

    system: ForceSystem

    def run(self, case: ForceCase) -> list[str]:
        """Call the methods, but for those that need what another one failed to give.

        Args:
            case: What they are tried on.

        Returns:
            What was wrong with them.
        """
        shape, times = case.size, np.array(case.times)
        macrostates = np.array(case.macrostates, dtype=float)
        keys = seeds(0, "check", index=len(macrostates))
        states = self.call("initial_states", macrostates, shape, keys)
        full = (len(macrostates), int(np.prod(shape)), len(self.system.space.components))
        if not self.check("initial_states", states, full):
            return self.wrong
        moved = self.call("trajectories", states, times, keys)
        self.check("trajectories", moved, (full[0], len(times), *full[1:]))
        values = self.call("observe", states)
        if self.check("observe", values, (full[0], len(self.system.observables))):
            self._check_gradient(states)
        self._check_forces(states)
        self._check_complement(states)
        self._check_descriptors(states)
        return self.wrong

    def _check_gradient(self, states: NDArray[np.float64]) -> None:
        shape = (len(states), len(self.system.observables), *states.shape[1:])
        found = self.call("gradient", states)
        if not self.check("gradient", found, shape):
            return
        direction = self._direction(states)
        ahead, behind = (self.call("observe", states + s * direction) for s in (1, -1))
        expected = (ahead - behind) / 2
        given = np.einsum("nopc,npc->no", found, direction)
        if _differ(given, expected):
            self.note("gradient gives no derivatives of what observe gives")

    def _check_forces(self, states: NDArray[np.float64]) -> None:
        number, total = len(states), states[0].size
        every = np.tile(np.arange(total), (number, 1))
        whole = self.call("forces", states, every)
        if not self.check("forces", whole, every.shape):
            return
        rng = np.random.default_rng(0)
        chosen = np.stack([rng.choice(total, min(total, 5), replace=False) for _ in states])
        some = self.call("forces", states, chosen)
        if self.check("forces", some, chosen.shape) and _differ(
            some, np.take_along_axis(whole, chosen, axis=1)
        ):
            self.note("forces on some coordinates are other than on all")
        known = [self.system.space.components.index(name) for name in self.system.known]
        rates = self.call("known_rates", states)
        expected = whole.reshape(states.shape)[..., known]
        if self.check("known_rates", rates, expected.shape) and _differ(rates, expected):
            self.note(f"known_rates gives other than the forces on {self.system.known}")

    def _check_complement(self, states: NDArray[np.float64]) -> None:
        y = self.call("complement", states)
        if not self.check("complement", y, states.shape):
            return
        modes = np.random.default_rng(1).normal(size=(2, *states.shape[1:]))
        rows = self.call("pull_back", states, modes)
        if not self.check("pull_back", rows, (len(states), *modes.shape)):
            return
        direction = self._direction(states)
        ahead, behind = (self.call("complement", states + s * direction) for s in (1, -1))
        expected = np.einsum("npc,kpc->nk", ahead - behind, modes) / 2
        if _differ(np.einsum("nkpc,npc->nk", rows, direction), expected):
            self.note("pull_back gives no derivatives of what complement gives")
        projection = self.call("projection", states)
        if projection is not None and _differ(projection.of(modes), rows):
            self.note("projection is not what pull_back does")

    def _check_descriptors(self, states: NDArray[np.float64]) -> None:
        """Check their derivatives, and that no exchange of particles changes them."""
        names = self.system.descriptor_names
        if not names:
            return
        y = self.call("complement", states)
        values = self.call("descriptors", y)
        rows = self.call("descriptor_rows", y)
        shape = (len(states), len(names))
        if not self.check("descriptors", values, shape) or not self.check(
            "descriptor_rows", rows, (*shape, *states.shape[1:])
        ):
            return
        direction = self._direction(y)
        ahead, behind = (self.call("descriptors", y + s * direction) for s in (1, -1))
        if _differ(np.einsum("nkpc,npc->nk", rows, direction), (ahead - behind) / 2):
            self.note("descriptor_rows gives no derivatives of what descriptors gives")
        exchanged = y[:, np.random.default_rng(3).permutation(y.shape[1])]
        if _differ(self.call("descriptors", exchanged), values):
            self.note("descriptors change when particles are exchanged")

    def _direction(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        size = _STEP * np.maximum(np.abs(states).max(), 1.0)
        found: NDArray[np.float64] = size * np.random.default_rng(2).normal(size=states.shape)
        return found


def _differ(given: Any, expected: Any) -> bool:
    if not np.size(expected):
        return False
    scale = np.maximum(np.abs(expected).max(), 1e-300)
    return bool(np.abs(given - expected).max() > _TOLERANCE * scale)
