"""The sampling error: what an exact model would score against a finite reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable

__all__ = ["SamplingError", "sampling_error"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SamplingError:
    """Distribution over bootstrap resamples of the errors that an exact model would show.

    Where the reference's mean or spread vanishes there is no relative error, and all values of that
    kind are NaN.

    Attributes:
        mean: `mean_error` of each resample, shape [resample].
        spread: `spread_error` of each resample, shape [resample].
        mean_by_initial: Expected error of the mean at each initial value, shape [initial].
        spread_by_initial: Expected error of the spread at each initial value, shape [initial].
    """

    mean: Floats
    spread: Floats
    mean_by_initial: Floats
    spread_by_initial: Floats

    def summary(self) -> dict[str, float]:
        """Return expectation and 5 % and 95 % quantiles as plain Python numbers."""
        figures: dict[str, float] = {}
        for name, values in (("mean", self.mean), ("spread", self.spread)):
            figures[name] = float(values.mean())
            figures[f"{name}_q05"] = float(np.quantile(values, 0.05))
            figures[f"{name}_q95"] = float(np.quantile(values, 0.95))
        return figures

    def undefined(self) -> dict[str, str]:
        """Return why parts of the summary are NaN, by their names."""
        reasons = {
            "mean": (self.mean, "a mean reference trajectory is zero throughout"),
            "spread": (
                self.spread,
                "the reference trajectories of an initial macrostate do not differ from each other",
            ),
        }
        return {
            f"{name}{quantile}": reason
            for name, (values, reason) in reasons.items()
            if np.isnan(values).any()
            for quantile in ("", "_q05", "_q95")
        }


def sampling_error(
    reference: ArrayLike,
    *,
    resamples: int = 200,
    seed: int = 0,
    prediction_replicas: int | None = None,
) -> SamplingError:
    """Bootstrap the error that statistical noise alone puts between reference and exact model.

    Whole replicas are resampled, so that correlation in time and between observables is kept:
    with multinomial weights w (sum 1), mean = w x and variance = w x^2 - (w x)^2, both matrix
    products. The resampled mean is compared with the full sample's, whose expected squared
    deviation is var/R; the factor R/(R-1) that the plug-in variance lacks is put back.

    Args:
        reference: Trajectories, shape [initial, replica, time, observable].
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
        prediction_replicas: Number of replicas of which the prediction's mean is made. None: the
            exact model's mean is known exactly. With a number, the prediction's own noise is
            drawn and added, which raises the expected error by the factor 1 + R/this number.

    Returns:
        The distribution of both errors.

    Raises:
        ValueError: If the shape is not as described.
        Unavailable: If there are fewer than two replicas or a value is not finite.
    """
    values = np.asarray(reference, np.float64)
    if values.ndim != 4:
        raise ValueError(
            f"expected a reference [initial, replica, time, observable], got shape {values.shape}"
        )
    if values.shape[1] < 2:
        raise Unavailable("resampling needs at least two reference trajectories")
    if not np.isfinite(values).all():
        raise Unavailable("the reference holds values that are not finite")
    initials, replicas = values.shape[:2]
    rng = np.random.default_rng(seed)
    errors = np.empty((2, initials, resamples))
    for i in range(initials):
        sample = values[i].reshape(replicas, -1)
        mean = sample.mean(axis=0)
        std = sample.std(axis=0)
        std[(sample == sample[0]).all(axis=0)] = 0.0
        # Relative to nothing: NaN.
        norms = [np.square(v).sum() or np.nan for v in (mean, std)]
        # Centred first: w x^2 - (w x)^2 of raw values would cancel.
        deviation = sample - mean
        square = np.square(deviation)
        shift, spread = _resample(deviation, square, replicas, resamples, rng)
        if prediction_replicas is not None:
            other, other_spread = _resample(deviation, square, prediction_replicas, resamples, rng)
            shift -= other
            spread -= other_spread
        else:
            spread -= std
        errors[0, i] = np.square(shift).sum(axis=1) / norms[0]
        errors[1, i] = np.square(spread).sum(axis=1) / norms[1]
    errors *= replicas / (replicas - 1)
    by_initial = errors.mean(axis=2)
    return SamplingError(
        mean=errors[0].mean(axis=0),
        spread=errors[1].mean(axis=0),
        mean_by_initial=by_initial[0],
        spread_by_initial=by_initial[1],
    )


def _resample(
    deviation: Floats, square: Floats, draws: int, resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Shift of the mean and standard deviation of each resample, shape [resample, component]."""
    replicas = len(deviation)
    weights = rng.multinomial(draws, np.full(replicas, 1 / replicas), size=resamples) / draws
    shift = weights @ deviation
    variance = weights @ square - np.square(shift)
    # The sample's variance over `draws` values, unbiased for that of the resampled population.
    variance *= draws / max(draws - 1, 1)
    return shift, np.sqrt(np.maximum(variance, 0))
