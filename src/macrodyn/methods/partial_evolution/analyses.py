"""Analyses across runs of partial evolution: each reads their metrics, and draws a figure."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from macrodyn.evaluation import style
from macrodyn.evaluation.figures_cost import RunCost
from macrodyn.evaluation.figures_cost import costs as draw_costs
from macrodyn.evaluation.figures_factor import (
    CovarianceFactor,
    FactorTrial,
)
from macrodyn.evaluation.figures_factor import covariance_factors as draw_covariance_factors
from macrodyn.evaluation.figures_factor import (
    mmd_against_factor as draw_mmd_against_factor,
)
from macrodyn.evaluation.figures_scaling import scaling_figures
from macrodyn.evaluation.figures_study import (
    Ablation,
    ErrorSeries,
    ablations,
    error_against_patch_size,
)
from macrodyn.evaluation.scaling import Moments, exponents
from macrodyn.methods.partial_evolution.propose import FEWEST_FACTORS
from macrodyn.methods.partial_evolution.report import SCHEMES, found, numbers
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import read_runs, write_findings

Metrics = dict[str, Any]


def error_against_size(job: Job) -> None:
    """Draw the test errors on a horizon against the size of the small system."""
    horizon = job.config["options"]["horizon"]
    runs = [run for run in read_runs(job) if horizon in run["horizons"]]
    errors = {
        run["run"]: {s: _members(run, horizon, s) for s in SCHEMES if s in run["horizons"][horizon]}
        for run in runs
    }
    _write(job, horizon, size_figure(runs, horizon), errors)


def all_runs(job: Job) -> None:
    """Draw the test errors of all runs on all their horizons."""
    runs = read_runs(job)
    errors = {
        r["run"]: {h: e for h in r["horizons"] if (e := _members(r, h, "ours"))} for r in runs
    }
    horizons = dict.fromkeys(h for r in runs for h in r["horizons"])
    first = {h: next(r for r in runs if h in r["horizons"]) for h in horizons}
    sampling = {h: found(r, "horizons", h, "sampling_error", "mean") for h, r in first.items()}
    if any(errors.values()):
        figure = ablations(
            [Ablation(name=name, errors=of) for name, of in errors.items()],
            baseline=runs[0]["run"],
            sampling_error={h: value for h, value in sampling.items() if value is not None},
        )
    else:
        figure = style.note("no run has a test error", title="all runs")
    _write(job, "all-runs", figure, errors)


def mmd_against_factor(job: Job) -> None:
    """Draw the MMD on a horizon against the covariance factor of one patch."""
    horizon = job.config["options"]["horizon"]
    runs = read_runs(job)
    trials = [
        FactorTrial(
            factor=_single_patch_factor(run),
            patches=run["samples"]["patches_evolved"],
            mmd=numbers(found(run, "horizons", horizon, "ours", "mmd", "members")),
        )
        for run in runs
        if found(run, "horizons", horizon, "ours", "mmd")
    ]
    if len({round(trial.factor, 6) for trial in trials}) >= FEWEST_FACTORS:
        figure = _factor_figure(runs[0], trials, horizon)
    else:
        why = f"fewer than {FEWEST_FACTORS} runs with different covariance factors have an MMD"
        figure = style.note(why, title=f"predictions against the covariance factor, {horizon}")
    _write(job, horizon, figure, {"trials": [vars(trial) for trial in trials]})


def covariance_factors(job: Job) -> None:
    """Draw the estimated covariance factors, those of shared pairs once."""
    estimates: dict[tuple[Any, ...], CovarianceFactor] = {}
    for factor in (f for run in read_runs(job) for f in estimated_factor(run)):
        # Runs that share their pairs share the estimate.
        key = (factor.theory, factor.estimate, tuple(factor.variance))
        estimates.setdefault(key, factor)
    known = list(estimates.values())
    why = "no run has increments enough to tell"
    figure = draw_covariance_factors(known) if known else style.note(why, title="covariance factor")
    _write(job, "covariance-factor", figure, {"factors": [vars(factor) for factor in known]})


def costs(job: Job) -> None:
    """Draw what each run costs, beside direct simulation."""
    runs = read_runs(job)
    _write(job, "costs", draw_costs(_costs(runs)), {run["run"]: run["costs"] for run in runs})


def finite_size_scaling(job: Job) -> None:
    """Fit how the moments of an order parameter go with the size, sampled and predicted."""
    options = job.config["options"]
    sources = _moments(read_runs(job), options["observable"], options["temperature"])
    fits = {
        f"{at:g}": {name: exponents(points, at) for name, points in sources.items()}
        for at in options["at"]
    }
    findings = {
        "moments": {name: [asdict(p) for p in points] for name, points in sources.items()},
        "exponents": {
            at: {name: {k: asdict(v) for k, v in of.items()} for name, of in by.items()}
            for at, by in fits.items()
        },
    }
    for name, figure in scaling_figures(
        sources, fits, exact=options["exact"], critical=options["critical"]
    ):
        style.save(figure, job.outputs["figures"] / f"{name}.png")
    write_findings(job, findings)


def _moments(runs: list[Metrics], observable: str, temperature: str) -> dict[str, list[Moments]]:
    """Moments of all sizes and temperatures of some runs, by where they come from."""
    sources: dict[str, list[Moments]] = {"sampled": [], "predicted": []}
    known: set[tuple[str, tuple[int, ...], float]] = set()
    for place in (place for run in runs for place in (run.get("order_parameters") or {}).values()):
        lattice, at = tuple(place["lattice"]), place["parameters"].get(temperature)
        for source, by_name in (place["moments"].get(observable) or {}).items():
            # Runs that share what was sampled have it once. Late trajectories are no equilibrium.
            if at is None or source not in sources or (source, lattice, at) in known:
                continue
            known.add((source, lattice, at))
            pairs = {name: (m["value"], m["error"]) for name, m in by_name.items()}
            sites = math.prod(lattice)
            length = sites ** (1.0 / len(lattice))
            sources[source].append(Moments(length=length, sites=sites, temperature=at, **pairs))
    return {
        name: sorted(points, key=lambda p: (p.length, p.temperature))
        for name, points in sources.items()
        if points
    }


def _write(job: Job, name: str, figure: Figure, findings: Metrics) -> None:
    style.save(figure, job.outputs["figures"] / f"{name}.png")
    write_findings(job, findings)


def _members(metrics: Metrics, horizon: str, scheme: str) -> list[float]:
    """Test errors of the members; none where they cannot be had."""
    return numbers(found(metrics, "horizons", horizon, scheme, "test_error", "members") or [])


def size_figure(runs: list[Metrics], horizon: str) -> Figure:
    """Draw test errors against the size of the small system, with published ones."""
    series, published = [], []
    for scheme in SCHEMES:
        having = [r for r in runs if _members(r, horizon, scheme)]
        if having:
            series.append(
                ErrorSeries(
                    name=scheme,
                    sizes=[tuple(r["config"]["sizes"]["small"]) for r in having],
                    errors=[_members(r, horizon, scheme) for r in having],
                )
            )
    names = dict.fromkeys(n for r in runs for n in r["config"]["published"].get(horizon, {}))
    for name in names:
        having = [r for r in runs if name in r["config"]["published"].get(horizon, {})]
        published.append(
            ErrorSeries(
                # One may be called as a method is.
                name=f"{name} (published)" if name in {s.name for s in series} else name,
                sizes=[tuple(r["config"]["sizes"]["small"]) for r in having],
                errors=[[r["config"]["published"][horizon][name]] for r in having],
            )
        )
    title = f"test error, {horizon}"
    if not series and not published:
        return style.note("no run has a test error", title=title)
    sampling = runs[0]["horizons"][horizon]["sampling_error"] or {}
    low, high = sampling.get("mean_q05"), sampling.get("mean_q95")
    return error_against_patch_size(
        series,
        sampling_error=None if low is None or high is None else (low, high),
        published=published,
        title=title,
    )


def estimated_factor(metrics: Metrics) -> list[CovarianceFactor]:
    """Estimated factor of a single patch, as K is the theory for one patch.

    With r the mean correlation of two patches, the factor of m averaged patches is
    f_m = (K/m) (1 + (m-1) r) / (1 + (K-1) r). Hence f_1 = K + (f_m - K/m) m (K-1) / (K-m), which
    m f_m is not, unless r = 0. For m = K, f_m is 1 whatever r is: f_1 = K / (1 + (K-1) r) then.
    """
    factor = metrics["covariance_factor"]["ours"]
    if factor["estimated"] is None:
        return []
    total = metrics["samples"]["patches_total"]
    averaged = round(total / factor["theory"])
    if averaged < total:
        stretch = averaged * (total - 1) / (total - averaged)
        estimate = total + (factor["estimated"] - factor["theory"]) * stretch
        # Unknown errors are null.
        error = (factor["standard_error"] or np.nan) * stretch
    else:
        observables = metrics["samples"]["observables"]
        correlation = np.array(factor["correlation"][:observables], float)
        estimate, error = float(np.mean(total / (1 + (total - 1) * correlation))), np.nan
    if not np.isfinite(estimate):
        return []
    m = np.array(factor["curve_patches"])
    # What is unknown is null.
    variance = np.array([row[0] for row in factor["curve"]], float) / m
    # As of Gaussian increments, all blocks of m' patches independent.
    blocks = metrics["samples"]["snapshots"] * (metrics["samples"]["patches_evolved"] // m)
    return [
        CovarianceFactor(
            name=metrics["run"],
            theory=total,
            estimate=estimate,
            error=error,
            patches=m.tolist(),
            variance=variance.tolist(),
            variance_error=(variance * np.sqrt(2 / blocks)).tolist(),
        )
    ]


def _single_patch_factor(metrics: Metrics) -> float:
    """The factor that a run was trained with, times the patches that one transition averages."""
    factor = metrics["covariance_factor"]["ours"]
    return float(factor["used"] * metrics["samples"]["patches_total"] / factor["theory"])


def _factor_figure(first: Metrics, trials: list[FactorTrial], horizon: str) -> Figure:
    mmd = found(first, "horizons", horizon, "ours", "mmd")
    return draw_mmd_against_factor(
        trials,
        theory=first["samples"]["patches_total"],
        null=mmd and (mmd["null_mean"], mmd["null_q95"]),
        title=f"predictions against the covariance factor, {horizon}",
    )


def _costs(runs: list[Metrics]) -> list[RunCost]:
    def entry(name: str, stages: dict[str, dict[str, float]]) -> RunCost:
        return RunCost(
            name=name,
            updates={k: v["site_updates"] for k, v in stages.items()},
            seconds={k: v["core_seconds"] for k, v in stages.items()},
        )

    entries = [entry(r["run"], r["costs"]["ours"]) for r in runs]
    for way, name in (("direct", "direct simulation"), ("check", "direct, smaller sizes")):
        first = next((r["costs"][way] for r in runs if r["costs"].get(way)), None)
        entries += [] if first is None else [entry(name, first)]
    return entries
