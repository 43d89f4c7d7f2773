"""What dt and buffer cost in accuracy, estimated from pairs alone: noise, memory, boundary.

A drift learned from increments over dt errs in three ways, all of which the data show:

- *noise*: of the fit to N snapshots, sigma^2 p / N for p coefficients, sigma the scatter of
  increment / dt around the fit;
- *memory*: what z leaves out. Were z closed, the mean residual of increment / dt would vanish at
  every age of the snapshots; its mean square over ages, less its own noise, is what does not. The
  longer dt, the more of it is forgotten within a pair;
- *boundary*: the frozen surroundings, which reach further into the patch the longer dt. The drift
  with a buffer is compared with that of the widest buffer tried.

All are root mean squares over the snapshots, in units of the drift's own standard deviation, so
that they can be added and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.dynamics.regression import affordable_features, fitted, standardise

Floats = NDArray[np.float64]

# Of the drift's fit; lowered until there are 20 snapshots for each coefficient.
DEGREE = 5
# A boundary's error is smoother than the drift, and small: few coefficients show it best.
BOUNDARY_DEGREE = 2


@dataclass(frozen=True, kw_only=True)
class StepError:
    """Estimated errors of a drift that is learned from pairs of one dt and buffer.

    Attributes:
        dt: Physical time of a pair.
        buffer: Sites around the patch that evolve with it.
        noise: Relative error of the drift by noise, root mean square over the observables.
        memory: The same by what z leaves out.
        boundary: The same by the frozen surroundings; NaN where no wider buffer was tried.
    """

    dt: float
    buffer: int
    noise: float
    memory: float
    boundary: float

    @property
    def total(self) -> float:
        """All of them together."""
        return float(np.sqrt(np.nansum(np.square([self.noise, self.memory, self.boundary]))))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; None for an error that is not known."""
        values = {**asdict(self), "total": self.total}
        return {k: None if v != v else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> StepError:
        """Make the errors from what `as_dict` gave."""
        parts = ("noise", "memory", "boundary")
        errors = {k: float("nan") if stored[k] is None else float(stored[k]) for k in parts}
        return cls(dt=float(stored["dt"]), buffer=int(stored["buffer"]), **errors)


class StepPairs:
    """Snapshots whose increments over several dt, with several buffers, are compared.

    Args:
        z: Observables, and conditions, of the snapshots, shape [N, k].
        age: Age of each snapshot, shape [N].
        group: Group of each snapshot, shape [N].
        planned: Number of such snapshots that the drift will be learned from; a snapshot with
            more patches than these counts as so many more, as the noise of their mean is less.
    """

    def __init__(
        self, z: Floats, age: Floats, group: NDArray[np.int64], *, planned: float | None = None
    ) -> None:
        self._inputs = standardise(np.asarray(z, np.float64))[0]
        self._age, self._group = np.asarray(age), np.asarray(group)
        self._planned = planned or len(z)

    def errors(self, rate: Floats, widest: Floats | None, *, dt: float, buffer: int) -> StepError:
        """Estimate the errors of one dt and buffer.

        Args:
            rate: Increments, compensated where they can be, over dt, shape [N, observable].
            widest: The same snapshots' with the widest buffer; None if there is none to compare.
            dt: Physical time of a pair.
            buffer: Width of the buffer.
        """
        features = self._features(DEGREE)
        drift, residual = _fit(features, rate)
        count, p = features.shape
        spread = drift.var(axis=0)
        spread = np.where(spread > 0, spread, np.finfo(float).tiny)
        noise = np.square(residual).sum(axis=0) / max(count - p, 1) * p / self._planned
        boundary = np.full(rate.shape[1], np.nan)
        # Memory is the system's: what the surroundings do to it counts as their error.
        memory = self._memory(residual if widest is None else _fit(features, widest)[1])
        if widest is not None:
            few = self._features(BOUNDARY_DEGREE)
            apart, left = _fit(few, rate - widest)
            own = np.square(left).sum(axis=0) / max(count - few.shape[1], 1)
            own = own * few.shape[1] / count
            boundary = np.maximum(np.square(apart).mean(axis=0) - own, 0.0)

        def relative(squares: Floats) -> float:
            return float(np.sqrt((squares / spread).mean()))

        return StepError(
            dt=dt,
            buffer=buffer,
            noise=relative(noise),
            memory=relative(memory),
            boundary=relative(boundary),
        )

    def _features(self, degree: int) -> Floats:
        return affordable_features(self._inputs, degree, 20)[0]

    def _memory(self, residual: Floats) -> Floats:
        """Mean square over the ages of the mean residual, less its noise, [observable]."""
        total = np.zeros(residual.shape[1])
        for age in np.unique(self._age):
            here = self._age == age
            groups, of = np.unique(self._group[here], return_inverse=True)
            if len(groups) < 2:
                continue
            # Snapshots of a group share their small simulations: groups are the units.
            sums = np.stack([np.bincount(of, column) for column in residual[here].T], axis=1)
            counts = np.bincount(of)[:, None]
            mean = residual[here].mean(axis=0)
            left = sums - counts * mean
            error = np.square(left).sum(axis=0) / counts.sum() ** 2
            error *= len(groups) / (len(groups) - 1)
            total += here.mean() * (np.square(mean) - error)
        return np.maximum(total, 0.0)


def _fit(features: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Least squares: fitted values and residuals."""
    found = fitted(features, values)
    return found, values - found


def best(errors: Sequence[StepError]) -> StepError:
    """Choose the least total error; of equal ones the shorter dt and the narrower buffer."""
    return min(errors, key=lambda e: (e.total, e.dt, e.buffer))
