"""Markov diagnostic: drift and diffusion estimated from pairs at several lags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable

__all__ = ["bin_average", "bin_edges", "bin_index", "markov_diagnostic"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def bin_edges(values: ArrayLike, bins: int) -> Floats:
    """Return the edges of equally wide bins that cover all values, shape [bin + 1].

    Values that agree to rounding get bins wide enough to be told apart.
    """
    sample = np.asarray(values, np.float64)
    low, high = float(sample.min()), float(sample.max())
    least = 16 * bins * float(np.spacing(max(abs(low), abs(high))))
    if 0 < high - low < least:
        middle = 0.5 * (low + high)
        low, high = middle - 0.5 * least, middle + 0.5 * least
    return np.histogram_bin_edges(sample, bins=bins, range=(low, high))


def bin_index(values: ArrayLike, edges: ArrayLike) -> Integers:
    """Return the bin of each value; the last bin includes its upper edge, outside is -1."""
    sample, limits = np.asarray(values, np.float64), np.asarray(edges, np.float64)
    index = np.searchsorted(limits, sample, side="right") - 1
    index[sample == limits[-1]] = len(limits) - 2
    index[(sample < limits[0]) | (sample > limits[-1])] = -1
    return index


def bin_average(values: ArrayLike, index: ArrayLike, bins: int, *, axis: int = 0) -> Floats:
    """Average values over the samples of each bin.

    Args:
        values: Any array with samples along `axis`.
        index: Bin of each sample, shape [sample]; -1 leaves a sample out.
        bins: Number of bins.
        axis: Axis of the samples.

    Returns:
        The averages, the sample axis replaced by bins; NaN in empty bins.
    """
    array = np.moveaxis(np.asarray(values, np.float64), axis, 0)
    place = np.asarray(index)
    kept = place >= 0
    totals = np.zeros((bins, *array.shape[1:]))
    np.add.at(totals, place[kept], array[kept])
    counts = np.bincount(place[kept], minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore"):
        average = totals / counts.reshape(-1, *(1,) * (array.ndim - 1))
    return np.moveaxis(average, 0, axis)


def markov_diagnostic(
    latents: xr.Dataset,
    *,
    bins: int = 20,
    min_count: int = 50,
    covariance_factor: float | None = None,
) -> xr.Dataset:
    """Estimate drift and diffusion at every lag, in bins of the first observable.

    In a bin, from increments dz and elapsed times tau of samples s and patches p,

        drift      mu    = sum_sp dz / sum_sp tau
        diffusion  Sigma = sum_sp r r^T / (K sum_sp tau),   r = dz - tau (mu + B (z - <z>))

    with B the slope of the drift within the bin, fitted by least squares. Both ratios stay
    unbiased to first order when a number of events stops the evolution, so that tau is random
    (Wald's identities). Standard errors are those of ratio estimators with the sample as unit:
    patches of one snapshot share their surroundings and are not independent. Errors of the
    difference between two lags come from the same samples' influences, as a longer increment
    contains the shorter.

    If z is closed, the curves agree but for the change of z within a lag, which is of relative
    order (lag * relaxation rate). Curves that part further show memory that z leaves out.

    Args:
        latents: Store with `z`, `increment`, `elapsed` and `condition_values`; attribute
            `patches_total` (K).
        bins: Number of equally wide bins over the range of the first observable.
        min_count: Bins with fewer samples are left blank (NaN).
        covariance_factor: Variance of a patch increment over that of the whole system. None: K.

    Returns:
        Dataset with dims lag, bin, variable, variable_2:
        `drift`, `drift_error`, `diffusion` (diagonal), `diffusion_error`, `covariance` (full
        Sigma), `covariance_error`, `drift_excess`, `diffusion_excess` [lag, variable] (see
        below), `drift_z`, `diffusion_z` [lag, variable] (root mean square of the difference to
        the first lag over its standard error; 1 when only noise), and coordinates `centre`,
        `count` [bin], `edge` and `elapsed` [lag].

        `*_excess` is sqrt(max(0, <(c_lag - c_1)^2 - error^2>)) / sqrt(<c_1^2>), averages over bins
        weighted by count: the relative difference to the first lag that noise does not explain.

    Raises:
        ValueError: If values are not finite, or K is not positive.
        Unavailable: If no bin has enough samples.

    Source: Friedrich et al., Phys. Rep. 506, 87 (2011), for conditional moments at finite lags.
    """
    factor = _checked_factor(latents, covariance_factor)
    z, dz, tau = _checked_pairs(latents)
    edges = bin_edges(z[:, 0], bins)
    index = bin_index(z[:, 0], edges)
    counts = np.bincount(index, minlength=bins)
    used = _filled_bins(counts, min_count)
    regressors = np.concatenate([z, _conditions(latents)], axis=1)
    curves = _Curves.blank(len(dz), bins, z.shape[1])
    for b in used:
        rows = index == b
        fits = [
            _estimate(increment[rows], elapsed[rows], regressors[rows], factor)
            for increment, elapsed in zip(dz, tau, strict=True)
        ]
        curves.fill(b, fits)
    names = latents["variable"].values
    return xr.Dataset(
        {**curves.variables(), **curves.lag_dependence(counts, used)},
        coords={
            "lag": latents["lag"].values,
            "variable": names,
            "variable_2": names,
            "centre": ("bin", bin_average(z[:, 0], index, bins)),
            "count": ("bin", counts),
            "edge": ("edge", edges),
            "elapsed": ("lag", tau.mean(axis=(1, 2))),
        },
        attrs={"covariance_factor": factor, "samples": len(z)},
    )


def _checked_factor(latents: xr.Dataset, given: float | None) -> float:
    factor = float(latents.attrs["patches_total"]) if given is None else given
    if factor <= 0:
        raise ValueError(f"the covariance factor must be positive, got {factor}")
    return factor


def _checked_pairs(latents: xr.Dataset) -> tuple[Floats, Floats, Floats]:
    """Read z [sample, variable], dz [lag, sample, patch, variable] and tau [lag, sample, patch]."""
    axes = {
        "z": ("sample", "variable"),
        "increment": ("lag", "sample", "patch", "variable"),
        "elapsed": ("lag", "sample", "patch"),
    }
    z, dz, tau = (
        np.asarray(latents[name].transpose(*order).values, np.float64)
        for name, order in axes.items()
    )
    for name, array in zip(axes, (z, dz, tau), strict=True):
        if not np.isfinite(array).all():
            raise ValueError(f"latents: '{name}' holds values that are not finite")
    if (tau <= 0).any():
        raise ValueError("latents: 'elapsed' must be positive")
    return z, dz, tau


def _filled_bins(counts: Integers, min_count: int) -> Integers:
    used = np.flatnonzero(counts >= max(min_count, 2))
    if used.size == 0:
        raise Unavailable(
            f"no bin of the first observable has {max(min_count, 2)} of the {counts.sum()} samples:"
            " lower bins or min_count, or make more snapshots"
        )
    return used


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Estimates of one bin at one lag, and each sample's influence on them (first axis)."""

    drift: Floats
    covariance: Floats
    drift_influence: Floats
    covariance_influence: Floats


def _estimate(dz: Floats, tau: Floats, regressors: Floats, factor: float) -> _Fit:
    """Estimate drift and diffusion from dz [sample, patch, variable] and tau [sample, patch]."""
    samples = len(dz)
    moved, waited = dz.sum(axis=1), tau.sum(axis=1)
    total = waited.sum()
    # With regressors centred by elapsed time the intercept is exactly sum dz / sum tau.
    centred = regressors - (waited @ regressors) / total
    drift = moved.sum(axis=0) / total
    local = np.broadcast_to(drift, moved.shape)
    parameters = 1
    if samples > 3 * (1 + centred.shape[1]):
        scale = centred.std(axis=0)
        centred = centred[:, scale > 1e-12 * np.abs(regressors).max(axis=0)]
        centred = centred / np.maximum(centred.std(axis=0), np.finfo(float).tiny)
        root = np.sqrt(waited)[:, None]
        slope = np.linalg.lstsq(root * centred, moved / root - root * drift, rcond=1e-10)[0]
        local = drift + centred @ slope
        parameters += centred.shape[1]
    residual = dz - tau[..., None] * local[:, None, :]
    products = np.einsum("spi,spj->sij", residual, residual) / factor
    products *= tau.size / max(tau.size - parameters, 1)
    covariance = products.sum(axis=0) / total
    bessel = np.sqrt(samples / (samples - 1))
    deviation = moved - waited[:, None] * local
    excess = products - waited[:, None, None] * covariance
    return _Fit(
        drift=drift,
        covariance=covariance,
        drift_influence=bessel * deviation / total,
        covariance_influence=bessel * excess / total,
    )


@dataclass(frozen=True, kw_only=True)
class _Curves:
    """Estimates and their errors over lags and bins; NaN in bins that are not filled.

    Attributes:
        drift: Shape [lag, bin, variable].
        drift_error: Its standard error, of the same shape.
        drift_change_error: That of its difference to the first lag, of the same shape.
        covariance: Sigma, shape [lag, bin, variable, variable].
        covariance_error: Its standard error, of the same shape.
        diffusion_change_error: That of the difference of its diagonal to the first lag, shape
            [lag, bin, variable].
    """

    drift: Floats
    drift_error: Floats
    drift_change_error: Floats
    covariance: Floats
    covariance_error: Floats
    diffusion_change_error: Floats

    @classmethod
    def blank(cls, lags: int, bins: int, d: int) -> _Curves:
        shape = (lags, bins, d)
        return cls(
            drift=_blank(*shape),
            drift_error=_blank(*shape),
            drift_change_error=_blank(*shape),
            covariance=_blank(*shape, d),
            covariance_error=_blank(*shape, d),
            diffusion_change_error=_blank(*shape),
        )

    @property
    def diffusion(self) -> Floats:
        return np.einsum("lbii->lbi", self.covariance)

    def fill(self, b: int, fits: Sequence[_Fit]) -> None:
        """Enter the fits of one bin, one for each lag."""
        for lag, fit in enumerate(fits):
            self.drift[lag, b], self.covariance[lag, b] = fit.drift, fit.covariance
            self.drift_error[lag, b] = _norm(fit.drift_influence)
            self.covariance_error[lag, b] = _norm(fit.covariance_influence)
            change = fit.drift_influence - fits[0].drift_influence
            self.drift_change_error[lag, b] = _norm(change)
            change = fit.covariance_influence - fits[0].covariance_influence
            self.diffusion_change_error[lag, b] = np.diagonal(_norm(change))

    def variables(self) -> dict[str, tuple[tuple[str, ...], Floats]]:
        """Return the estimates and their errors as variables of a data set."""
        curve = ("lag", "bin", "variable")
        matrix = (*curve, "variable_2")
        return {
            "drift": (curve, self.drift),
            "drift_error": (curve, self.drift_error),
            "diffusion": (curve, self.diffusion),
            "diffusion_error": (curve, np.einsum("lbii->lbi", self.covariance_error)),
            "covariance": (matrix, self.covariance),
            "covariance_error": (matrix, self.covariance_error),
        }

    def lag_dependence(
        self, counts: Integers, used: Integers
    ) -> dict[str, tuple[tuple[str, ...], Floats]]:
        """Return what differs from the first lag as variables of a data set."""
        drift = _lag_dependence(self.drift, self.drift_change_error, counts, used)
        diffusion = _lag_dependence(self.diffusion, self.diffusion_change_error, counts, used)
        scalar = ("lag", "variable")
        return {
            "drift_excess": (scalar, drift[0]),
            "diffusion_excess": (scalar, diffusion[0]),
            "drift_z": (scalar, drift[1]),
            "diffusion_z": (scalar, diffusion[1]),
        }


def _lag_dependence(
    curves: Floats, error: Floats, counts: Integers, used: Integers
) -> tuple[Floats, Floats]:
    """Excess of the difference to the first lag over noise, and the difference in errors."""
    weights = counts[used] / counts[used].sum()
    change = np.square(curves[:, used] - curves[:1, used])
    noise = np.square(error[:, used])
    excess = np.einsum("b,lbi->li", weights, change - noise)
    size = np.einsum("b,bi->i", weights, np.square(curves[0, used]))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.sqrt(np.maximum(excess, 0) / size)
        ratio = np.sqrt(
            np.einsum("b,lbi->li", weights, np.where(noise > 0, change / noise, np.nan))
        )
    relative[0], ratio[0] = 0.0, 0.0
    return relative, ratio


def _norm(influence: Floats) -> Floats:
    size: Floats = np.sqrt(np.square(influence).sum(axis=0))
    return size


def _blank(*shape: int) -> Floats:
    return np.full(shape, np.nan)


def _conditions(latents: xr.Dataset) -> Floats:
    if "condition_values" not in latents:
        raise ValueError("latents: 'condition_values' is missing: make the data set again")
    values = latents["condition_values"].transpose("sample", "condition").values
    return np.asarray(values, np.float64)
