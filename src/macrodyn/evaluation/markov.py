"""Markov diagnostic: drift and diffusion estimated from pairs at several lags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

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
        ValueError: If values are not finite, no bin has enough samples, or K is not positive.

    Source: Friedrich et al., Phys. Rep. 506, 87 (2011), for conditional moments at finite lags.
    """
    z = np.asarray(latents["z"].transpose("sample", "variable").values, np.float64)
    increment = latents["increment"].transpose("lag", "sample", "patch", "variable")
    elapsed = latents["elapsed"].transpose("lag", "sample", "patch")
    dz = np.asarray(increment.values, np.float64)
    tau = np.asarray(elapsed.values, np.float64)
    factor = covariance_factor
    if factor is None:
        factor = float(latents.attrs["patches_total"])
    if factor <= 0:
        raise ValueError(f"the covariance factor must be positive, got {factor}")
    for name, array in (("z", z), ("increment", dz), ("elapsed", tau)):
        if not np.isfinite(array).all():
            raise ValueError(f"latents: '{name}' holds values that are not finite")
    if (tau <= 0).any():
        raise ValueError("latents: 'elapsed' must be positive")

    edges = bin_edges(z[:, 0], bins)
    index = bin_index(z[:, 0], edges)
    counts = np.bincount(index, minlength=bins)
    used = np.flatnonzero(counts >= max(min_count, 2))
    if used.size == 0:
        raise ValueError(
            f"no bin of the first observable has {min_count} samples: lower bins or min_count"
        )
    regressors = np.concatenate([z, _conditions(latents, len(z))], axis=1)

    lags, d = len(dz), z.shape[1]
    drift, drift_error = _blank(lags, bins, d), _blank(lags, bins, d)
    covariance, covariance_error = _blank(lags, bins, d, d), _blank(lags, bins, d, d)
    change_error = _blank(2, lags, bins, d)
    for b in used:
        rows = index == b
        fits = [
            _estimate(dz[lag][rows], tau[lag][rows], regressors[rows], factor)
            for lag in range(lags)
        ]
        for lag, fit in enumerate(fits):
            drift[lag, b], covariance[lag, b] = fit.drift, fit.covariance
            drift_error[lag, b] = _norm(fit.drift_influence)
            covariance_error[lag, b] = _norm(fit.covariance_influence)
            change_error[0, lag, b] = _norm(fit.drift_influence - fits[0].drift_influence)
            change = fit.covariance_influence - fits[0].covariance_influence
            change_error[1, lag, b] = np.diagonal(_norm(change))
    diffusion = np.einsum("lbii->lbi", covariance)
    diffusion_error = np.einsum("lbii->lbi", covariance_error)
    drift_excess, drift_z = _lag_dependence(drift, change_error[0], counts, used)
    diffusion_excess, diffusion_z = _lag_dependence(diffusion, change_error[1], counts, used)

    names = latents["variable"].values
    curve, scalar = ("lag", "bin", "variable"), ("lag", "variable")
    matrix = (*curve, "variable_2")
    return xr.Dataset(
        {
            "drift": (curve, drift),
            "drift_error": (curve, drift_error),
            "diffusion": (curve, diffusion),
            "diffusion_error": (curve, diffusion_error),
            "covariance": (matrix, covariance),
            "covariance_error": (matrix, covariance_error),
            "drift_excess": (scalar, drift_excess),
            "diffusion_excess": (scalar, diffusion_excess),
            "drift_z": (scalar, drift_z),
            "diffusion_z": (scalar, diffusion_z),
        },
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
        centred = centred[:, scale > 1e-12 * (1 + np.abs(regressors).max(axis=0))]
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


def _conditions(latents: xr.Dataset, samples: int) -> Floats:
    if "condition_values" not in latents:
        return np.empty((samples, 0))
    values = latents["condition_values"].transpose("sample", "condition").values
    return np.asarray(values, np.float64)
