"""What sampling costs, in microscopic site updates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Durations are added up exactly, as whole numbers of a tick of which every float is a multiple: the
# sum then depends neither on the order, nor on how the work is cut, nor on the unit of time.
_MANTISSA = 53
_TICKS_EXPONENT = 1074 + _MANTISSA


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
        return self._ticks / 2**_TICKS_EXPONENT

    def add(self, sites: int, duration: ArrayLike) -> None:
        """Count ``sites`` sites carried through a duration, or through each of several.

        What took for ever (events that can never happen) has cost nothing.
        """
        durations = np.asarray(duration, dtype=np.float64)
        self._ticks += int(sites) * _exact_sum(durations[np.isfinite(durations)])

    def state(self) -> int:
        """Return what a checkpoint must keep."""
        return self._ticks

    def restore(self, state: int) -> None:
        """Continue from what `state` gave."""
        self._ticks = state


def _exact_sum(values: NDArray[np.float64]) -> int:
    """Sum in ticks, without any rounding."""
    fraction, exponent = np.frexp(values)
    mantissa = np.ldexp(fraction, _MANTISSA).astype(np.int64)
    total = 0
    for power in np.unique(exponent):
        part = mantissa[exponent == power]
        # In halves, whose sums fit into 64 bits.
        high, low = int((part >> 32).sum()), int((part & 0xFFFFFFFF).sum())
        total += ((high << 32) + low) << (int(power) - _MANTISSA + _TICKS_EXPONENT)
    return total
