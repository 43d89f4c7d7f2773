"""Finite-size scaling: exponents from how moments of an order parameter go with the size.

At the critical point <|m|> ~ L^(-beta/nu), chi = n / T (<m^2> - <|m|>^2) ~ L^(gamma/nu) and
dU/dT ~ L^(1/nu), with n = L^d sites; each is the slope of a line in logarithms.

Source: Privman (ed.), Finite Size Scaling and Numerical Simulation of Statistical Systems (1990).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXPONENTS = ("beta_over_nu", "gamma_over_nu", "one_over_nu")


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Moments of the order parameter of one size at one temperature.

    Attributes:
        length: Side L of the lattice.
        sites: Number of sites n.
        temperature: T.
        absolute: <|m|>, and its error.
        variance: <m^2> - <|m|>^2, and its error.
        binder: U, and its error.
    """

    length: float
    sites: int
    temperature: float
    absolute: tuple[float, float]
    variance: tuple[float, float]
    binder: tuple[float, float]

    @property
    def susceptibility(self) -> tuple[float, float]:
        """Susceptibility chi, and its error."""
        scale = self.sites / self.temperature
        return scale * self.variance[0], scale * self.variance[1]


@dataclass(frozen=True)
class Slope:
    """A fitted exponent, with its standard error."""

    value: float
    error: float


def exponents(points: Sequence[Moments], at: float) -> dict[str, Slope]:
    """Fit the exponents of one source of moments.

    Args:
        points: Moments of several sizes and temperatures.
        at: Temperature at which <|m|> and chi are read, one of theirs.

    Returns:
        By names of `EXPONENTS`; those that two sizes, or two temperatures, do not tell are left
        out.
    """
    found: dict[str, Slope] = {}
    here = sorted((p for p in points if math.isclose(p.temperature, at)), key=lambda p: p.length)
    if len({p.length for p in here}) > 1:
        lengths = np.array([p.length for p in here])
        slope = _line(lengths, [p.absolute for p in here])
        if slope:
            found["beta_over_nu"] = Slope(-slope.value, slope.error)
        slope = _line(lengths, [p.susceptibility for p in here])
        if slope:
            found["gamma_over_nu"] = slope
    by_length: dict[float, list[Moments]] = {}
    for point in points:
        by_length.setdefault(point.length, []).append(point)
    slopes = {length: _binder_slope(of) for length, of in sorted(by_length.items())}
    known = {length: slope for length, slope in slopes.items() if slope is not None}
    if len(known) > 1:
        slope = _line(
            np.array(list(known)), [(-slope.value, slope.error) for slope in known.values()]
        )
        if slope:
            found["one_over_nu"] = slope
    return found


def _binder_slope(points: Sequence[Moments]) -> Slope | None:
    """Slope of the Binder cumulant with temperature, by a line through all of them."""
    temperature = np.array([p.temperature for p in points])
    if len(np.unique(temperature)) < 2:
        return None
    value, error = np.array([p.binder for p in points]).T
    return _fit(temperature, value, error)


def _line(lengths: Floats, values: Sequence[tuple[float, float]]) -> Slope | None:
    """Slope of log value with log L; None where a value is not positive."""
    value, error = np.array(values, np.float64).T
    if not (value > 0).all():
        return None
    return _fit(np.log(lengths), np.log(value), error / value)


def _fit(x: Floats, y: Floats, error: Floats) -> Slope:
    """Least squares weighted by the errors; equal weights where one of them is not known."""
    known = bool((error > 0).all() and np.isfinite(error).all())
    weight = 1.0 / error**2 if known else np.ones_like(y)
    mean = (weight * x).sum() / weight.sum()
    spread = (weight * (x - mean) ** 2).sum()
    slope = (weight * (x - mean) * y).sum() / spread
    if known:
        return Slope(float(slope), float(1.0 / math.sqrt(spread)))
    rest = y - slope * x
    free = max(len(y) - 2, 1)
    return Slope(float(slope), float(math.sqrt(rest.var() * len(y) / free / spread)))
