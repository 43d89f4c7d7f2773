"""How well the observables' future is told from z: by the number of variables, over each lag."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.worth_fit import DriftFits

__all__ = ["ForecastScores", "score_forecasts"]

Floats = NDArray[np.float64]
Fits = Callable[[tuple[str, ...], tuple[str, ...]], tuple[Floats, Floats]]

# Variables that are added one after the other at most.
MOST = 4


@dataclass(frozen=True, kw_only=True)
class ForecastScores:
    """Cross-validated scores of growing sets of variables.

    Attributes:
        observables: Names of the observables, whose rates of change are told.
        elapsed: Time of each lag, shape [lag].
        order: Variables and candidates as they are added, the one that tells most first.
        gain: Mean square of the rates that the first 0, 1, 2, ... of them explain beyond the
            observables, over the variance of the rates that the observables explain, shape [lag,
            1 + added, observable]; NaN where the observables explain none.
        standard_error: Its standard error over groups.
    """

    observables: tuple[str, ...]
    elapsed: Floats
    order: tuple[str, ...]
    gain: Floats
    standard_error: Floats

    def summary(self) -> dict[str, Any]:
        """Return what is reported, as plain Python values."""

        def named(values: Floats) -> dict[str, list[list[float]]]:
            return {name: values[..., k].tolist() for k, name in enumerate(self.observables)}

        return {
            "order": list(self.order),
            "elapsed": self.elapsed.tolist(),
            "gain": named(self.gain),
            "standard_error": named(self.standard_error),
        }


def score_forecasts(
    observables: Mapping[str, Floats],
    extra: Mapping[str, Floats],
    *,
    conditions: Floats,
    increments: Sequence[Floats],
    elapsed: Sequence[Floats],
    group: NDArray[np.int64],
    patches: int = 1,
    seed: int = 0,
) -> ForecastScores:
    """Score variables by how well the rates of change are predicted from them, lag by lag.

    Fits and gains are those of `judge_variables`. Variables are added one after the other, that
    which gains most in the mean over lags and observables first: so the score against their number
    is the best that so many of them reach, one step at a time.

    Args:
        observables: The observables of the snapshots, each of shape [sample].
        extra: Closure variables and candidates.
        conditions: Shape [sample, condition].
        increments: What is predicted, of each lag, shape [sample, observable].
        elapsed: Its time, of each lag, shape [sample]; that of all patches together.
        group: Group of each snapshot, shape [sample].
        patches: Number of patches whose times are added in `elapsed`.
        seed: Seed of the division of the groups.

    Raises:
        Unavailable: If there are too few groups, or the observables explain no rate at any lag.

    Source: cross-validated scores of slow variables, McGibbon and Pande, J. Chem. Phys. 142, 124105
    (2015), with the error of a regression on the observables' future in place of a variational one.
    """
    fits = [
        DriftFits.of(
            observables,
            extra,
            conditions=conditions,
            increment=increment,
            elapsed=time,
            group=group,
            seed=seed,
        )
        for increment, time in zip(increments, elapsed, strict=True)
    ]

    def mean(names: tuple[str, ...]) -> float:
        gains = np.stack([fit.gain((), names)[0] for fit in fits])
        return float(np.nanmean(gains)) if np.isfinite(gains).any() else -np.inf

    order: tuple[str, ...] = ()
    while len(order) < min(MOST, len(extra)):
        found = {name: mean((*order, name)) for name in extra if name not in order}
        best = max(found, key=lambda name: found[name])
        if not np.isfinite(found[best]):
            break
        order = (*order, best)
    if not order:
        raise Unavailable(
            "the observables explain no variance of the rates beyond the noise: raise "
            "upsample.snapshots"
        )
    scores = [[fit.gain((), order[:number]) for number in range(len(order) + 1)] for fit in fits]
    gain, error = np.moveaxis(np.array(scores), 2, 0)
    return ForecastScores(
        observables=tuple(observables),
        elapsed=np.array([float(time.mean()) / patches for time in elapsed]),
        order=order,
        gain=gain,
        standard_error=error,
    )
