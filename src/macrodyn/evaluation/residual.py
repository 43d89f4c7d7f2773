"""Residual of the increments by snapshot age: does the learned drift hold at every age?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable

__all__ = ["FEWEST_GROUPS", "AgeResidual", "residual_by_age", "sums_by_group"]

Floats = NDArray[np.float64]

FEWEST_GROUPS = 4
"""Fewer, and the square of a residual in standard errors has no expectation."""


@dataclass(frozen=True, kw_only=True)
class AgeResidual:
    """Mean residual of the increments at each age of the snapshots.

    Attributes:
        age: Ages, increasing, shape [age].
        residual: Mean of increment/elapsed - mu(z), shape [age, variable], units of the variable
            per unit of time.
        standard_error: Its standard error by group, of the same shape.
        groups: Groups with snapshots of each age, shape [age].
        fitted: Whether the drift was fitted to these very snapshots.
    """

    age: Floats
    residual: Floats
    standard_error: Floats
    groups: NDArray[np.int64]
    fitted: bool

    @property
    def degrees_of_freedom(self) -> int:
        """Of each variable: the ages, less one where a fit makes the mean residual vanish."""
        return len(self.age) - int(self.fitted)

    @property
    def chi2_per_degree(self) -> Floats:
        """Squared residual in standard errors, per degree of freedom, shape [variable].

        NaN where `undefined` says why. 1 is expected if the drift is right at every age.
        """
        if self.groups.min() < FEWEST_GROUPS or self.degrees_of_freedom < 1:
            return np.full(self.residual.shape[1], np.nan)
        groups = self.groups[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            square = np.square(self.residual / self.standard_error)
        square[self.standard_error == 0] = np.nan
        # The error is estimated: a squared Student t of G - 1 degrees has the mean (G-1)/(G-3).
        square *= (groups - 3) / (groups - 1)
        return np.asarray(square.sum(axis=0) / self.degrees_of_freedom)

    def undefined(self, names: Sequence[str]) -> dict[str, str]:
        """Return why values of the summary are NaN, by dotted path.

        Args:
            names: Names of the variables.
        """
        if self.degrees_of_freedom < 1:
            reason = "snapshots of one age leave no degree of freedom: give more simulate.times"
        elif self.groups.min() < FEWEST_GROUPS:
            reason = (
                f"errors by group need {FEWEST_GROUPS} groups, there are {self.groups.min()}: "
                "raise simulate.groups"
            )
        else:
            reason = "at some age its increments do not differ between groups"
        unknown = [n for n, v in zip(names, self.chi2_per_degree, strict=True) if np.isnan(v)]
        reasons = {f"chi2_per_degree.{name}": reason for name in unknown}
        return reasons | ({"chi2_per_degree_all": reason} if len(unknown) == len(names) else {})

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what is reported, as plain Python values.

        Args:
            names: Names of the variables.
        """

        def by_name(values: Floats) -> dict[str, Any]:
            return dict(zip(names, np.moveaxis(values, -1, 0).tolist(), strict=True))

        each = self.chi2_per_degree
        known = each[np.isfinite(each)]
        return {
            "age": self.age.tolist(),
            "residual": by_name(self.residual),
            "standard_error": by_name(self.standard_error),
            "chi2_per_degree": by_name(each),
            "chi2_per_degree_all": float(known.mean()) if len(known) else float("nan"),
            "degrees_of_freedom": self.degrees_of_freedom,
            "groups": int(self.groups.min()),
        }


def residual_by_age(
    increment: ArrayLike,
    elapsed: ArrayLike,
    drift: ArrayLike,
    *,
    age: ArrayLike,
    group: ArrayLike,
    fitted: bool,
) -> AgeResidual:
    r"""Average what the drift leaves of the increments, for each age of the snapshots.

    At age a, over snapshots s of that age and their patches p,

        R_a = sum_sp (dz_sp - tau_sp mu(z_s)) / sum_sp tau_sp,
        chi^2 / degree = 1/nu sum_a (G-3)/(G-1) (R_a / error_a)^2,

    the mean of dz/tau - mu(z) where all elapsed times tau are equal. If z is closed, the drift is
    a function of z alone and R_a vanishes at every age. What z leaves out, and what changes with
    the age of a snapshot, shows as a residual of one sign at young ages and of the other at old
    ones, however well mu is fitted on average.

    Snapshots of one group began from one macrostate and are not independent: errors are those of a
    ratio estimator with the G groups as units (cluster-robust). Residuals of two ages may be
    correlated; this leaves the expectation of chi^2 as it is.

    A fitted drift has absorbed part of what it was fitted to: its mean residual over all ages is
    near 0, which takes one degree of freedom, nu = ages - 1. A flexible drift absorbs some more, so
    values somewhat below 1 are no surprise; groups that were held out of the fit have nu = ages.

    Args:
        increment: Increments dz, shape [sample, patch, variable].
        elapsed: Their times tau, shape [sample, patch].
        drift: The drift mu at the samples, shape [sample, variable].
        age: Age of each snapshot, shape [sample].
        group: Group of each snapshot, shape [sample].
        fitted: Whether the drift was fitted to these very snapshots.

    Returns:
        Residuals, errors and chi^2.

    Raises:
        Unavailable: If no age has snapshots of two groups.

    Source: Friedrich et al., Phys. Rep. 506, 87 (2011), for conditional moments; Liang and Zeger,
        Biometrika 73, 13 (1986), for errors by group.
    """
    ages, total, time = sums_by_group(increment, elapsed, drift, value=age, group=group)
    groups = (time > 0).sum(axis=1)
    kept = groups >= 2
    if not kept.any():
        raise Unavailable(
            "errors by group need snapshots of two groups or more at one age: raise simulate.groups"
        )
    total, time, count = total[kept], time[kept][..., None], groups[kept]
    residual = total.sum(axis=1) / time.sum(axis=1)
    influence = (total - time * residual[:, None]) / time.sum(axis=1, keepdims=True)
    bessel = (count / (count - 1))[:, None]
    return AgeResidual(
        age=ages[kept],
        residual=residual,
        standard_error=np.sqrt(bessel * np.square(influence).sum(axis=1)),
        groups=count,
        fitted=fitted,
    )


def sums_by_group(
    increment: ArrayLike,
    elapsed: ArrayLike,
    drift: ArrayLike,
    *,
    value: ArrayLike,
    group: ArrayLike,
) -> tuple[Floats, Floats, Floats]:
    """Add up what the drift leaves of the increments, for each value and group of the snapshots.

    Args:
        increment: Increments dz, shape [sample, patch, variable].
        elapsed: Their times tau, shape [sample, patch].
        drift: The drift mu at the samples, shape [sample, variable].
        value: What tells the snapshots apart, such as their age, shape [sample].
        group: Group of each snapshot, shape [sample].

    Returns:
        The values, increasing; sums of dz - tau mu, shape [value, group, variable]; and of tau,
        shape [value, group], 0 where a group has no such snapshot.
    """
    dz, tau = np.asarray(increment, np.float64), np.asarray(elapsed, np.float64)
    mu = np.asarray(drift, np.float64)
    if dz.ndim != 3 or tau.shape != dz.shape[:2] or mu.shape != (len(dz), dz.shape[2]):
        raise ValueError(
            "expected increments [sample, patch, variable], elapsed [sample, patch] and drift "
            f"[sample, variable], got shapes {dz.shape}, {tau.shape} and {mu.shape}"
        )
    waited = tau.sum(axis=1)
    left = dz.sum(axis=1) - waited[:, None] * mu
    values, at = np.unique(np.asarray(value, np.float64), return_inverse=True)
    labels, of = np.unique(np.asarray(group), return_inverse=True)
    cells = (len(values), len(labels))
    place = np.ravel_multi_index((at.ravel(), of.ravel()), cells)

    def summed(column: Floats) -> Floats:
        sums = np.bincount(place, column, minlength=cells[0] * cells[1])
        return np.asarray(sums.reshape(cells), np.float64)

    return values, np.stack([summed(column) for column in left.T], axis=-1), summed(waited)
