"""The study as a whole: one row a run, and the figures across runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from macrodyn.evaluation import style, summary_html
from macrodyn.evaluation.figures_cost import Cost, costs
from macrodyn.evaluation.figures_study import (
    Ablation,
    CovarianceFactor,
    ErrorSeries,
    ablations,
    covariance_factors,
    error_against_patch_size,
)
from macrodyn.pipeline.job import Job
from macrodyn.storage.errors import refusal
from macrodyn.storage.files import atomic_path
from macrodyn.storage.provenance import provenance
from macrodyn.storage.sealed import read_sealed_json

Metrics = dict[str, Any]
# Columns of summary.csv that hold no numbers; a run may be called 8.
_WORDS = {"run", "small", "large"}


def summary_row(metrics: Metrics) -> dict[str, Any]:
    """One run's row of summary.csv."""
    config, costs_of = metrics["config"], metrics["costs"]
    sizes = config["sizes"]
    row: dict[str, Any] = {
        "run": metrics["run"],
        "small": "x".join(map(str, sizes["small"])),
        "large": "x".join(map(str, sizes["large"])),
    }
    for horizon, values in metrics["horizons"].items():
        for method in ("ours", "naive", "full"):
            error = values.get(method, {}).get("test_error")
            row[f"{horizon}_{method}"] = error["mean"] if error else None
            if method == "ours" and error:
                row[f"{horizon}_ours_std"] = error["std"]
        row[f"{horizon}_spread"] = values["ours"]["spread_error"]["mean"]
        row[f"{horizon}_sampling"] = values["sampling_error"]["mean"]
    for way in ("ours", "direct"):
        for kind in ("site_updates", "core_seconds"):
            row[f"{kind}_{way}"] = sum(stage[kind] for stage in costs_of[way].values())
    return row


def _members(metrics: Metrics, horizon: str, method: str) -> list[float]:
    values = metrics["horizons"][horizon][method]["test_error"]["members"]
    return [np.inf if v == "diverged" or v is None else float(v) for v in values]


def study_figures(runs: list[Metrics]) -> dict[str, Figure]:
    """Draw the figures across runs."""
    figures: dict[str, Figure] = {}
    on = {h: [r for r in runs if h in r["horizons"]] for run in runs for h in run["horizons"]}
    for horizon, having in on.items():
        figures[f"error-against-patch-size-{horizon}"] = _size_figure(
            _differ_in_size_only(having), horizon
        )
    figures["covariance-factor"] = covariance_factors([f for r in runs for f in _factor(r)])
    figures["costs"] = costs(_costs(runs))
    if len(runs) > 2:
        sampling = {h: r[0]["horizons"][h]["sampling_error"]["mean"] for h, r in on.items()}
        figures["all-runs"] = ablations(
            [
                Ablation(name=r["run"], errors={h: _members(r, h, "ours") for h in r["horizons"]})
                for r in runs
            ],
            baseline=runs[0]["run"],
            sampling_error=sampling,
        )
    return figures


def _differ_in_size_only(runs: list[Metrics]) -> list[Metrics]:
    """The first run of each small size: the study's main series."""
    found: dict[tuple[int, ...], Metrics] = {}
    for run in runs:
        found.setdefault(tuple(run["config"]["sizes"]["small"]), run)
    return list(found.values())


def _size_figure(runs: list[Metrics], horizon: str) -> Figure:
    series, published = [], []
    for method in ("ours", "naive", "full"):
        having = [r for r in runs if method in r["horizons"][horizon]]
        if having:
            series.append(
                ErrorSeries(
                    name=method,
                    sizes=[tuple(r["config"]["sizes"]["small"]) for r in having],
                    errors=[_members(r, horizon, method) for r in having],
                )
            )
    names = dict.fromkeys(n for r in runs for n in r["config"]["published"].get(horizon, {}))
    for name in names:
        having = [r for r in runs if name in r["config"]["published"].get(horizon, {})]
        published.append(
            ErrorSeries(
                name=name,
                sizes=[tuple(r["config"]["sizes"]["small"]) for r in having],
                errors=[[r["config"]["published"][horizon][name]] for r in having],
            )
        )
    sampling = runs[0]["horizons"][horizon]["sampling_error"]
    return error_against_patch_size(
        series,
        sampling_error=(sampling["mean_q05"], sampling["mean_q95"]),
        published=published,
        title=f"test error, {horizon}",
    )


def _factor(metrics: Metrics) -> list[CovarianceFactor]:
    """Estimated factor of single patches, as K is the theory for one patch."""
    factor = metrics["covariance_factor"]["ours"]
    if factor["estimated"] is None:
        return []
    patches = metrics["samples"]["patches_evolved"]
    scale = patches if factor["theory"] < metrics["samples"]["patches_total"] else 1
    first = [row[0] for row in factor["curve"]]
    return [
        CovarianceFactor(
            name=metrics["run"],
            theory=factor["theory"] * scale,
            estimate=factor["estimated"] * scale,
            error=(factor["standard_error"] or 0.0) * scale,
            patches=factor["curve_patches"],
            variance=[v / m for v, m in zip(first, factor["curve_patches"], strict=True)],
            variance_error=[0.0] * len(first),
        )
    ]


def _costs(runs: list[Metrics]) -> list[Cost]:
    def entry(name: str, stages: dict[str, dict[str, float]]) -> Cost:
        return Cost(
            name=name,
            updates={k: v["site_updates"] for k, v in stages.items()},
            seconds={k: v["core_seconds"] for k, v in stages.items()},
        )

    entries = [entry(r["run"], r["costs"]["ours"]) for r in runs]
    return [*entries, entry("direct simulation", runs[0]["costs"]["direct"])]


def summarise_study(job: Job) -> None:
    """Write summary.csv, its HTML table, the provenance and the figures across runs."""
    runs = [_read_metrics(Path(p)) for p in job.inputs["metrics"]]
    rows = [summary_row(r) for r in runs]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(job.outputs["table"]) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    title = job.params["title"] or job.params["study"]
    with atomic_path(job.outputs["html"]) as temporary:
        temporary.write_text(summary_html(rows, title))
    for name, figure in study_figures(runs).items():
        style.save(figure, job.outputs["figures"] / f"{name}.png")
    origin = provenance("summary", {})
    software = json.loads(origin["software"])
    lines = [{"what": "git commit", "value": origin["git_commit"]}]
    lines += [{"what": name, "value": version} for name, version in software.items()]
    lines += [{"what": f"seed of {r['run']}", "value": str(r["config"]["seed"])} for r in runs]
    with atomic_path(job.outputs["provenance"]) as temporary:
        temporary.write_text(summary_html(lines, "Provenance"))


def _read_metrics(path: Path) -> Metrics:
    metrics = read_sealed_json(path)
    if metrics.get("run") != path.parent.name:
        raise refusal(path, f"was made for another run: {metrics.get('run')}")
    return metrics


def read_summary(path: Path) -> list[dict[str, Any]]:
    """Read summary.csv with numbers as numbers.

    Raises:
        StoreError: If it was cut short, or is not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise refusal(path, f"cannot be read ({error})") from None
    whole = all(None not in row and None not in row.values() for row in rows)
    if not (text.endswith("\n") and rows and "run" in rows[0] and whole):
        raise refusal(path, "cannot be read (it was cut short, or macrodyn did not write it)")
    return [{k: v if k in _WORDS else _number(v) for k, v in row.items()} for row in rows]


def _number(text: str) -> Any:
    try:
        return float(text) if text else None
    except ValueError:
        return text
