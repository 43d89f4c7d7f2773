"""How long upsampled snapshots must relax: do those that relaxed for less have another drift?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.residual import FEWEST_GROUPS, sums_by_group

__all__ = ["RelaxationTest", "compare_relaxations"]

Floats = NDArray[np.float64]

# Share of the drift's spread below which a difference is none that matters, however certain it is.
MATTERS = 0.02
# Chance, over all durations and variables together, that a duration is rejected though it is right.
LEVEL = 0.01


@dataclass(frozen=True, kw_only=True)
class RelaxationTest:
    """The drift of snapshots of each duration of relaxation, beside that of the longest.

    Attributes:
        durations: Durations, increasing, shape [duration].
        difference: Residual of each but the last less that of the last, mean over groups, shape
            [duration - 1, variable], units of the variable per unit of time.
        standard_error: Over groups, of the same shape.
        groups: Groups with snapshots of both, shape [duration - 1].
        spread: Standard deviation of the drift over the snapshots, shape [variable].
    """

    durations: Floats
    difference: Floats
    standard_error: Floats
    groups: NDArray[np.int64]
    spread: Floats

    @property
    def chances(self) -> Floats:
        """Chance of such a difference if there is none, smallest of the variables, [duration - 1].

        It is multiplied by the number of variables (Bonferroni).
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.abs(self.difference) / self.standard_error
        ratio = np.where(np.isnan(ratio), 0.0, ratio)
        each = 2.0 * student.sf(ratio, (self.groups - 1)[:, None])
        return np.asarray(np.minimum(each.min(axis=1) * each.shape[1], 1.0))

    @property
    def enough(self) -> float | None:
        """The shortest duration from which on none differs; None if all but the longest do.

        A difference counts where it is hardly chance, and is more than `MATTERS` of the spread.
        """
        found = None
        large = (np.abs(self.difference) > MATTERS * self.spread).any(axis=1)
        accepted = (self.chances > LEVEL / len(self.chances)) | ~large
        for duration, fine in zip(self.durations[-2::-1], accepted[::-1], strict=True):
            if not fine:
                break
            found = float(duration)
        return found

    def summary(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what is reported, as plain Python values.

        Args:
            names: Names of the variables.
        """

        def by_name(values: Floats) -> dict[str, Any]:
            return dict(zip(names, values.T.tolist(), strict=True))

        return {
            "durations": self.durations.tolist(),
            "difference": by_name(self.difference),
            "standard_error": by_name(self.standard_error),
            "spread": dict(zip(names, self.spread.tolist(), strict=True)),
            "chance": self.chances.tolist(),
            "enough": self.enough,
        }


def compare_relaxations(
    increment: ArrayLike,
    elapsed: ArrayLike,
    drift: ArrayLike,
    *,
    duration: ArrayLike,
    group: ArrayLike,
) -> RelaxationTest:
    """Compare the residuals of snapshots that relaxed for different times, group by group.

    In each group g and for each duration r, R_gr = sum (dz - tau mu(z)) / sum tau. The difference
    from the longest duration is taken within groups, which began alike: what all snapshots of a
    group share falls out of it. A drift that holds for all states gives no difference. One that was
    learned from traces of how the snapshots were put together, which z does not tell and relaxation
    takes away, does.

    Args:
        increment: Increments dz, shape [sample, patch, variable].
        elapsed: Their times tau, shape [sample, patch].
        drift: The drift mu at the samples, shape [sample, variable].
        duration: For how long each snapshot relaxed, shape [sample].
        group: Group of each snapshot, shape [sample].

    Returns:
        Differences, their errors, and what follows.

    Raises:
        Unavailable: If there is one duration only, or too few groups.
    """
    durations, left, time = sums_by_group(increment, elapsed, drift, value=duration, group=group)
    if len(durations) < 2:
        raise Unavailable(
            "all snapshots that were put together relaxed for the same time: only several "
            "durations, as in upsample.chains, tell which is enough"
        )
    with np.errstate(invalid="ignore"):
        residual = left / time[..., None]
    apart = residual[:-1] - residual[-1]
    known = np.isfinite(apart).all(axis=2)
    groups = known.sum(axis=1)
    if groups.min() < FEWEST_GROUPS:
        raise Unavailable(
            f"differences by group need {FEWEST_GROUPS} groups with snapshots of every duration, "
            f"there are {groups.min()}: raise simulate.groups"
        )
    apart = np.where(known[..., None], apart, np.nan)
    return RelaxationTest(
        durations=durations,
        difference=np.nanmean(apart, axis=1),
        standard_error=np.nanstd(apart, axis=1, ddof=1) / np.sqrt(groups)[:, None],
        groups=groups.astype(np.int64),
        spread=np.asarray(drift, np.float64).std(axis=0),
    )
