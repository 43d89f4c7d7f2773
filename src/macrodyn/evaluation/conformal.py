"""Bands that hold whole trajectories with a known probability: split conformal prediction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable

Floats = NDArray[np.float64]

LEVEL = 0.9
"""Share of trajectories that lie within the bands."""
FLOOR = 0.05
"""Least scale of the deviations, in root mean square scales of the variable: a deterministic
beginning has no spread."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How wide bands must be, by one reference, and how they did on trajectories left aside.

    Attributes:
        name: Of the comparison that it is from.
        level: Nominal share of trajectories within the bands.
        factor: Half width of the bands over the predicted scale.
        floor: Least scale of each observable.
        calibrated: Trajectories that the factor is from.
        tested: Trajectories that were left aside.
        coverage: Share of these that lie within the bands at all times.
        until: Last time.
        spacing: Time between records, at which the bands hold.
    """

    name: str
    level: float
    factor: float
    floor: tuple[float, ...]
    calibrated: int
    tested: int
    coverage: float
    until: float
    spacing: float

    @property
    def coverage_error(self) -> float:
        """Standard deviation of the coverage that is measured, at this level.

        Both halves are finite: with n calibrated and k = ceil((n + 1) level), the number of t
        tested ones inside is beta-binomial with parameters k and n + 1 - k.
        """
        n, t = self.calibrated, self.tested
        k = math.ceil(_times(n + 1, self.level))
        p = k / (n + 1)
        return math.sqrt(p * (1 - p) * (t + n + 1) / (t * (n + 2)))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, of which `from_dict` makes the same again."""
        return asdict(self) | {"floor": list(self.floor)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Calibration:
        """The calibration that `as_dict` described."""
        return cls(**{**stored, "floor": tuple(stored["floor"])})


def least_scale(scale: ArrayLike) -> Floats:
    """`FLOOR` times the root mean square of predicted scales, of each variable.

    Args:
        scale: Shape [..., variable].

    Returns:
        Shape [variable].
    """
    found = np.asarray(scale, np.float64)
    squares = np.square(found).reshape(-1, found.shape[-1])
    return np.asarray(FLOOR * np.sqrt(squares.mean(axis=0)))


def trajectory_scores(
    trajectories: ArrayLike, centre: ArrayLike, scale: ArrayLike, floor: ArrayLike
) -> Floats:
    """Largest standardised deviation of each trajectory, over all times and variables.

        S = max over t, k of |y_k(t) - m_k(t)| / max(s_k(t), floor_k)

    Args:
        trajectories: y, shape [initial, replica, time, variable].
        centre: m, predicted means, shape [initial, time, variable].
        scale: s, predicted scales, the same shape.
        floor: Least scale of each variable, shape [variable].

    Returns:
        Shape [initial, replica]; infinite where something is not finite.

    Source: the supremum score with a modulation function of Diquigiovanni, Fontana and Vantini,
    J. Multivar. Anal. 189, 104879 (2022).
    """
    width = np.maximum(np.asarray(scale, np.float64), np.asarray(floor, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.asarray(trajectories, np.float64) - np.asarray(centre, np.float64)[:, None]
        found = np.where(deviation == 0.0, 0.0, np.abs(deviation) / width[:, None])
    found[~np.isfinite(found)] = np.inf
    return np.asarray(found.max(axis=(2, 3)))


def conformal_factor(scores: ArrayLike, level: float = LEVEL) -> float:
    """Width below which the score of one more trajectory lies, with the probability `level`.

    The k-th smallest of n scores, k = ceil((n + 1) level). Of exchangeable scores without ties a
    further one is at most that with probability k / (n + 1), whatever their distribution.

    Args:
        scores: Of the trajectories that calibrate, shape [n].
        level: The probability.

    Returns:
        The factor; infinite if n is too small for the level.

    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005); Lei et al.,
    J. Am. Stat. Assoc. 113, 1094 (2018), algorithm 2.
    """
    ordered = np.sort(np.asarray(scores, np.float64).reshape(-1))
    place = math.ceil(_times(len(ordered) + 1, level))
    return float(ordered[place - 1]) if place <= len(ordered) else math.inf


def calibrate(
    trajectories: ArrayLike,
    centre: ArrayLike,
    scale: ArrayLike,
    times: ArrayLike,
    *,
    name: str = "",
    level: float = LEVEL,
    seed: int = 0,
) -> Calibration:
    """Calibrate bands by half of the reference trajectories, and measure them on the other half.

    The halves are drawn at random from all trajectories of all initial states together. So the
    level holds for a trajectory from one of these initial states, drawn with equal probability, at
    all recorded times and of all observables at once.

    Args:
        trajectories: Reference, shape [initial, replica, time, variable].
        centre: Predicted means, shape [initial, time, variable].
        scale: Predicted scales, the same shape.
        times: Record times, shape [time].
        name: Of the comparison.
        level: Share of trajectories that the bands shall hold.
        seed: Seed of the halves.

    Raises:
        Unavailable: If there are too few trajectories for the level, or what is predicted is not
            finite.
    """
    floor = least_scale(scale)
    scores = trajectory_scores(trajectories, centre, scale, floor).reshape(-1)
    order = np.random.default_rng([seed, len(scores)]).permutation(len(scores))
    half = (len(scores) + 1) // 2
    own, aside = scores[order[:half]], scores[order[half:]]
    if math.ceil(_times(half + 1, level)) > half or not len(aside):
        raise Unavailable(
            f"{len(scores)} reference trajectories are too few for bands of {level:.0%}"
        )
    factor = conformal_factor(own, level)
    if not (math.isfinite(factor) and np.isfinite(floor).all()):
        raise Unavailable("the prediction, or the reference, is not finite")
    when = np.asarray(times, np.float64)
    return Calibration(
        name=name,
        level=level,
        factor=factor,
        floor=tuple(floor.tolist()),
        calibrated=half,
        tested=len(aside),
        coverage=float((aside <= factor).mean()),
        until=float(when[-1]),
        spacing=float(np.diff(when).min()),
    )


def _times(count: int, level: float) -> float:
    """The product, without what rounding adds: 0.9 times 10 is 9."""
    return round(count * level, 9)
