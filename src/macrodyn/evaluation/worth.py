"""What closure variables are worth: what they tell of the observables' drift beyond the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from macrodyn.evaluation.residual import residual_by_age
from macrodyn.evaluation.worth_fit import DriftFits

__all__ = ["MATERIAL", "Judged", "Worth", "judge_variables"]

Floats = NDArray[np.float64]
Verdict = Literal["yes", "no", "cannot tell"]

MATERIAL = 1e-4
"""Share of the drift's variance from which on a gain matters: an error of 1 % of its spread."""
# A residual by age is worth lowering above the first, and lowered by the second or less.
_POOR, _LOWERED = 2.0, 0.75
_LEVEL = 0.05
# Variables that are proposed at most.
_MOST = 4


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What one variable is worth.

    Attributes:
        name: Its name.
        role: Whether it is a `variable` of z or a `candidate`.
        gain: Mean square of the drift that it explains over the variance of the drift, of each
            observable, shape [observable]: of a variable beside the observables alone, of a
            candidate beside all of z.
        standard_error: Its standard error over groups.
        beside_others: The same beside all other variables of z.
        beside_others_error: Its standard error over groups.
        chi2_before: chi^2 per degree of freedom of the residual by age without it, of each
            observable.
        chi2_after: With it.
        verdict: Whether it is worth having.
    """

    name: str
    role: Literal["variable", "candidate"]
    gain: Floats
    standard_error: Floats
    beside_others: Floats
    beside_others_error: Floats
    chi2_before: Floats
    chi2_after: Floats
    verdict: Verdict

    def summary(self, observables: Sequence[str]) -> dict[str, Any]:
        """Return what is reported, as plain Python values."""
        fields = (
            "gain",
            "standard_error",
            "beside_others",
            "beside_others_error",
            "chi2_before",
            "chi2_after",
        )
        named = {
            field: dict(zip(observables, getattr(self, field).tolist(), strict=True))
            for field in fields
        }
        return {"role": self.role, "worth_having": self.verdict, **named}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What all variables are worth.

    Attributes:
        observables: Names of the observables.
        each: Of each variable and candidate.
        chi2_observables: chi^2 of the observables alone, shape [observable].
        chi2_all: chi^2 of all of z.
        gain_all: Gain of all closure variables together.
        gain_all_error: Its standard error.
        proposed: Variables and candidates that close the dynamics best, in the order in which they
            were added to the observables.
        chi2_proposed: Mean chi^2 over the observables with the first 0, 1, 2, ... of them, shape
            [1 + proposed].
    """

    observables: tuple[str, ...]
    each: tuple[Worth, ...]
    chi2_observables: Floats
    chi2_all: Floats
    gain_all: Floats
    gain_all_error: Floats
    proposed: tuple[str, ...]
    chi2_proposed: Floats

    def summary(self) -> dict[str, Any]:
        """Return what is reported, as plain Python values."""

        def named(values: Floats) -> dict[str, float]:
            return dict(zip(self.observables, values.tolist(), strict=True))

        return {
            "variables": {worth.name: worth.summary(self.observables) for worth in self.each},
            "all": {
                "gain": named(self.gain_all),
                "standard_error": named(self.gain_all_error),
                "chi2_before": named(self.chi2_observables),
                "chi2_after": named(self.chi2_all),
            },
            "proposed": {"names": list(self.proposed), "chi2": self.chi2_proposed.tolist()},
        }

    def lines(self) -> list[str]:
        """Say in a line for each variable whether it is worth having, and why; and the choice."""
        found = ", ".join(self.proposed) or "none"
        chi2 = " to ".join(f"{value:.2g}" for value in self.chi2_proposed)
        last = f"closure variables that lower the residual by age most: {found} (chi2 {chi2})"
        return [*(_line(worth, self.observables) for worth in self.each), last]


def judge_variables(
    observables: Mapping[str, Floats],
    variables: Mapping[str, Floats],
    candidates: Mapping[str, Floats],
    *,
    conditions: Floats,
    increment: Floats,
    elapsed: Floats,
    age: Floats,
    group: NDArray[np.int64],
    seed: int = 0,
) -> Judged:
    """Judge closure variables by how well they let the observables' drift be predicted.

    The rate of change of the observables is fitted, without any network, by ridge regression on
    polynomials of z, and each snapshot is predicted by a fit to other groups. Noise enters the
    squared errors of two such fits alike: the mean of their difference is that of the squared
    errors of the drift itself. So with f_0 and f the fits without and with a variable,

        gain = sum_s tau_s [(y_s - f_0)^2 - (y_s - f)^2] / V,
        V    = sum_s tau_s [(y_s - <y>)^2 - (y_s - f_0)^2]

    with y = increment / tau, and in V the f_0 of the observables alone. A variable is worth having
    where its gain is positive beyond chance (5 % in all, over observables) and of size: `MATERIAL`,
    or it takes a residual by age of chi^2 > 2 to 3/4 of it or less. It is not where the gain is
    below `MATERIAL` beyond chance.

    Many may be worth having that tell the same, or that tell of fluctuations which a mean
    trajectory does not feel. So some are proposed: one after the other is added to the observables,
    that which lowers the residual by age most, while it does so to 3/4 or less and chi^2 is above
    2.

    Args:
        observables: The observables of the snapshots, each of shape [sample].
        variables: The closure variables of z.
        candidates: Features that are none.
        conditions: Shape [sample, condition].
        increment: What the drift is fitted to, of each observable, shape [sample, observable].
        elapsed: Its time tau, shape [sample].
        age: Age of each snapshot, shape [sample].
        group: Group of each snapshot, shape [sample].
        seed: Seed of the division of the groups.

    Raises:
        Unavailable: If there are too few groups.
    """
    extra = {**variables, **candidates}
    scores = DriftFits.of(
        observables,
        extra,
        conditions=conditions,
        increment=increment,
        elapsed=elapsed,
        group=group,
        seed=seed,
    )
    groups = len(np.unique(group))
    inside = tuple(variables)

    def chi2(names: tuple[str, ...]) -> Floats:
        drift = scores.predicted(names)
        if np.isnan(drift).any():
            return np.full(drift.shape[1], np.nan)
        return residual_by_age(
            increment[:, None], elapsed[:, None], drift, age=age, group=group, fitted=False
        ).chi2_per_degree

    def judged(name: str) -> Worth:
        is_variable = name in variables
        others = tuple(n for n in inside if n != name)
        without: tuple[str, ...] = () if is_variable else inside
        gain, error = scores.gain(without, (*without, name))
        beside, beside_error = scores.gain(others, (*others, name))
        before, after = (chi2(names) for names in (without, (*without, name)))
        return Worth(
            name=name,
            role="variable" if is_variable else "candidate",
            gain=gain,
            standard_error=error,
            beside_others=beside,
            beside_others_error=beside_error,
            chi2_before=before,
            chi2_after=after,
            verdict=verdict(gain, error, before, after, groups),
        )

    gain, error = scores.gain((), inside)
    proposed, chi2_proposed = _propose(chi2, tuple(extra))
    return Judged(
        observables=tuple(observables),
        each=tuple(judged(name) for name in extra),
        chi2_observables=chi2(()),
        chi2_all=chi2(inside),
        gain_all=gain,
        gain_all_error=error,
        proposed=proposed,
        chi2_proposed=chi2_proposed,
    )


def _propose(
    chi2: Callable[[tuple[str, ...]], Floats], names: tuple[str, ...]
) -> tuple[tuple[str, ...], Floats]:
    """Add the variable that lowers the mean chi^2 most, while that is worth it."""

    def mean(chosen: tuple[str, ...]) -> float:
        # What is below 1 is chance, and makes up for nothing.
        return float(np.maximum(chi2(chosen), 1.0).mean())

    chosen: tuple[str, ...] = ()
    course = [mean(chosen)]
    while len(chosen) < _MOST and course[-1] > _POOR:
        found = {name: mean((*chosen, name)) for name in names if name not in chosen}
        known = {name: value for name, value in found.items() if np.isfinite(value)}
        best = min(known, key=lambda name: known[name], default=None)
        if best is None or known[best] > _LOWERED * course[-1]:
            break
        chosen, course = (*chosen, best), [*course, known[best]]
    return chosen, np.array(course)


def verdict(gain: Floats, error: Floats, before: Floats, after: Floats, groups: int) -> Verdict:
    """Say whether a variable is worth having.

    Args:
        gain: Shape [observable]; NaN where the drift does not vary.
        error: Its standard error.
        before: chi^2 of the residual by age without it, shape [observable]; NaN if unknown.
        after: With it.
        groups: Groups that the errors are of.
    """
    width = float(student.ppf(1 - _LEVEL / 2 / len(gain), groups - 1))
    known = np.isfinite(gain)
    with np.errstate(invalid="ignore"):
        lowered = (before > _POOR) & (after <= _LOWERED * before)
        positive = gain - width * error > 0
        small = gain + width * error < MATERIAL
    if (positive & ((gain >= MATERIAL) | lowered)).any():
        return "yes"
    if known.any() and (small & ~lowered)[known].all():
        return "no"
    return "cannot tell"


def _line(worth: Worth, observables: Sequence[str]) -> str:
    parts = [
        f"{name} {gain:.2g} +- {error:.1g}, chi2 {before:.2g} to {after:.2g}"
        for name, gain, error, before, after in zip(
            observables,
            worth.gain,
            worth.standard_error,
            worth.chi2_before,
            worth.chi2_after,
            strict=True,
        )
    ]
    return f"{worth.role} {worth.name}: worth having: {worth.verdict} ({'; '.join(parts)})"
