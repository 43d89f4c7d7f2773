"""What is to be said of a prediction that was compared with nothing: range, agreement, memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from macrodyn.evaluation.verdict_horizon import (
    BLIND_ERROR,
    EXACT_TIMES,
    OUTSIDE_GOOD,
    SMALL_ERROR,
    naive_finding,
    outliers_finding,
    range_finding,
    spread_finding,
)
from macrodyn.evaluation.verdict_parts import (
    Advice,
    Finding,
    Level,
    Metrics,
    get,
    number,
    on,
    percent,
    plain,
    where,
    why,
)

__all__ = ["basis", "check_findings", "predicted_findings", "without_reference"]

MARKOV_GOOD = 0.1
"""Drift or diffusion at the second lag off by 10 % of that at the first, beyond noise.

More is no proof of memory: variables that relax within some dt differ as much.
"""
SECTION = "predicted"


def without_reference(metrics: Metrics) -> bool:
    """Whether the large system of a run was not simulated."""
    return metrics.get(SECTION) is not None


def basis(metrics: Metrics, findings: list[Finding]) -> str:
    """Say what a verdict without a reference rests on.

    Args:
        metrics: The run's metrics.
        findings: All that was found.
    """
    known = [f.subject.partition(" (")[0] for f in findings if f.level != "unknown"]
    told = dict.fromkeys(s for s in known if s not in ("error", "spread", "naive"))
    rest = f"what needs none: {', '.join(told)}" if told else "nothing that needs none"
    sizes = dict.fromkeys("x".join(map(str, s)) for s in (metrics.get("checked") or {}).values())
    smaller = f"direct simulation at {' and '.join(sizes)}, and " if sizes else "no simulation, "
    only = "" if sizes else "but "
    return (
        "There is no reference: the large system was not simulated. This verdict rests on "
        f"{smaller}{only}{rest}."
    )


def check_findings(metrics: Metrics, horizon: str) -> Iterator[Finding]:
    """Judge the same model at a smaller size, beside its error there."""
    size = get(metrics, "checked", horizon)
    if size is None or list(size) != list(get(metrics, "config", "sizes", "small") or []):
        # At its own size the small system is no approximation.
        yield naive_finding(metrics, horizon)
    yield spread_finding(metrics, horizon)
    share = number(metrics, "horizons", horizon, "ours", "range", "outside")
    if share is not None and share > OUTSIDE_GOOD:
        text = (
            f"{percent(share)} of the prediction{where(metrics, horizon)} lies outside of the "
            "training data's range, as a small system fluctuates more: it says less of the large "
            "one."
        )
        yield Finding(on("range", metrics, horizon), "unknown", text)


def predicted_findings(metrics: Metrics) -> Iterator[Finding]:
    """Judge what was predicted and not simulated."""
    for horizon in metrics.get(SECTION) or {}:
        yield range_finding(metrics, horizon, SECTION)
        yield _members(metrics, horizon)
        yield from _schemes(metrics, horizon)
        yield from outliers_finding(metrics, horizon, SECTION)
    yield _markov(metrics)


def _level(value: float, chance: float) -> Level:
    """How good an agreement is: as an error, whose square root is what trajectories are off by."""
    if value <= max(EXACT_TIMES * chance, SMALL_ERROR):
        return "good"
    return "fair" if value <= BLIND_ERROR else "poor"


def _members(metrics: Metrics, horizon: str) -> Finding:
    """Whether the members predict the same mean trajectories."""
    subject, place = on("agreement of the members", metrics, horizon), where(metrics, horizon)
    path = (SECTION, horizon, "ours", "agreement")
    value, chance = (number(metrics, *path, key) for key in ("mean", "chance"))
    advice = (
        Advice("dynamics.steps", "more, if the training figure still falls at its end"),
        Advice("dynamics.members", "two or more, as members that differ show what is not known"),
        Advice("upsample.snapshots", "more snapshots lower the noise of drift and diffusion"),
    )
    if value is None:
        text = f"Whether members agree{place} is unknown{why(metrics, path)}."
        return Finding(subject, "unknown", text, advice[1:2])
    if math.isinf(value):
        return Finding(subject, "poor", f"A member of the ensemble diverged{place}.", advice)
    level = _level(value, chance or 0.0)
    does = "agree" if level == "good" else "disagree"
    text = (
        f"The members of the ensemble {does}{place}: their mean trajectories are off from each "
        f"other's mean by {percent(math.sqrt(value))} of its size (by chance "
        f"{percent(math.sqrt(chance or 0.0))})."
    )
    return Finding(subject, level, text, () if level == "good" else advice)


def _schemes(metrics: Metrics, horizon: str) -> Iterator[Finding]:
    """Whether other ways of learning the same predict the same; naive is meant to differ."""
    names = {"polynomial": "Polynomials", "full": "Whole snapshots that were evolved"}
    for scheme, told in names.items():
        path = (SECTION, horizon, scheme, "difference")
        value, chance = (number(metrics, *path, key) for key in ("mean", "chance"))
        if value is None:
            continue
        subject = on(f"agreement with {scheme}", metrics, horizon)
        if math.isinf(value):
            text = f"{told} predict something else{where(metrics, horizon)}: they diverge."
            yield Finding(subject, "fair", text)
            continue
        level = _level(value, chance or 0.0)
        what = "the same" if level == "good" else "something else"
        text = (
            f"{told} predict {what}{where(metrics, horizon)}: mean trajectories are "
            f"{percent(math.sqrt(value))} of their size apart."
        )
        more = Advice("upsample.snapshots", "more snapshots leave less room to differ")
        yield Finding(subject, level, text, () if level == "good" else (more,))


def _markov(metrics: Metrics) -> Finding:
    """Whether drift and diffusion are the same over a longer time; if not, it cannot tell why."""
    subject = "Markov test"
    found = {}
    for name, kinds in (metrics.get("markov") or {}).items():
        for kind, by_lag in kinds.items():
            lags = sorted((lag for lag in by_lag if int(lag) > 1), key=int)
            value = plain(by_lag[lags[0]]) if lags else None
            if value is not None:
                found[f"{kind} of {name.replace('_', ' ')}"] = (value, lags[0])
    if not found:
        reason = why(metrics, ("markov",)) or ": evolve.lags has no second lag"
        advice = Advice("evolve.lags", "[1, 2]: a longer lag shows memory")
        return Finding(subject, "unknown", f"The Markov test is unknown{reason}.", (advice,))
    name, (worst, lag) = max(found.items(), key=lambda item: item[1][0])
    text = f"Over {lag} dt the {name} is off by {percent(worst)} of that over dt, beyond noise"
    if worst <= MARKOV_GOOD:
        return Finding(subject, "good", f"{text}: the variables are Markov over dt.")
    text += ": memory does so, and so does a dt near the relaxation time, which is no error."
    return Finding(subject, "unknown", text)
