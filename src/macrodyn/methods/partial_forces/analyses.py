"""Analyses across runs of partial forces: each reads their metrics, and draws a figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from macrodyn.evaluation import style
from macrodyn.evaluation.verdict_parts import plain as finite
from macrodyn.methods.partial_forces.figures import panels
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import read_runs, write_findings

Metrics = dict[str, Any]


def error_against_forces(job: Job) -> None:
    """Draw errors against the forces that were read, a line for each size, model and loss."""
    runs = read_runs(job)
    series: dict[str, list[tuple[float, float, float]]] = {}
    for run in runs:
        error = run["error"]
        point = (run["forces"]["evaluations"], finite(error["mean"]), finite(error["std"]))
        if all(value is not None and np.isfinite(value) for value in point):
            series.setdefault(_label(run, runs), []).append(point)  # type: ignore[arg-type]
    _draw_against_forces(job, series)
    write_findings(job, {label: sorted(points) for label, points in series.items()})


def structures(job: Job) -> None:
    """Draw the members' errors of all runs, beside what needs no forces."""
    runs = read_runs(job)
    _draw_structures(job, runs)
    write_findings(job, {run["run"]: run["error"]["members"] for run in runs})


@style.styled
def _draw_against_forces(job: Job, series: dict[str, list[tuple[float, float, float]]]) -> None:
    figure, (axis,) = panels(1, 1, height=4.2)
    for place, (label, points) in enumerate(sorted(series.items())):
        x, y, spread = np.array(sorted(points)).T
        colour = style.PALETTE[place % len(style.PALETTE)]
        low = np.maximum(y - spread, y / 3)
        axis.errorbar(
            x, y, yerr=[y - low, spread], color=colour, marker="o", label=label, linewidth=1.2
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("force evaluations")
    axis.set_ylabel("relative error of held-out trajectories")
    if series:
        axis.legend(loc="best", fontsize=7.5)
    style.save(figure, job.outputs["figures"] / "error-against-forces.png")


@style.styled
def _draw_structures(job: Job, runs: list[Metrics]) -> None:
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
    axis.set_yticks(range(len(runs)), [run["run"] for run in runs])
    axis.invert_yaxis()
    axis.set_xlabel("relative error of held-out trajectories")
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        axis.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4)
    style.save(figure, job.outputs["figures"] / "structures.png")


def _label(run: Metrics, runs: list[Metrics]) -> str:
    """What tells a run's series from the others': of what differs among the runs."""
    facts = (
        lambda r: "x".join(map(str, r["config"]["size"])),
        lambda r: r["config"]["dynamics"]["model"],
        lambda r: r["config"]["dynamics"]["loss"],
        lambda r: f"{r['forces']['each']} a configuration",
    )
    told = [fact(run) for fact in facts if len({fact(r) for r in runs}) > 1]
    return ", ".join(told) or "all runs"
