"""What a run's numbers mean, in words: a pure function from metrics to findings with advice.

Every threshold is a constant here, and stands in docs/when-the-verdict-is-bad.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from macrodyn.evaluation.verdict_horizon import horizon_error, horizon_findings
from macrodyn.evaluation.verdict_parts import (
    Advice,
    Finding,
    Level,
    Metrics,
    get,
    number,
    percent,
    plain,
    why,
)
from macrodyn.evaluation.verdict_predicted import (
    basis,
    check_findings,
    predicted_findings,
    without_reference,
)

__all__ = ["ORDER", "Advice", "Finding", "Level", "Verdict", "advice_of", "judge"]

RESIDUAL_GOOD, RESIDUAL_FAIR = 2.0, 5.0
"""Residual of the increments by snapshot age, chi^2 per degree of freedom."""
COVARIANCE_GOOD, COVARIANCE_FAIR = 0.05, 0.2
"""Relative difference, beyond three standard errors, of variances by increments and by rates."""
FACTOR_ERRORS, FACTOR_PERCENT = 3.0, 20.0
"""A covariance factor differs from its estimate by more standard errors, and more percent."""
ORIGIN_GOOD, ORIGIN_FAIR = 0.1, 0.5
"""Share of a closure variable's variance that comes from where the tiling begins."""

ORDER: dict[Level, int] = {"good": 0, "unknown": 1, "fair": 2, "poor": 3}


@dataclass(frozen=True)
class Verdict:
    """All that is to be said of a run.

    Attributes:
        level: That of the worst finding that is known; of the error alone if that is unknown, or
            poor where nothing was to be compared and something is poor.
        headline: One sentence; it names what else is poor.
        findings: In order of importance.
        advice: What to change, the poorest finding's first, each key once.
    """

    level: Level
    headline: str
    findings: tuple[Finding, ...]
    advice: tuple[Advice, ...]


def judge(metrics: Metrics) -> Verdict:
    """Judge a run by its metrics.

    Args:
        metrics: Content of the run's metrics.json. Any of it may be missing or null; the reason
            under `unavailable` is then quoted.

    Returns:
        The verdict.
    """
    horizons = metrics.get("horizons") or {}
    errors = [horizon_error(metrics, horizon) for horizon in horizons]
    if not errors:
        errors = [_uncompared(metrics)]
    findings = list(errors)
    alone = without_reference(metrics)
    for horizon in horizons:
        findings += (check_findings if alone else horizon_findings)(metrics, horizon)
    if alone:
        findings += predicted_findings(metrics)
    findings += [_residual(metrics), *_relaxation(metrics), *_factor(metrics)]
    findings += [*_known_covariance(metrics), *_origins(metrics), *_conditions(metrics)]
    worst = max(errors, key=lambda finding: ORDER[finding.level])
    poor = [f.subject for f in findings if f.level == "poor" and not f.subject.startswith("error")]
    level: Level = worst.level
    if level != "unknown":
        level = max((f.level for f in findings), key=lambda found: ORDER[found])
        level = worst.level if level == "unknown" else level
    elif alone and poor:
        level = "poor"
    weak = f" Poor: {', '.join(dict.fromkeys(poor))}." if poor else ""
    # A reference that cannot judge comes first: what it says of the rest may be noise.
    blind = [finding for finding in errors if finding.level == "unknown"]
    ordered = blind + sorted(findings, key=lambda finding: -ORDER[finding.level])
    told = f"{basis(metrics, findings)} {worst.text}" if alone else worst.text
    return Verdict(level, told + weak, tuple(findings), advice_of(ordered))


def advice_of(findings: Sequence[Finding]) -> tuple[Advice, ...]:
    """What to change, the first finding's first, each key once."""
    advice = {one.key: one for finding in reversed(findings) for one in reversed(finding.advice)}
    return tuple(reversed(advice.values()))


def _uncompared(metrics: Metrics) -> Finding:
    text = "Nothing was compared with direct simulation."
    if not without_reference(metrics):
        return Finding("error", "unknown", text)
    advice = Advice("evaluate.sizes", "a smaller size too, such as sizes.small: it is simulated")
    return Finding("error", "unknown", text, (advice,))


def _residual(metrics: Metrics) -> Finding:
    """Whether increments of snapshots of every age have the drift that was learned."""
    path = ("residual_by_age", "ours", "chi2_per_degree")
    found = {k: plain(v) for k, v in (get(metrics, *path) or {}).items()}
    known = {name: value for name, value in found.items() if value is not None}
    if not known:
        text = f"The residual of the increments by snapshot age is unknown{why(metrics, path)}."
        return Finding("residual by age", "unknown", text)
    name, worst = max(known.items(), key=lambda item: item[1])
    text = (
        f"The increments' residual by snapshot age is chi² = {worst:.2g} per degree of freedom "
        f"({name})"
    )
    if worst <= RESIDUAL_GOOD:
        return Finding(
            "residual by age", "good", f"{text}: the drift holds for snapshots of all ages."
        )
    advice = (
        Advice(
            "upsample.relaxation.duration",
            "longer: young snapshots keep traces of how they were put together",
        ),
        Advice("evolve.dt", "longer than the memory of what the closure variables leave out"),
        Advice("evolve.buffer", "a few sites, which keep the frozen boundary off the patch"),
        Advice("closure.dimension", "one variable more, if the residual stays"),
    )
    level: Level = "fair" if worst <= RESIDUAL_FAIR else "poor"
    return Finding(
        "residual by age",
        level,
        f"{text}: the drift learned is not that of snapshots of every age.",
        advice,
    )


def _relaxation(metrics: Metrics) -> Iterator[Finding]:
    """Whether snapshots have relaxed for long enough, where they relaxed for different times."""
    durations = get(metrics, "relaxation", "durations")
    if not durations:
        return
    shortest, longest = durations[0], durations[-1]
    enough = number(metrics, "relaxation", "enough")
    if enough == shortest:
        text = (
            f"Snapshots that relaxed for {shortest:g} have the drift of those that relaxed for "
            f"{longest:g}."
        )
        yield Finding("relaxation", "good", text)
        return
    least = longest if enough is None else enough
    text = (
        f"Snapshots that relaxed for less than {least:g} have another drift than those that "
        f"relaxed longest, for {longest:g}: they keep traces of how they were put together."
    )
    upsample = get(metrics, "config", "upsample") or {}
    if upsample.get("chains"):
        advice = Advice("upsample.chains", f"after: {least:g} and longer")
    elif enough is not None:
        advice = Advice("upsample.relaxation.up_to_age", "false: young snapshots relax as long")
    else:
        advice = Advice("upsample.relaxation.duration", f"longer than {longest:g}")
    yield Finding("relaxation", "fair", text, (advice,))


def _known_covariance(metrics: Metrics) -> Iterator[Finding]:
    """Whether a covariance that was taken from rates is that of the increments."""
    ratios = metrics.get("covariance_ratio") or {}
    off = {}
    for name in ratios:
        ratio, error = (
            number(metrics, "covariance_ratio", name, key) for key in ("ratio", "standard_error")
        )
        if ratio is not None and error is not None:
            off[name] = (max(abs(ratio - 1.0) - 3.0 * error, 0.0), ratio)
    if not off:
        return
    name, (beyond, ratio) = max(off.items(), key=lambda item: item[1][0])
    text = f"The variance of the increments is {ratio:.3g} times what the rates say ({name})"
    if beyond <= COVARIANCE_GOOD:
        yield Finding("covariance", "good", f"{text}.")
        return
    advice = (
        Advice("dynamics.covariance_from", "increments: over dt the noise is no longer the rates'"),
        Advice("evolve.dt", "shorter, if the rates are to be kept"),
    )
    level: Level = "fair" if beyond <= COVARIANCE_FAIR else "poor"
    yield Finding("covariance", level, f"{text}, beyond chance.", advice)


def _factor(metrics: Metrics) -> Iterator[Finding]:
    """Whether the covariance factor that was used is that of the data."""
    used, estimated, error = (
        number(metrics, "covariance_factor", "ours", key)
        for key in ("used", "estimated", "standard_error")
    )
    if used is None or estimated is None or error is None or estimated <= 0:
        return
    percent = 100 * abs(used / estimated - 1)
    if percent > FACTOR_PERCENT and abs(used - estimated) > FACTOR_ERRORS * error:
        text = (
            f"The covariance factor that was used, {used:.3g}, is not that of the data, "
            f"{estimated:.3g} ± {error:.1g}: the patches' noises depend on each other."
        )
        advice = Advice(
            "dynamics.covariance_factor",
            "estimated, where the patches' noises depend on each other",
        )
        yield Finding("covariance factor", "fair", text, (advice,))
    elif without_reference(metrics):
        text = (
            f"The covariance factor that was used, {used:.3g}, is that of the data, "
            f"{estimated:.3g} ± {error:.1g}."
        )
        yield Finding("covariance factor", "good", text)


def _origins(metrics: Metrics) -> Iterator[Finding]:
    """Whether closure variables depend on where the tiling begins."""
    shares = [plain(share) for share in get(metrics, "closure", "origin_share") or []]
    known = [share for share in shares if share is not None]
    if known and max(known) > ORIGIN_GOOD:
        place = shares.index(max(known))
        text = (
            f"{percent(min(max(known), 1.0))} of the variance of closure variable {place} comes "
            "from where the tiling begins, which is no property of the state."
        )
        advice = Advice("closure.encoder", "pooled, which depends on it far less")
        yield Finding(
            "closure variables", "fair" if max(known) <= ORIGIN_FAIR else "poor", text, (advice,)
        )


def _conditions(metrics: Metrics) -> Iterator[Finding]:
    """Whether the run is evaluated outside of the conditions that were sampled."""
    for name, found in (metrics.get("conditions_outside") or {}).items():
        text = (
            f"Evaluated at {name} = {found.get('value')}, outside of the sampled values from "
            f"{found.get('low')} to {found.get('high')}: there the model is a guess."
        )
        advice = Advice(f"conditions.{name}", "values on both sides of the one that is evaluated")
        yield Finding("conditions", "poor", text, (advice,))
