"""The covariance factor of a partial observation: K/m in theory, or estimated from data.

The increment averaged over m of K patches has a covariance that is `factor` times that of the
whole system's increment. With per-patch variance s2 and mean covariance c between two patches of
one snapshot,

    Var(mean of m) = s2 / m + (1 - 1/m) c,    factor(m) = Var(mean of m) / Var(mean of K),

which is K/m only where c = 0. Patches are correlated where the macroscopic variables leave
something out, or where the elapsed time is long enough for neighbours to influence each other.

The scatter S of the m increments around their mean has a factor of its own, K where c = 0:

    E S / (m - 1) = s2 - c,    factor within = (s2 - c) / Var(mean of K).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from macrodyn.dynamics.latents import LatentArrays
from macrodyn.dynamics.regression import DriftFit, fit_drift, polynomial_features, standardise

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CovarianceFactor:
    """The factor in theory and as estimated.

    Attributes:
        theory: K over the number of averaged patches.
        estimated: Mean over the observables of the estimated factor; nan where `reason` is set.
        standard_error: Bootstrap standard error of `estimated`.
        per_component: Estimated factor of each variable, shape [d].
        per_component_error: Bootstrap standard error of each, shape [d].
        correlation: c / s2 of each variable: the mean correlation of two patches, shape [d].
        curve_patches: Numbers m' = 1, 2, 4, ... of averaged patches, shape [M].
        curve: Var(mean of m') m' / Var(single) of each variable, shape [M, d]; 1 in theory.
        reason: Why there is no estimate, or None.
    """

    theory: float
    estimated: float
    standard_error: float
    per_component: Array
    per_component_error: Array
    correlation: Array
    curve_patches: NDArray[np.int64]
    curve: Array
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; nan becomes None."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def estimate_covariance_factor(
    arrays: LatentArrays, *, bootstrap: int = 200, seed: int = 0
) -> CovarianceFactor:
    """Estimate the factor from the scatter of the patches of each snapshot.

    Residuals are taken around a cubic ridge fit of the mean increment on z and conditions, and
    divided by the root of the elapsed time. An analysis of variance gives s2 and c. The fit takes
    its P degrees of freedom from the N snapshots' means only, so Var(mean of m) is the sum of
    their squares over N - P, not N; the scatter around the means does not depend on the fit.

    Args:
        arrays: One lag of a latents data set.
        bootstrap: Number of resamplings of whole groups for the standard errors: snapshots of
            one group share small simulations and are not independent.
        seed: Seed of the bootstrap.

    Returns:
        The factor; its `reason` says why, if it could not be estimated.
    """
    total, m, d = arrays.patches_total, arrays.patches, arrays.z.shape[1]
    averaged = arrays.averaged_patches
    residual = _residuals(arrays)
    curve_patches, curve = _variance_curve(residual)
    if m < 2 and total > 1:
        return _without_estimate(
            arrays.theoretical_factor,
            d,
            "one patch per snapshot was evolved: evolve at least 2 (evolve.patches), "
            "or choose covariance_factor: theory",
        )
    squares = residual.square_mean
    products = residual.pair_mean
    s2, c = squares.mean(axis=0), products.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = _variance_of_mean(s2, c, total)
        factors = _variance_of_mean(s2, c, averaged) / whole
        draws = _resampled(
            squares,
            products,
            arrays.group,
            averaged=averaged,
            total=total,
            bootstrap=bootstrap,
            seed=seed,
        )
    observed = slice(0, arrays.n_observables)
    if not bool((whole[observed] > 0).all()):
        return _without_estimate(
            arrays.theoretical_factor,
            d,
            f"the estimated variance of the whole system is {whole[observed]}, not positive: "
            "evolve more patches per snapshot or more snapshots, or choose "
            "covariance_factor: theory",
        )
    factors = np.where(whole > 0, factors, np.nan)
    error, errors = _standard_errors(draws, observed)
    return CovarianceFactor(
        theory=arrays.theoretical_factor,
        estimated=float(factors[observed].mean()),
        standard_error=error,
        per_component=factors,
        per_component_error=errors,
        correlation=c / s2,
        curve_patches=curve_patches,
        curve=curve,
    )


def covariance_factor(
    choice: Literal["theory", "estimated"] | float, estimate: CovarianceFactor
) -> float:
    """The factor that a study chose.

    Args:
        choice: `theory` (K/m), `estimated`, or the number itself.
        estimate: What `estimate_covariance_factor` found.

    Returns:
        The factor, positive.

    Raises:
        ValueError: If the choice is unknown or not positive, or there is no estimate.
    """
    if choice == "theory":
        return estimate.theory
    if choice == "estimated":
        if estimate.reason is not None:
            raise ValueError(
                f"dynamics.covariance_factor: estimated is not possible: {estimate.reason}"
            )
        return estimate.estimated
    if isinstance(choice, str) or not choice > 0 or not np.isfinite(choice):
        raise ValueError(
            f"covariance_factor is {choice!r}: use theory, estimated or a positive number"
        )
    return float(choice)


def within_factor(
    choice: Literal["theory", "estimated"] | float,
    estimate: CovarianceFactor,
    arrays: LatentArrays,
) -> float:
    """The factor of the scatter within snapshots that belongs to a choice for the mean.

    Args:
        choice: `theory` (K), `estimated`, or the number f for the mean of m patches, which gives
            m f, as it is for independent patches.
        estimate: What `estimate_covariance_factor` found.
        arrays: What it was found from.

    Returns:
        The factor, positive.

    Raises:
        ValueError: As `covariance_factor`, or if the patches of a snapshot do not scatter.
    """
    factor, m = covariance_factor(choice, estimate), arrays.averaged_patches
    if choice != "estimated":
        return factor * m
    # Of each variable s2 - c over the variance of the mean of m, whose factor is known.
    correlation = estimate.correlation
    ratio = (1.0 - correlation) / _variance_of_mean(1.0, correlation, m)
    within = float((estimate.per_component * ratio)[: arrays.n_observables].mean())
    if not within > 0:
        raise ValueError(
            f"The estimated factor within snapshots is {within}: the patches of a snapshot do not "
            "scatter; set dynamics.likelihood to mean"
        )
    return within


@dataclass(frozen=True, kw_only=True)
class _Residuals:
    """Residuals [N, m, d] per root of elapsed time, and each snapshot's second moments [N, d].

    They are scaled so that their averages over the snapshots do not miss what the fit absorbed.
    """

    values: Array

    @property
    def square_mean(self) -> Array:
        return np.square(self.values).mean(axis=1)

    @property
    def pair_mean(self) -> Array:
        m = self.values.shape[1]
        if m == 1:
            return np.zeros_like(self.values[:, 0])
        squares = np.square(self.values).sum(axis=1)
        return (np.square(self.values.sum(axis=1)) - squares) / (m * (m - 1))


def _residuals(arrays: LatentArrays) -> _Residuals:
    inputs, _, _ = standardise(np.concatenate([arrays.z, arrays.conditions], axis=1))
    # Patches of a snapshot share z, so their sum over the summed time has the fit of the mean.
    fit = fit_drift(inputs, arrays.increment.sum(axis=1), arrays.elapsed.sum(axis=1))
    residual = arrays.increment - fit.drift[:, None, :] * arrays.elapsed[..., None]
    values = residual / np.sqrt(arrays.elapsed)[..., None]
    # An error of the drift moves the values of a snapshot along the roots of their times: with
    # equal times, their mean. This component alone is too small, its square by (N - P) / N.
    direction = np.sqrt(arrays.elapsed / arrays.elapsed.sum(axis=1, keepdims=True))[..., None]
    fitted = (direction * values).sum(axis=1, keepdims=True)
    samples = len(values)
    stretch = np.sqrt(samples / max(samples - _parameters(inputs, fit), 1))
    return _Residuals(values=values + (stretch - 1.0) * direction * fitted)


def _parameters(inputs: Array, fit: DriftFit) -> int:
    """Independent parameters of the fit: fewer than features where an input has few values."""
    return int(np.linalg.matrix_rank(polynomial_features(inputs, fit.degree)))


def _variance_of_mean(s2: Array | float, c: Array, m: int) -> Array:
    return s2 / m + (1.0 - 1.0 / m) * c


def _resampled(
    squares: Array,
    products: Array,
    group: NDArray[np.int64],
    *,
    averaged: int,
    total: int,
    bootstrap: int,
    seed: int,
) -> Array:
    """Factors [bootstrap, d] of groups that are drawn anew, each with all of its snapshots."""
    rng = np.random.default_rng(seed)
    labels, member, size = np.unique(group, return_inverse=True, return_counts=True)
    groups, d = len(labels), squares.shape[1]
    sums = np.zeros((2, groups, d))
    np.add.at(sums[0], member, squares)
    np.add.at(sums[1], member, products)
    draws = np.full((bootstrap, d), np.nan)
    for b in range(bootstrap if groups > 1 else 0):
        weight = np.bincount(rng.integers(groups, size=groups), minlength=groups)
        s2, c = weight @ sums / (weight @ size)
        draws[b] = _variance_of_mean(s2, c, averaged) / _variance_of_mean(s2, c, total)
    return draws


def _standard_errors(draws: Array, observed: slice) -> tuple[float, Array]:
    """Errors of the observables' mean factor and of each [d]; nan if too few are positive."""
    draws = np.where(draws > 0, draws, np.nan)
    usable = np.isfinite(draws[:, observed]).all(axis=1)
    if usable.sum() < 0.9 * len(draws) or usable.sum() < 2:
        return float("nan"), np.full(draws.shape[1], np.nan)
    of_mean = draws[usable][:, observed].mean(axis=1).std(ddof=1)
    return float(of_mean), np.nanstd(draws, axis=0, ddof=1)


def _variance_curve(residual: _Residuals) -> tuple[NDArray[np.int64], Array]:
    values = residual.values
    n, m, d = values.shape
    single = np.square(values).mean(axis=(0, 1))
    sizes = [2**k for k in range(int(np.log2(m)) + 1)]
    rows = []
    for size in sizes:
        blocks = values[:, : m // size * size].reshape(n, m // size, size, d).mean(axis=2)
        rows.append(np.square(blocks).mean(axis=(0, 1)) * size / single)
    return np.array(sizes, dtype=np.int64), np.stack(rows)


def _without_estimate(theory: float, d: int, reason: str) -> CovarianceFactor:
    nothing = np.full(d, np.nan)
    return CovarianceFactor(
        theory=theory,
        estimated=float("nan"),
        standard_error=float("nan"),
        per_component=nothing,
        per_component_error=nothing,
        correlation=nothing,
        curve_patches=np.array([1], dtype=np.int64),
        curve=np.ones((1, d)),
        reason=reason,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
