"""What a verdict consists of, how its numbers are read, and how they are worded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["good", "fair", "poor", "unknown"]
Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Advice:
    """What to change.

    Attributes:
        key: The configuration's key.
        text: How, and why.
    """

    key: str
    text: str


@dataclass(frozen=True)
class Finding:
    """One judgement.

    Attributes:
        subject: What is judged, such as `spread`.
        level: How good it is; ``unknown`` where the number is missing.
        text: One or two sentences.
        advice: What would make it better.
    """

    subject: str
    level: Level
    text: str
    advice: tuple[Advice, ...] = ()


def exact_score(metrics: Metrics, horizon: str, kind: str) -> float | None:
    """What an exact model would score."""
    return number(metrics, "horizons", horizon, "sampling_error", kind)


def get(metrics: Any, *path: str) -> Any:
    """Return what stands under a path of keys; None where one is missing."""
    for key in path:
        metrics = metrics.get(key) if isinstance(metrics, Mapping) else None
    return metrics


def number(metrics: Metrics, *path: str) -> float | None:
    """Return the number under a path of keys; None where it is missing or null."""
    return plain(get(metrics, *path))


def plain(value: Any) -> float | None:
    """Turn what metrics.json holds into a number: null is None, "diverged" infinity."""
    if value == "diverged":
        return math.inf
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        return None
    return float(value)


def why(metrics: Metrics, path: tuple[str, ...]) -> str:
    """Return the reason why a number, or what it is part of, could not be had."""
    reasons = metrics.get("unavailable") or {}
    for end in range(len(path), 0, -1):
        if reason := reasons.get(".".join(path[:end])):
            return f": {str(reason).rstrip('.')}"
    within = [reason for name, reason in reasons.items() if name.startswith(".".join(path) + ".")]
    if within:
        return f": {str(within[0]).rstrip('.')}"
    return ""


def on(subject: str, metrics: Metrics, horizon: str) -> str:
    """Name a subject; with the horizon, where there are several."""
    return f"{subject} ({horizon})" if _several(metrics) else subject


def where(metrics: Metrics, horizon: str) -> str:
    """Say on which horizon, where there are several."""
    return f" on the horizon {horizon}" if _several(metrics) else ""


def _several(metrics: Metrics) -> bool:
    """Whether there are several horizons, those without a reference included."""
    return len(metrics["horizons"]) + len(metrics.get("predicted") or {}) > 1


def percent(share: float) -> str:
    """Write a share in percent, to two figures."""
    value = 100 * share
    return f"{value:,.0f} %" if value >= 100 else f"{value:.2g} %"


def times(ratio: float) -> str:
    """Write how many times, to two figures."""
    if ratio >= 1e6:
        return "over a million times"
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.2g} times"
