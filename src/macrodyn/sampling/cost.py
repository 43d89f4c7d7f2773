"""What sampling costs, in microscopic site updates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# Durations are added up as whole numbers of this part of the unit of time: the sum then does not
# depend on the order, nor on how the work is cut.
_TICKS = 2**30


class Cost:
    """Adds up the site updates of a stage.

    A site update is one site carried through one unit of the system's time (for Glauber dynamics:
    one attempt), so that costs compare across algorithms.
    """

    def __init__(self) -> None:
        self._ticks = 0

    @property
    def site_updates(self) -> float:
        """Site updates so far."""
        return self._ticks / _TICKS

    def add(self, sites: int, duration: ArrayLike) -> None:
        """Count ``sites`` sites carried through a duration, or through each of several.

        What took for ever (events that can never happen) has cost nothing.
        """
        durations = np.asarray(duration, dtype=np.float64)
        ticks = np.rint(np.where(np.isfinite(durations), durations, 0.0) * _TICKS)
        self._ticks += int(sites) * int(ticks.astype(np.int64).sum())

    def state(self) -> int:
        """Return what a checkpoint must keep."""
        return self._ticks

    def restore(self, state: int) -> None:
        """Continue from what `state` gave."""
        self._ticks = state
