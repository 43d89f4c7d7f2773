"""What a run's numbers on one horizon mean: error, naive, spread, range, members."""

from __future__ import annotations

import math
from collections.abc import Iterator

from macrodyn.evaluation.verdict_parts import (
    Advice,
    Finding,
    Level,
    Metrics,
    exact_score,
    get,
    number,
    on,
    percent,
    plain,
    times,
    where,
    why,
)

__all__ = [
    "horizon_error",
    "horizon_findings",
    "naive_finding",
    "outliers_finding",
    "range_finding",
    "spread_finding",
]

EXACT_TIMES = 3.0
"""Up to so many times an exact model's score an error is good."""
FAR_TIMES = 30.0
"""Beyond so many times an exact model's score a run is far off, unless its error is small."""
SMALL_ERROR = 1e-3
"""Test error that is small in itself: mean trajectories off by 3 % of their size."""
BLIND_ERROR = 1e-2
"""Means off by 10 %: a larger error is far off; an exact model that scores more, no measure."""
AS_WELL = 1.5
"""Two errors within this factor are equally good."""
SPREAD_GOOD, SPREAD_FAIR = 1e-2, 1e-1
"""Relative squared error of the standard deviation: off by 10 %, by 32 %."""
OUTSIDE_GOOD, OUTSIDE_FAIR = 0.01, 0.1
"""Share of a prediction outside of the training data's range."""
MEMBER_FAIR, MEMBER_POOR = 3.0, 10.0
"""Error of the worst member of the ensemble over that of the median one."""

# Keeps a ratio finite where an error is zero.
TINY = 1e-300
NAIVE = "naive, which takes the small system for the large one,"


def horizon_findings(metrics: Metrics, horizon: str) -> list[Finding]:
    """Judge all but the error itself on one horizon."""
    found = [naive_finding(metrics, horizon), spread_finding(metrics, horizon)]
    found.append(range_finding(metrics, horizon))
    return [*found, *_members(metrics, horizon), *outliers_finding(metrics, horizon)]


def horizon_error(metrics: Metrics, horizon: str) -> Finding:
    """How many times an exact model's score the error is."""
    subject = on("error", metrics, horizon)
    path = ("horizons", horizon, "ours", "test_error", "mean")
    error, exact = number(metrics, *path), exact_score(metrics, horizon, "mean")
    place = where(metrics, horizon)
    if error is None:
        return Finding(subject, "unknown", f"The error{place} is unknown{why(metrics, path)}.")
    if math.isinf(error):
        step = f"evaluate.horizons.{horizon}.step"
        advice = Advice(
            step, "a smaller step of the prediction's integrator, or a shorter evolve.dt"
        )
        fewer = Advice(
            "closure.dimension", "fewer closure variables: they have no bounds of their own"
        )
        return Finding(subject, "poor", f"The prediction{place} diverged.", (advice, fewer))
    off = f"mean trajectories{place} are off by {percent(math.sqrt(error))} of their size"
    more = (
        Advice("upsample.snapshots", "more snapshots lower the noise of drift and diffusion"),
        Advice("evolve.patches", "more patches of each snapshot do so too, and are cheap"),
    )
    if exact is None or exact <= 0:
        text = f"Not judged: {off}; what an exact model would score is unknown"
        return Finding(
            subject, "unknown", text + why(metrics, ("horizons", horizon, "sampling_error")) + "."
        )
    score = f"test error {error:.1e}, {times(error / exact)} an exact model's score of {exact:.1e}"
    if error > EXACT_TIMES * exact:
        score += f": above {EXACT_TIMES:g} times"
    high = exact_score(metrics, horizon, "mean_q95") or exact
    if exact > BLIND_ERROR:
        text = (
            f"Cannot be judged by so few reference trajectories: {off} ({score}), but an exact "
            f"model would be off by {percent(math.sqrt(exact))}."
        )
        replicas = Advice(
            "evaluate.replicas", "more reference trajectories, and as many predicted ones"
        )
        level: Level = "poor" if error > FAR_TIMES * exact else "unknown"
        return Finding(subject, level, text, (replicas, *(more if level == "poor" else ())))
    if error <= max(high, EXACT_TIMES * exact):
        told = "As good as an exact model" if error <= high else "Nearly as good as an exact model"
        return Finding(subject, "good", f"{told}: {off} ({score}).")
    if error <= max(SMALL_ERROR, min(FAR_TIMES * exact, BLIND_ERROR)):
        return Finding(subject, "fair", f"Close to direct simulation: {off} ({score}).", more)
    return Finding(subject, "poor", f"Far from direct simulation: {off} ({score}).", more)


def naive_finding(metrics: Metrics, horizon: str) -> Finding:
    """Whether taking the small system for the large one does as well."""
    subject, place = on("naive", metrics, horizon), where(metrics, horizon)
    path = ("horizons", horizon, "naive", "test_error", "mean")
    ours, naive = number(metrics, *path[:2], "ours", *path[3:]), number(metrics, *path)
    if get(metrics, *path[:3]) is None:
        advice = Advice(
            "baselines", "add naive: it shows whether the large system had to be learned"
        )
        text = f"Whether {NAIVE} does as well{place} is unknown: it was not run."
        return Finding(subject, "unknown", text, (advice,))
    if naive is None:
        return Finding(subject, "unknown", f"Naive's error{place} is unknown{why(metrics, path)}.")
    if ours is None or math.isinf(ours):
        return Finding(subject, "unknown", f"Naive{place} has nothing to be compared with.")
    if math.isinf(naive):
        return Finding(subject, "good", f"{NAIVE.capitalize()} diverged{place}.")
    if naive > AS_WELL * ours:
        text = f"{NAIVE.capitalize()} has {times(naive / max(ours, TINY))} the error{place}."
        return Finding(subject, "good", text)
    better = naive * AS_WELL < ours
    does = f"does better, by {times(ours / max(naive, TINY))}," if better else "does as well"
    text = f"{NAIVE.capitalize()} {does} for the mean{place}."
    wide = number(metrics, *path[:3], "spread_error", "mean")
    own = number(metrics, *path[:2], "ours", "spread_error", "mean")
    if wide is not None and own is not None and wide > AS_WELL * own:
        far = "diverged" if math.isinf(wide) else f"is off by {percent(math.sqrt(wide))}"
        text += f" Its spread {far}, against {percent(math.sqrt(own))} here."
        return Finding(subject, "fair" if better else "good", text)
    advice = Advice(
        "sizes.small", "a smaller one: this one is large enough to be taken for the large system"
    )
    return Finding(subject, "fair", text, (advice,))


def spread_finding(metrics: Metrics, horizon: str) -> Finding:
    """Whether the standard deviation over replicas is right."""
    subject, place = on("spread", metrics, horizon), where(metrics, horizon)
    path = ("horizons", horizon, "ours", "spread_error", "mean")
    error = number(metrics, *path)
    if error is None:
        return Finding(subject, "unknown", f"The spread{place} is unknown{why(metrics, path)}.")
    if math.isinf(error):
        return Finding(subject, "poor", f"The spread{place} diverged.")
    text = f"The spread over trajectories{place} is off by {percent(math.sqrt(error))}"
    exact = exact_score(metrics, horizon, "spread")
    if exact is not None and exact > 0:
        text += f" (an exact model: {percent(math.sqrt(exact))})"
    text += f"{_width(metrics, horizon)}."
    high = exact_score(metrics, horizon, "spread_q95") or 0.0
    if error <= max(high, SPREAD_GOOD):
        return Finding(subject, "good", text)
    fair = max(SPREAD_FAIR, EXACT_TIMES * (exact or 0.0))
    advice = (
        Advice(
            "dynamics.covariance_factor",
            "estimated, where the patches' noises depend on each other",
        ),
        Advice(
            "evolve.dt",
            "another time of a pair: diffusion is wrong where dt is shorter than the memory",
        ),
    )
    return Finding(subject, "fair" if error <= fair else "poor", text, advice)


def _width(metrics: Metrics, horizon: str) -> str:
    """Say of which observables the late spread is too wide or too narrow."""
    found = get(metrics, "horizons", horizon, "ours", "equilibrium") or {}
    words = []
    for name, values in found.items():
        true = number(values, "reference_std")
        said = number(values, "prediction_std")
        if not true or said is None or math.isinf(said):
            continue
        off = said / true - 1
        if abs(off) > math.sqrt(SPREAD_GOOD):
            words.append(
                f"{name.replace('_', ' ')} {'wide' if off > 0 else 'narrow'} by {percent(abs(off))}"
            )
    return f"; at late times: {', '.join(words)}" if words else ""


def range_finding(metrics: Metrics, horizon: str, section: str = "horizons") -> Finding:
    """Which share of the prediction lies outside of the training data.

    Args:
        metrics: The run's metrics.
        horizon: The horizon.
        section: Where it stands in the metrics.
    """
    subject, place = on("range", metrics, horizon), where(metrics, horizon)
    path = (section, horizon, "ours", "range")
    share, initial = (number(metrics, *path, key) for key in ("outside", "initial_outside"))
    if share is None:
        return Finding(
            subject,
            "unknown",
            f"Which share of the prediction{place} lies outside of the training data is unknown"
            f"{why(metrics, path)}.",
        )
    text = f"{percent(share)} of the prediction{place} lies outside of the training data's range"
    advice = []
    if initial:
        text += f", and {percent(initial)} of the initial states"
        advice.append(Advice("simulate.initial_range", "wider, so that it covers evaluate.initial"))
    worst = max(share, initial or 0.0)
    if worst <= OUTSIDE_GOOD:
        return Finding(subject, "good", f"{text}.")
    advice.append(
        Advice(
            "simulate.times", "later snapshots, up to where trajectories end, or more in between"
        )
    )
    return Finding(
        subject,
        "fair" if worst <= OUTSIDE_FAIR else "poor",
        f"{text}: there the model is a guess.",
        tuple(advice),
    )


def _members(metrics: Metrics, horizon: str) -> Iterator[Finding]:
    """Whether the members of the ensemble disagree."""
    found = get(metrics, "horizons", horizon, "ours", "test_error", "members") or []
    errors = sorted(number for number in map(plain, found) if number is not None)
    if len(errors) < 2:
        return
    subject, place = on("members", metrics, horizon), where(metrics, horizon)
    median, worst = errors[(len(errors) - 1) // 2], errors[-1]
    exact = exact_score(metrics, horizon, "mean_q95") or 0.0
    advice = (
        Advice("dynamics.steps", "more, if the training figure still falls at its end"),
        Advice("dynamics.members", "more members, of which one bad one spoils less"),
    )
    if math.isinf(worst):
        lost = sum(map(math.isinf, errors))
        yield Finding(subject, "poor", f"{lost} of {len(errors)} members diverged{place}.", advice)
        return
    ratio = worst / median if median > 0 else 1.0
    mean_model = number(metrics, "horizons", horizon, "ours", "mean_model", "test_error")
    beside = "" if mean_model is None else f"; the mean model's error is {_error(mean_model)}"
    if worst <= exact or ratio <= MEMBER_FAIR:
        yield Finding(
            subject,
            "good",
            f"The {len(errors)} members of the ensemble agree{place}: the worst has {times(ratio)} "
            f"the median error{beside}.",
        )
        return
    level: Level = "fair" if ratio <= MEMBER_POOR else "poor"
    yield Finding(
        subject,
        level,
        f"The members of the ensemble disagree{place}: the worst has {times(ratio)} the median "
        f"error{beside}.",
        advice,
    )


def _error(value: float) -> str:
    return "infinite" if math.isinf(value) else f"{value:.1e}"


def outliers_finding(
    metrics: Metrics, horizon: str, section: str = "horizons"
) -> Iterator[Finding]:
    """Members of the ensemble that leave the others, by their drift or by where they end up.

    Arguments as of `range_finding`.
    """
    path = (section, horizon, "ours", "members")
    left = get(metrics, *path, "outliers") or []
    if not left:
        return
    drifts = get(metrics, "members", "ours") or {}
    words = []
    for member in left:
        by = []
        if member in (drifts.get("outliers") or []):
            far, at = plain(drifts["distance"][member]), drifts["at"][member]
            near = ", ".join(f"{name} = {value:.2g}" for name, value in at.items())
            by.append(f"by its drift near {near} ({far:.2g} times the others' scatter)")
        if member in (get(metrics, *path, "late", "outliers") or []):
            by.append("by where its trajectories end")
        words.append(f"member {member} {' and '.join(by)}")
    text = f"Members that leave the others{where(metrics, horizon)}: {'; '.join(words)}."
    all_of_them = number(metrics, *path[:3], "test_error", "mean")
    others = number(metrics, *path, "test_error")
    if all_of_them is not None and others is not None:
        text += (
            f" The mean error is {_error(all_of_them)} with them, {_error(others)} over the "
            f"{get(metrics, *path, 'kept')} others."
        )
    advice = (
        Advice("upsample.snapshots", "more snapshots leave a member less room of its own"),
        Advice("dynamics.model", "polynomial, whose members hardly differ, to compare with"),
    )
    yield Finding(on("members that left", metrics, horizon), "poor", text, advice)
