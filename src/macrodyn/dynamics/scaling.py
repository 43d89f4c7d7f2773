"""Scalers of the networks, from the data."""

from __future__ import annotations

import numpy as np
import torch

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.regression import Array, DriftFit, fit_drift, standardise
from macrodyn.dynamics.scalers import Scalers


def fit_scalers(data: TransitionData) -> tuple[Scalers, torch.Tensor]:
    """Standardise by what a polynomial regression finds.

    The drift of one transition is far smaller than its noise. Dividing by the standard deviation
    of the increments would leave the drift network an output of order 0.1 to learn against noise
    of order 1, so the drift is scaled by the spread of its own cubic fit, less the part of that
    spread which the noise explains. The diffusion is scaled by the covariance around the fit,
    pooled with the scatter of the patches where the data hold it, and the drift starts from its
    linear fit.

    Args:
        data: Training transitions.

    Returns:
        Scalers, float64, on the CPU; and the linear fit of the drift in their units, shape
        [1 + d + c, d]: intercept, then one row for each standardised input.

    Raises:
        ValueError: If the noise has no full rank.
    """
    z, z_mean, z_scale = standardise(data.z.double().cpu().numpy())
    conditions, c_mean, c_scale = standardise(data.conditions.double().cpu().numpy())
    inputs = np.concatenate([z, conditions], axis=1)
    increment = data.drift_increment.double().cpu().numpy()
    elapsed = data.elapsed.double().cpu().numpy()
    factor = data.relative_noise
    fit = fit_drift(inputs, increment, elapsed, factor=factor)
    # Summed over the features, the fit's own error variance, averaged over the samples.
    fit_error = np.diag(fit.noise) / data.exposure.double().cpu().numpy().sum()
    spread = fit.drift.var(axis=0) - len(fit.coefficients) * fit_error
    drift_scale = np.sqrt(np.maximum(spread, fit_error))
    try:
        diffusion_scale = np.linalg.cholesky(_covariance_rate(data, fit))
    except np.linalg.LinAlgError:
        raise ValueError(_no_rank(data.increment.cpu().numpy(), fit)) from None
    linear = fit_drift(inputs, increment, elapsed, degree=1, factor=factor).coefficients
    padded = np.zeros((1 + inputs.shape[1], data.variables))
    padded[: len(linear)] = linear
    scalers = Scalers(
        z_mean=torch.from_numpy(z_mean),
        z_scale=torch.from_numpy(z_scale),
        condition_mean=torch.from_numpy(c_mean),
        condition_scale=torch.from_numpy(c_scale),
        drift_scale=torch.from_numpy(drift_scale),
        diffusion_scale=torch.from_numpy(diffusion_scale),
    )
    return scalers, torch.from_numpy(padded / drift_scale)


def drift_metric(data: TransitionData, reference: torch.Tensor) -> torch.Tensor:
    """Metric in which a drift is fitted to compensated increments.

    It is the inverse of their noise, to which a share of the drift's own spread is added, `_MISFIT`
    of it. Where the controls explain nearly all of a variable's noise, a network's misfit is what
    is left of it: weighed by its noise alone, that variable would outweigh all others, whose drift
    matters as much to a trajectory.

    Args:
        data: Training transitions.
        reference: L_ref, the factor of the diffusion's scale, shape [d, d].

    Returns:
        P, shape [d, d], float64: P L_ref^-1 (increment - drift elapsed) / (factor elapsed)^(1/2)
        has unit covariance, pooled over the data, if the drift is off by that share.
    """
    z, conditions = (standardise(v.double().cpu().numpy())[0] for v in (data.z, data.conditions))
    inputs = np.concatenate([z, conditions], axis=1)
    increment, elapsed = (v.double().cpu().numpy() for v in (data.drift_increment, data.elapsed))
    fit = fit_drift(inputs, increment, elapsed, factor=data.relative_noise)
    inverse = np.linalg.inv(reference.double().cpu().numpy())
    misfit = np.diag(fit.drift.var(axis=0)) * (_MISFIT**2 * float(data.exposure.mean()))
    covariance = inverse @ ((fit.noise + misfit) / data.shared_factor) @ inverse.T
    # What the controls explain to the last digit would outweigh everything else.
    floor = _LEAST_NOISE * np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors / np.sqrt(np.maximum(values, max(floor, np.finfo(float).tiny)))
    return torch.from_numpy(np.ascontiguousarray(root.T))


def covariance_ratio(data: TransitionData) -> tuple[Array, Array]:
    """Variances by increments over those that are known, of data whose covariance is known.

    Near 1 where the pairs are short: over longer ones a drift that fluctuates adds to the
    increments' variance, and one that leads back takes from it.

    Args:
        data: Transitions.

    Returns:
        Ratio of the means over all transitions and its standard error, shape [d] each.
    """
    assert data.scatter is not None
    z, conditions = (standardise(v.double().cpu().numpy())[0] for v in (data.z, data.conditions))
    increment, elapsed = (v.double().cpu().numpy() for v in (data.increment, data.elapsed))
    fit = fit_drift(np.concatenate([z, conditions], axis=1), increment, elapsed)
    factor, within = (
        torch.as_tensor(v, dtype=torch.float64).cpu().reshape(-1, 1).numpy()
        for v in (data.factor, data.within)
    )
    seen = np.square(increment - fit.drift * elapsed[:, None]) / (factor * elapsed[:, None])
    known = data.scatter.double().square().sum(-1).cpu().numpy() / within
    mean = known.mean(axis=0)
    error: Array = seen.std(axis=0) / (mean * len(seen) ** 0.5)
    return seen.mean(axis=0) / mean, error


# Least noise of a direction, over the mean of all, that the metric of the drift reckons with.
_LEAST_NOISE = 1e-4
# Misfit of a drift that the metric reckons with, over the drift's spread.
_MISFIT = 0.05


def _no_rank(increment: Array, fit: DriftFit) -> str:
    """Say why the covariance of the noise has no full rank, and which key to change."""
    still = np.flatnonzero(np.ptp(increment, axis=0) == 0)
    if len(still) == increment.shape[1]:
        return (
            "No variable changes in any pair: evolve.dt is too short for anything to happen, or "
            "the system is frozen at its system.parameters"
        )
    if still.size:
        return (
            f"A variable does not fluctuate: number {still.tolist()} (from 0) has the same "
            "increment in all pairs. Raise evolve.dt, or lower closure.dimension if it is a "
            "closure variable"
        )
    return (
        "The increments' noise has no full rank: a variable is a linear combination of others, or "
        f"hardly fluctuates (variances per unit time {np.diag(fit.noise)}). Lower "
        "closure.dimension, or raise evolve.dt if few pairs change in it"
    )


def _covariance_rate(data: TransitionData, fit: DriftFit) -> Array:
    """Covariance rate of the whole system [d, d], from residuals of the mean and the scatter.

    Where it is known of each snapshot: the mean.
    """
    noise = fit.noise_of(data.increment.cpu(), data.elapsed.cpu(), data.relative_noise)
    rate: Array = noise / data.shared_factor
    if data.scatter is None:
        return rate
    scatter, within, patches = data.scatter.double().cpu(), data.within, data.patches
    if isinstance(within, torch.Tensor):
        scatter, within = scatter / within.double().cpu().sqrt()[:, None, None], 1.0
    columns = scatter.permute(0, 2, 1).reshape(-1, data.variables).numpy()
    pooled: Array = columns.T @ columns / within
    if data.known:
        return pooled / len(data)
    freedom = max(len(data) - len(fit.coefficients), 1)
    if isinstance(patches, torch.Tensor):
        of_scatter = float((patches - 1).sum())
    else:
        of_scatter = len(data) * (patches - 1)
    return (freedom * rate + pooled) / (freedom + of_scatter)
