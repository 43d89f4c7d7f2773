"""Analyses across runs of partial forces: each reads their metrics, and draws a figure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from macrodyn.evaluation import style
from macrodyn.evaluation.verdict_parts import plain as finite
from macrodyn.methods.partial_forces.figures import panels
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import read_runs, write_findings

Metrics = dict[str, Any]
_MARKERS = "oD^s"
# Told by their values alone.
_BARE = ("dynamics.model", "dynamics.loss", "closure.encoder", "system.name")
_ORDER = ("size", *_BARE, "forces.number")
# How many forces there are: what the figure's axis shows.
_COUNTS = ("forces.configurations", "forces.runs")


def error_against_forces(job: Job) -> None:
    """Draw errors against the forces that were read, a line for runs that differ in no other."""
    runs = read_runs(job)
    series: dict[str, list[tuple[float, float, float]]] = {}
    for run in runs:
        error = run["error"]
        point = (run["forces"]["evaluations"], finite(error["mean"]), finite(error["std"]))
        if all(value is not None and np.isfinite(value) for value in point):
            series.setdefault(label_of(run, runs), []).append(point)  # type: ignore[arg-type]
    _draw_against_forces(job, series)
    write_findings(job, {label: sorted(points) for label, points in series.items()})


def structures(job: Job) -> None:
    """Draw the members' errors of all runs, beside what needs no forces."""
    runs = read_runs(job)
    members = {run["run"]: run["error"]["members"] for run in runs}
    beside = beside_first(members)
    _draw_structures(job, runs, beside)
    write_findings(job, {"members": members, "beside_first": beside})


def beside_first(members: Mapping[str, Sequence[float | None]]) -> dict[str, dict[str, float]]:
    """Compare the members' errors of each run with those of the first one.

    Welch's t-test of the logarithms, as errors are positive and spread by factors. Members differ
    in their seeds and share the data: what it tells is whether another training would agree.

    Args:
        members: Errors of the members of each run.

    Returns:
        Of each run but the first, with two finite errors or more: the ``ratio`` of the geometric
        means, and ``p``, the chance of such a difference if there is none.
    """
    kept = {
        name: np.log([v for v in map(finite, errors) if v is not None and 0 < v < np.inf])
        for name, errors in members.items()
    }
    (_, base), *others = kept.items()
    found = {}
    for name, errors in others:
        if min(len(base), len(errors)) >= 2:
            p = float(ttest_ind(errors, base, equal_var=False).pvalue)
            found[name] = {"ratio": float(np.exp(errors.mean() - base.mean())), "p": p}
    return found


@style.styled
def _draw_against_forces(job: Job, series: dict[str, list[tuple[float, float, float]]]) -> None:
    figure, (axis,) = panels(1, 1, height=4.2)
    ordered = sorted(series.items(), key=lambda item: by_number(item[0]))
    for place, (label, points) in enumerate(ordered):
        x, y, spread = np.array(sorted(points)).T
        colour = style.PALETTE[place % len(style.PALETTE)]
        low = np.maximum(y - spread, y / 3)
        marker = _MARKERS[place // len(style.PALETTE) % len(_MARKERS)]
        axis.errorbar(
            x, y, yerr=[y - low, spread], color=colour, marker=marker, label=label, linewidth=1.2
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("force evaluations")
    axis.set_ylabel("relative error of held-out trajectories")
    if series:
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=7.5)
    style.save(figure, job.outputs["figures"] / "error-against-forces.png")


@style.styled
def _draw_structures(
    job: Job, runs: list[Metrics], beside: Mapping[str, Mapping[str, float]]
) -> None:
    figure, (axis,) = panels(1, 1, height=1.2 + 0.32 * len(runs))
    for place, run in enumerate(runs):
        members = [v for v in map(finite, run["error"]["members"]) if v is not None]
        shown = [v for v in members if np.isfinite(v)]
        axis.plot(shown, [place] * len(shown), "o", color=style.PALETTE[0], alpha=0.5)
        if shown:
            axis.plot([np.mean(shown)], [place], "D", color=style.PALETTE[0], markersize=7)
        for k, (name, value) in enumerate(run["without_forces"].items()):
            if finite(value) is not None:
                label = f"{name}, no forces" if place == 0 else None
                colour = style.PALETTE[k + 1]
                axis.plot([value], [place], "|", color=colour, markersize=12, label=label)
    axis.set_xscale("log")
    names = [run["run"] for run in runs]
    axis.set_yticks(range(len(runs)), names)
    told = [_told(beside[name]) if name in beside else "" for name in names]
    right = axis.secondary_yaxis("right")
    right.set_yticks(range(len(runs)), told)
    right.tick_params(length=0, labelsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("relative error of held-out trajectories")
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        axis.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    style.save(figure, job.outputs["figures"] / "structures.png")


def _told(found: Mapping[str, float]) -> str:
    chance = "p < 0.001" if found["p"] < 1e-3 else f"p = {found['p']:.2g}"
    return f"{found['ratio']:.2g} times, {chance}"


def label_of(run: Metrics, runs: list[Metrics]) -> str:
    """What tells a run's series from the others': all that differs but the number of forces.

    Args:
        run: Metrics of one run.
        runs: Those of all runs.
    """
    facts = [_facts(r) for r in runs]
    told: list[str] = []
    apart = 1
    for key in sorted({key for found in facts for key in found}, key=_place):
        # Widths that follow from the model, say, tell nothing more.
        number = len({tuple(found.get(k) for k in (*told, key)) for found in facts})
        if number > apart:
            told, apart = [*told, key], number
    own = _facts(run)
    return ", ".join(own[key] for key in told if key in own) or "all runs"


def by_number(label: str) -> list[tuple[int, float, str]]:
    """Key that sorts labels by the numbers in them: 2700 before 21600."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(k % 2, float(part) if k % 2 else 0.0, part) for k, part in enumerate(parts)]


def _facts(run: Metrics) -> dict[str, str]:
    """Each setting of a run as it is told, by its key."""
    config = run["config"]
    found = {
        "size": "x".join(map(str, config["size"])),
        "forces.number": "of whole states" if config["forces"]["number"] == "all" else "of parts",
    }
    for section in ("system", "simulate", "forces", "closure", "dynamics", "evaluate"):
        for key, value in _leaves(config.get(section, {}), section):
            if key in _BARE:
                found[key] = str(value)
            elif key not in _COUNTS and key not in found:
                found[key] = f"{key.rpartition('.')[2].replace('_', ' ')} {value}"
    return found


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}")
    else:
        yield key, value


def _place(key: str) -> tuple[int, str]:
    """Where a fact stands in a label: the words first."""
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)
