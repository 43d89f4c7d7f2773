"""Learned drift and diffusion against exact ones, where the system knows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.lattice import Shape
from macrodyn.systems import System

__all__ = ["QUANTILES", "ExactComparison", "compare_with_exact", "exact_moments"]

Floats = NDArray[np.float64]
Moments = tuple[Floats, Floats]

QUANTILES = (0.005, 0.995)
"""Data is where every variable lies between these quantiles of the samples."""
GRID_POINTS = 201


@dataclass(frozen=True, kw_only=True)
class ExactComparison:
    """Learned and exact drift and diffusion of the observables at the same points.

    Attributes:
        names: Names of the observables.
        on_grid: Whether the points are an even grid of the first observable; else samples.
        first: First observable at the points, shape [point].
        learned_drift: Shape [member, point, observable].
        learned_diffusion: Diagonal of Sigma, shape [member, point, observable].
        drift: Exact drift b, shape [point, observable]; NaN throughout where it is not known.
        diffusion: Exact diagonal D, shape [point, observable]; NaN throughout where not known.
    """

    names: tuple[str, ...]
    on_grid: bool
    first: Floats
    learned_drift: Floats
    learned_diffusion: Floats
    drift: Floats
    diffusion: Floats

    @property
    def drift_deviation(self) -> Floats:
        """(mu - b) / max |b|, the ensemble's mean last, shape [member + 1, point, observable]."""
        return self._drift_over(np.abs(self.drift).max(axis=0))

    @property
    def diffusion_deviation(self) -> Floats:
        """Sigma_ii / D_ii - 1, the ensemble's mean last, shape [member + 1, point, observable]."""
        return _with_mean(self.learned_diffusion) / _positive(self.diffusion) - 1.0

    def _drift_over(self, scale: Floats) -> Floats:
        return (_with_mean(self.learned_drift) - self.drift) / _positive(scale)

    def summary(self) -> dict[str, Any]:
        """Return the figures that are reported, as plain Python values.

        Drift: `max` is max |mu - b| / max |b| and `rms` is rms(mu - b) / rms(b), over the points.
        Diffusion: `max` and `rms` of |Sigma_ii / D_ii - 1|. Each of every member, their mean, and
        of the ensemble's mean function. Observables without an exact value are left out; None for
        those whose exact value vanishes, so that nothing is relative to it (see `undefined`).
        """
        size = np.sqrt(np.square(self.drift).mean(axis=0))
        by_kind = {
            "drift": (self.drift_deviation, self._drift_over(size)),
            "diffusion": (self.diffusion_deviation, self.diffusion_deviation),
        }
        result: dict[str, Any] = {
            "where": "grid" if self.on_grid else "samples",
            "points": len(self.first),
            "quantiles": list(QUANTILES),
        }
        for kind, (relative_to_max, relative_to_rms) in by_kind.items():
            result[kind] = {
                name: {
                    "max": _figures(np.abs(relative_to_max[..., k]).max(axis=1)),
                    "rms": _figures(np.sqrt(np.square(relative_to_rms[..., k]).mean(axis=1))),
                }
                for k, name in enumerate(self.names)
                if np.isfinite(relative_to_max[..., k]).all()
            }
            result[kind] |= dict.fromkeys(self._vanishing(kind))
        return result

    def undefined(self) -> dict[str, str]:
        """Return why figures of the summary are None, by dotted path."""
        reasons = {
            "drift": "the exact drift vanishes wherever there is data",
            "diffusion": "the exact diffusion vanishes at some of the points",
        }
        return {
            f"{kind}.{name}": reason
            for kind, reason in reasons.items()
            for name in self._vanishing(kind)
        }

    def _vanishing(self, kind: str) -> list[str]:
        """Observables whose exact value is known, but too small to divide by."""
        exact = {"drift": np.abs(self.drift).max(axis=0), "diffusion": self.diffusion.min(axis=0)}
        return [
            name
            for name, least in zip(self.names, exact[kind], strict=True)
            if not least > 0 and np.isfinite(least)
        ]


def exact_moments(
    system: System,
    observables: ArrayLike,
    shape: Shape,
    *,
    conditions: ArrayLike | None = None,
    condition_names: Sequence[str] = (),
) -> Moments | None:
    """Ask a system for the exact moments at samples that may differ in its parameters.

    Args:
        system: The system.
        observables: Shape [sample, observable].
        shape: Sites along each axis of the whole system.
        conditions: Value of each condition, shape [sample, condition].
        condition_names: Names of the parameters that the conditions are.

    Returns:
        Drift [sample, observable] and covariance rate [sample, observable, observable]; a component
        that is unknown at one sample is NaN at all. None if the system knows nothing.
    """
    values = np.asarray(observables, np.float64)
    d = values.shape[1]
    drift, covariance = np.empty((len(values), d)), np.empty((len(values), d, d))
    given = np.zeros((len(values), 0)) if conditions is None else np.asarray(conditions, np.float64)
    kinds, which = np.unique(given, axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        rows = which.ravel() == number
        changes = dict(zip(condition_names, kind.tolist(), strict=True))
        here = system.with_parameters(**changes) if changes else system
        moments = here.exact_moments(values[rows], shape)
        if moments is None:
            return None
        drift[rows], covariance[rows] = moments
    drift[:, np.isnan(drift).any(axis=0)] = np.nan
    covariance[:, np.isnan(covariance).any(axis=0)] = np.nan
    known = np.isfinite(drift).any() or np.isfinite(covariance).any()
    return (drift, covariance) if known else None


def compare_with_exact(
    z: ArrayLike,
    names: Sequence[str],
    learned: Callable[[Floats], Moments],
    exact: Callable[[Floats], Moments | None],
    *,
    grid: bool | None = None,
) -> ExactComparison | None:
    """Compare learned with exact drift and diffusion where there is data.

    There is data where every variable lies between its 2.5 % and 97.5 % quantile over the samples.
    With a single variable the points are an even grid over that range, so that every value
    counts alike; otherwise they are the samples in it, as the learned functions depend on variables
    that only the samples give.

    Args:
        z: Samples, shape [sample, variable], observables first.
        names: Names of the observables.
        learned: Drift [member, point, variable] and covariance rate [member, point, variable,
            variable] at points [point, variable].
        exact: Drift [point, observable] and covariance rate [point, observable, observable] at
            points [point, variable], or None.
        grid: Whether to use a grid; None: if there is one variable alone.

    Returns:
        The comparison; None if nothing exact is known.

    Raises:
        ValueError: If a grid is asked for and there are several variables.
    """
    samples = np.asarray(z, np.float64)
    if grid is None:
        grid = samples.shape[1] == 1
    elif grid and samples.shape[1] > 1:
        raise ValueError(f"a grid needs one variable, there are {samples.shape[1]}: set grid=False")
    low, high = np.quantile(samples, QUANTILES, axis=0)
    if grid:
        points = np.linspace(low, high, GRID_POINTS)
    else:
        points = samples[((samples >= low) & (samples <= high)).all(axis=1)]
    moments = exact(points) if len(points) else None
    if moments is None:
        return None
    d = len(names)
    mu, sigma = learned(points)
    return ExactComparison(
        names=tuple(names),
        on_grid=grid,
        first=points[:, 0],
        learned_drift=np.asarray(mu, np.float64)[..., :d],
        learned_diffusion=np.einsum("epii->epi", np.asarray(sigma, np.float64))[..., :d],
        drift=moments[0],
        diffusion=np.einsum("pii->pi", moments[1]),
    )


def _with_mean(values: Floats) -> Floats:
    return np.concatenate([values, values.mean(axis=0, keepdims=True)])


def _positive(scale: Floats) -> Floats:
    """Where the exact value vanishes, no deviation is relative to it: NaN."""
    return np.where(scale > 0, scale, np.nan)


def _figures(values: Floats) -> dict[str, Any]:
    """Split figures of the members from that of the ensemble's mean, which comes last."""
    members = values[:-1]
    return {
        "members": members.tolist(),
        "mean": float(members.mean()),
        "ensemble": float(values[-1]),
    }
