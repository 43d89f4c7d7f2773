"""How far predictions agree with each other: what can be told of them without a reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.metrics import mean_error, spread_error

__all__ = ["MembersAgreement", "SchemesAgreement", "members_agreement", "schemes_agreement"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MembersAgreement:
    """How far the members of an ensemble are from their common mean trajectories.

    Attributes:
        members: Relative squared difference of each member's mean trajectories from the mean over
            members, as `mean_error`; infinite for one that diverged. Shape [M].
        chance: The same of equal members, by the finite number of their trajectories.
    """

    members: Floats
    chance: float

    def summary(self) -> dict[str, float | list[float]]:
        """Return the figures that are reported, as plain Python numbers."""
        return {
            "mean": float(self.members.mean()),
            "members": self.members.tolist(),
            "chance": self.chance,
        }


@dataclass(frozen=True, kw_only=True)
class SchemesAgreement:
    """How far one ensemble's trajectories are from another's.

    Attributes:
        mean: Relative squared difference of their mean trajectories, as `mean_error`.
        spread: The same of their standard deviations over replicas, as `spread_error`.
        chance: That of the means of equal ensembles, by the finite number of their trajectories.
    """

    mean: float
    spread: float
    chance: float


def members_agreement(prediction: ArrayLike) -> MembersAgreement:
    """Compare the members' mean trajectories with the mean over members.

    Members have noise of their own. Of M equal members with R trajectories of variance v each, the
    expected squared difference is (1 - 1/M) v / R; less, as members begin with the same states.

    Args:
        prediction: Trajectories, shape [member, initial, replica, time, observable].

    Raises:
        Unavailable: If there is one member, if all diverged, or a mean trajectory is zero.
    """
    values = np.asarray(prediction, np.float64)
    if len(values) < 2:
        raise Unavailable("there is one member")
    finite = _finite(values)
    kept = values[finite]
    means = kept.mean(axis=2)
    centre = means.mean(axis=0)
    found = np.full(len(values), np.inf)
    found[finite] = mean_error(means, centre).members
    share = 1.0 - 1.0 / len(kept)
    return MembersAgreement(members=found, chance=share * _chance(kept, centre))


def schemes_agreement(prediction: ArrayLike, other: ArrayLike) -> SchemesAgreement:
    """Compare the trajectories of another ensemble with those of one.

    Args:
        prediction: Trajectories that count as right, shape [member, initial, replica, time,
            observable]; members that diverged are left out.
        other: Trajectories of the other, likewise.

    Raises:
        Unavailable: If all members of one diverged, or a mean trajectory or a spread is zero.
    """
    ours, theirs = (
        values[_finite(values)]
        for values in (np.asarray(given, np.float64) for given in (prediction, other))
    )
    centre = ours.mean(axis=(0, 2))
    spread = _spread(ours)
    chance = _chance(ours, centre) / len(ours) + _chance(theirs, centre) / len(theirs)
    return SchemesAgreement(
        mean=mean_error(theirs.mean(axis=(0, 2))[None], centre).mean,
        spread=spread_error(_spread(theirs)[None], spread).mean,
        chance=chance,
    )


def _finite(values: Floats) -> NDArray[np.bool_]:
    """Members whose trajectories are finite throughout, shape [member].

    Raises:
        Unavailable: If there is none.
    """
    finite = np.asarray(np.isfinite(values).all(axis=(1, 2, 3, 4)))
    if not finite.any():
        raise Unavailable("every member diverged")
    return finite


def _spread(values: Floats) -> Floats:
    """Pooled standard deviation over replicas within members, shape [initial, time, observable]."""
    found: Floats = np.sqrt(values.var(axis=2, ddof=1).mean(axis=0))
    return found


def _chance(values: Floats, centre: Floats) -> float:
    """Expected relative squared error of one member's mean trajectories by its replicas alone."""
    variance = np.square(_spread(values)).sum(axis=(1, 2)) / values.shape[2]
    return float(np.mean(variance / np.square(centre).sum(axis=(1, 2))))
