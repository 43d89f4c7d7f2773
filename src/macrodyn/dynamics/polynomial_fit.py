"""The `polynomial` ensemble: each member a fit to a resample of the groups."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from macrodyn.dynamics.chebyshev import (
    chebyshev_exponents,
    chebyshev_features,
    feature_number,
    told_number,
)
from macrodyn.dynamics.constraints import LinearConstraint
from macrodyn.dynamics.continuation import contracting_fit
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.partial_likelihood import PartialLikelihood
from macrodyn.dynamics.polynomial_drift import (
    BLOCKS,
    FOLDS,
    MOST_FEATURES,
    SAMPLES_PER_FEATURE,
    DriftRegression,
    DriftScores,
)
from macrodyn.dynamics.polynomial_noise import NoiseFit, fit_noise
from macrodyn.dynamics.scalers import Scalers, standardised
from macrodyn.dynamics.scaling import fit_scalers
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.learning.history import History

Array = NDArray[np.float64]

# Highest degree of the noise's functions that is tried.
NOISE_DEGREE = 4
# Keeps the leverage of features that others determine finite.
LEVERAGE_RIDGE = 1e-6
# Samples whose features are computed at once: a bound on memory.
_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What cross-validation chose, and the scores behind it.

    Attributes:
        drift: Scores of the drift by degree and ridge.
        noise_degrees: Degrees of the noise that were tried.
        noise_scores: Held-out negative log likelihood of each, per sample, less the best one's.
        degree: Chosen degree of the drift.
        ridge: Chosen ridge strength.
        noise_degree: Chosen degree of the noise.
    """

    drift: DriftScores
    noise_degrees: tuple[int, ...]
    noise_scores: tuple[float, ...]
    degree: int
    ridge: float
    noise_degree: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "degree": self.degree,
            "ridge": self.ridge,
            "noise_degree": self.noise_degree,
            "degrees": list(self.drift.degrees),
            "ridges": list(self.drift.ridges),
            "scores": self.drift.scores.tolist(),
            "noise_degrees": list(self.noise_degrees),
            "noise_scores": list(self.noise_scores),
        }


def fit_polynomials(
    data_train: TransitionData,
    data_val: TransitionData,
    settings: DynamicsSettings,
    *,
    seed: int = 0,
    constraint: LinearConstraint | None = None,
) -> tuple[Ensemble, History, Selection]:
    """Fit an ensemble of `Polynomial` models.

    Degree and ridge are chosen by cross-validation over groups of the training data. A member is
    then fitted to a resample of the groups, drawn with replacement; a single member to all of them.
    The drift is fitted to `TransitionData.drift_increment`, each sample weighted by its elapsed
    time over its noise, the covariance to the increments (and their scatter) around that drift.

    Args:
        data_train: Transitions to fit.
        data_val: Transitions of other groups, of which the history has the likelihood.
        settings: Members, form of the covariance, degrees and ridges to choose from.
        seed: Seed of folds and resamples.
        constraint: Exact linear relations among the variables, if there are any.

    Returns:
        The ensemble; the history, with the drift's scores by degree in place of steps, and each
        member's negative log likelihood of the validation data as its best loss; what was chosen.

    Raises:
        ValueError: If there are fewer than two groups, or a variable does not fluctuate.
    """
    began = time.perf_counter()
    training, validation = data_train, data_val
    if constraint is not None:
        training, validation = (d.within_constraint(constraint) for d in (training, validation))
    scalers, _ = fit_scalers(training)
    design = _Design(training, scalers, settings)
    rng = np.random.default_rng(seed)
    blocks = _blocks(training.group.cpu().numpy(), rng)
    number = int(blocks.max()) + 1
    folds = np.arange(number) % min(FOLDS, number)
    drift_scale = scalers.drift_scale.double().numpy()
    regression = DriftRegression(
        design.features,
        training.drift_increment.double().cpu().numpy() / drift_scale,
        training.elapsed.double().cpu().numpy(),
        blocks,
        first=design.size(min(4, design.highest)),
        smooth=design.size(min(2, design.highest)),
        factor=training.relative_noise,
    )
    sizes = [design.size(p) for p in design.degrees]
    scores = regression.score(sizes, settings.polynomial.ridges, folds)
    scores = replace(scores, degrees=tuple(design.degrees))
    place, strength = scores.best
    size, ridge = sizes[place], settings.polynomial.ridges[strength]
    drift = design.features[:, :size] @ regression.solve(np.ones(number), size, ridge)

    def ensemble_of(noise_degree: int) -> Ensemble:
        return Ensemble(
            "polynomial",
            variables=data_train.variables,
            conditions=data_train.conditions.shape[1],
            members=settings.members,
            options={
                "degree": design.degrees[place],
                "noise_degree": noise_degree,
                "covariance": settings.covariance,
            },
            scalers=scalers,
            constraint=constraint,
        )

    reference = ensemble_of(0).diffusion_scale.double().numpy()
    squares = _squares(training, drift * drift_scale, reference)
    m = training.patches
    patches = m.double().cpu().numpy() if isinstance(m, Tensor) else m
    diagonal = settings.covariance == "diagonal"

    def noise(degree: int, weights: Array) -> NoiseFit:
        features = design.features[:, : design.size(degree)]
        return fit_noise(features, squares, patches, weights, diagonal=diagonal)

    fold = folds[blocks]
    noise_scores = []
    for degree in design.noise_degrees:
        features, total = design.features[:, : design.size(degree)], 0.0
        for held in (fold == number for number in range(int(fold.max()) + 1)):
            fit = noise(degree, (~held).astype(np.float64))
            of_held = patches if isinstance(patches, int) else patches[held]
            total += float(fit.nll(features[held], squares[held], of_held).sum())
        noise_scores.append(total / len(training))
    selection = Selection(
        drift=scores,
        noise_degrees=design.noise_degrees,
        noise_scores=tuple(score - min(noise_scores) for score in noise_scores),
        degree=design.degrees[place],
        ridge=ridge,
        noise_degree=design.noise_degrees[int(np.argmin(noise_scores))],
    )
    ensemble = ensemble_of(selection.noise_degree)
    ensemble.domain = Domain.of(data_train, data_val)
    values = design.shared(selection.degree, drift, scalers)
    stacked: dict[str, list[Array]] = {name: [v] * settings.members for name, v in values.items()}
    stacked |= {"drift": [], "noise": [], "constant_noise": []}
    for counts in _resamples(number, settings.members, rng):
        found = regression.solve(counts, size, ridge)
        stacked["drift"].append(design.spread(found, selection.degree))
        found = noise(selection.noise_degree, counts[blocks]).coefficients
        stacked["noise"].append(design.spread(found, selection.noise_degree))
        stacked["constant_noise"].append(noise(0, counts[blocks]).coefficients[0])
    with torch.no_grad():
        for name, parameter in ensemble.parameters_by_name().items():
            parameter.copy_(torch.from_numpy(np.stack(stacked[name])))
    ensemble.requires_grad_(False).eval()
    return ensemble, _history(ensemble, training, validation, settings, selection, began), selection


class _Design:
    """Inputs and features of the training data, and what of them all members share."""

    def __init__(self, data: TransitionData, scalers: Scalers, settings: DynamicsSettings) -> None:
        z, conditions = (values.double().cpu() for values in (data.z, data.conditions))
        self.x = standardised(scalers, z, conditions).numpy()
        self.step = float(data.elapsed.mean())
        low, high = self.x.min(axis=0), self.x.max(axis=0)
        # What does not vary is in the middle of a range of its own.
        flat = high - low <= 1e-12
        self.low, self.high = low - flat, high + flat
        most = min(MOST_FEATURES, len(data) // SAMPLES_PER_FEATURE)
        # What no power of a condition of so few values tells apart would be free between them, and
        # held-out groups have the same values.
        values = [len(np.unique(column)) for column in conditions.numpy().T]

        def affordable(degree: int) -> bool:
            return told_number(z.shape[1], values, degree) <= most

        asked = sorted(set(settings.polynomial.degrees))
        # Of too few samples the highest degree that they can tell, though it is not asked for.
        fewer = next((p for p in range(asked[0], 0, -1) if affordable(p)), 0)
        self.degrees = [p for p in asked if affordable(p)] or [fewer]
        tried = min(NOISE_DEGREE, max(self.degrees)) if settings.covariance != "constant" else 0
        self.noise_degrees = tuple(range(tried + 1))
        self.highest = max(self.degrees)
        u = torch.from_numpy(2.0 * (self.x - self.low) / (self.high - self.low) - 1.0)
        exponents = chebyshev_exponents(self.x.shape[1], self.highest)
        told = exponents[:, z.shape[1] :] < np.array(values, np.int64)
        self.told: NDArray[np.bool_] = np.asarray(told.all(axis=1))
        self.features = np.empty((len(u), int(self.told.sum())))
        for rows in torch.arange(len(u)).split(_ROWS):
            part = chebyshev_features(u[rows], exponents[self.told])
            self.features[rows[0] : rows[-1] + 1] = part.numpy()

    def size(self, degree: int) -> int:
        """Number of features of a total degree that are told."""
        return int(self.told[: self._whole(degree)].sum())

    def spread(self, coefficients: Array, degree: int) -> Array:
        """Coefficients of all features of a degree, 0 of those that are not told."""
        whole = np.zeros((self._whole(degree), *coefficients.shape[1:]))
        whole[self.told[: len(whole)]] = coefficients
        return whole

    def _whole(self, degree: int) -> int:
        return feature_number(self.x.shape[1], degree)

    def shared(self, degree: int, drift: Array, scalers: Scalers) -> dict[str, Array]:
        """The range, the leverage and the continuation of a drift of a degree."""
        features = self.features[:, : self.size(degree)]
        gram = features.T @ features / len(features)
        gram += LEVERAGE_RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        whitening = np.linalg.inv(np.linalg.cholesky(gram)).T
        return {
            "low": self.low,
            "high": self.high,
            "whitening": self.spread(self.spread(whitening, degree).T, degree).T,
            "leverage": np.square(features @ whitening).sum(axis=1).max(),
            "linear": contracting_fit(self.x, drift, scalers, self.low, self.high, step=self.step),
        }


def _resamples(blocks: int, members: int, rng: np.random.Generator) -> list[Array]:
    """How often each member counts each block; a single member counts all once."""
    if members == 1:
        return [np.ones(blocks)]
    share = np.full(blocks, 1 / blocks)
    return [rng.multinomial(blocks, share).astype(np.float64) for _ in range(members)]


def _blocks(group: NDArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """Block of each sample: whole groups, dealt to at most `BLOCKS` blocks.

    Raises:
        ValueError: If there are fewer than two groups.
    """
    labels, inverse = np.unique(group, return_inverse=True)
    if len(labels) < 2:
        raise ValueError("Need at least two groups of snapshots for cross-validation")
    return (rng.permutation(len(labels)) % BLOCKS)[inverse]


def _squares(data: TransitionData, drift: Array, reference: Array) -> Array:
    """Sums of r r^T, r whitened by L_ref, of expectation `patches` M M^T, shape [N, d, d]."""
    elapsed = data.elapsed.double().cpu().numpy()[:, None]
    residual = data.increment.double().cpu().numpy() - drift * elapsed
    factor, within = (
        torch.as_tensor(value, dtype=torch.float64).cpu().reshape(-1, 1).numpy()
        for value in (data.factor, data.within)
    )
    residual = np.linalg.solve(reference, (residual / np.sqrt(factor * elapsed)).T).T
    if data.known:
        residual = np.zeros_like(residual)
    squares = residual[:, :, None] * residual[:, None, :]
    if data.scatter is not None:
        scatter = data.scatter.double().cpu().numpy() / np.sqrt(within)[..., None]
        scatter = np.linalg.solve(reference, scatter)
        squares = squares + scatter @ scatter.transpose(0, 2, 1)
    return np.asarray(squares)


def _history(
    ensemble: Ensemble,
    training: TransitionData,
    validation: TransitionData,
    settings: DynamicsSettings,
    selection: Selection,
    began: float,
) -> History:
    likelihood = PartialLikelihood(ensemble, training, validation, settings)
    with torch.no_grad():
        losses: Tensor = likelihood.validate(ensemble.parameters_by_name())
    if not bool(torch.isfinite(losses).all()):
        raise FloatingPointError(
            "The likelihood of the polynomials is not finite: look for outliers"
        )
    drift = selection.drift
    return History(
        steps=list(drift.degrees),
        training_loss=[[float(v)] for v in drift.fitted.min(axis=1)],
        validation_loss=[[float(v)] for v in drift.scores.min(axis=1)],
        best_step=[selection.degree] * ensemble.members,
        best_loss=losses.tolist(),
        finished_step=max(drift.degrees),
        seconds=time.perf_counter() - began,
    )
