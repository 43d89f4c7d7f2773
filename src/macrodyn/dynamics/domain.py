"""Where a model has seen data, and how far a prediction may go beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from macrodyn.dynamics.data import TransitionData

# How far a variable without a bound may go beyond the data, on either side, over their range.
MARGIN = 0.5


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Range of the data that a model was trained and validated on.

    Attributes:
        low: Lowest value of each variable z, length d.
        high: Highest value of each variable, length d.
        condition_low: Lowest value of each condition, length c.
        condition_high: Highest value of each condition, length c.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    condition_low: tuple[float, ...] = ()
    condition_high: tuple[float, ...] = ()

    @classmethod
    def of(cls, *data: TransitionData) -> Domain:
        """The range of the states and conditions of some transitions."""
        z = torch.cat([part.z.cpu() for part in data])
        conditions = torch.cat([part.conditions.cpu() for part in data])
        return cls(
            low=tuple(z.amin(0).tolist()),
            high=tuple(z.amax(0).tolist()),
            condition_low=_as_written(conditions.amin(0)),
            condition_high=_as_written(conditions.amax(0)),
        )

    def limits(
        self, bounds: Sequence[tuple[float, float]], initial: ArrayLike
    ) -> list[tuple[float, float]]:
        """Bounds that keep a prediction where the model means something.

        Far outside of its data drift and diffusion are guesses, and a trajectory that wanders off
        must not run away. A variable keeps the bounds that it has; an open side ends at the range
        of the data, wider by half of it (`MARGIN`), or at the furthest initial state, if that
        lies beyond.

        Args:
            bounds: (low, high) of each variable, infinite where a side is open, length d.
            initial: Initial states of the prediction, shape [..., d].

        Returns:
            (low, high) of each variable, all finite.

        Raises:
            ValueError: If a variable with an open side has the same value in all of the data.
        """
        starts = np.asarray(initial, np.float64).reshape(-1, len(self.low))
        furthest = zip(starts.min(axis=0).tolist(), starts.max(axis=0).tolist(), strict=True)
        limits = []
        for i, ((low, high), start) in enumerate(zip(bounds, furthest, strict=True)):
            margin = MARGIN * (self.high[i] - self.low[i])
            if not margin > 0 and not (math.isfinite(low) and math.isfinite(high)):
                raise ValueError(
                    f"Variable {i} has the same value, {self.low[i]}, in all of the training data: "
                    "nothing says how far it may go. Sample more initial macrostates or times"
                )
            limits.append(
                (
                    low if math.isfinite(low) else min(self.low[i] - margin, start[0]),
                    high if math.isfinite(high) else max(self.high[i] + margin, start[1]),
                )
            )
        return limits

    def outside(self, z: ArrayLike) -> NDArray[np.bool_]:
        """Which entries of states lie outside of the data's range, or are not finite.

        Args:
            z: States, shape [..., d].

        Returns:
            The same shape.
        """
        return _outside(z, self.low, self.high)

    def conditions_outside(
        self, names: Sequence[str], values: Sequence[float]
    ) -> dict[str, dict[str, float]]:
        """Conditions that lie outside of the sampled values.

        Args:
            names: Names of the conditions, in the model's order, length c.
            values: Values of the conditions, length c.

        Returns:
            Of each such condition, by name, its `value` and the sampled values' `low` and `high`.
        """
        outside = _outside(values, self.condition_low, self.condition_high)
        return {
            name: {
                "value": float(values[i]),
                "low": self.condition_low[i],
                "high": self.condition_high[i],
            }
            for i, name in enumerate(names)
            if outside[i]
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, of which `from_dict` makes the domain again."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Domain:
        """The domain that `as_dict` described."""
        return cls(**{name: tuple(values) for name, values in stored.items()})


def _as_written(values: Tensor) -> tuple[float, ...]:
    """The shortest decimals of the values: 2.3, not what single precision makes of it."""
    return tuple(float(str(value)) for value in values.numpy())


def _outside(
    values: ArrayLike, low: tuple[float, ...], high: tuple[float, ...]
) -> NDArray[np.bool_]:
    # In the precision of the networks, in which the range is known.
    array, least, most = (np.asarray(v, np.float32) for v in (values, low, high))
    # Not-a-number compares as false: such a state is nowhere.
    inside: NDArray[np.bool_] = (array >= least) & (array <= most)
    return ~inside
