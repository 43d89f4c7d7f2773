"""The study as a whole: one row a run, and the figures across runs."""

from __future__ import annotations

import copy
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from macrodyn.evaluation import style
from macrodyn.evaluation.figures_cost import Cost, costs
from macrodyn.evaluation.figures_factor import (
    CovarianceFactor,
    FactorTrial,
    covariance_factors,
    mmd_against_factor,
)
from macrodyn.evaluation.figures_study import (
    Ablation,
    ErrorSeries,
    ablations,
    error_against_patch_size,
)
from macrodyn.paths import StrPath
from macrodyn.pipeline.figure_pages import (
    METHODS,
    run_figures,
    study_figure_files,
    write_figure_pages,
)
from macrodyn.pipeline.identity import SummaryOrigin, write_summary_origin
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.origin_pages import configuration_page, provenance_page
from macrodyn.pipeline.overview import Study, overview_page
from macrodyn.pipeline.record import Record, RecordError, read_record
from macrodyn.storage.errors import StoreError, missing, refusal, unreadable
from macrodyn.storage.files import atomic_path
from macrodyn.storage.sealed import read_sealed_json

Metrics = dict[str, Any]
# Columns of summary.csv that hold no numbers; a run may be called 8.
_WORDS = {"run", "small", "large"}
# Different covariance factors that make a curve.
FEWEST_FACTORS = 3


def summary_row(metrics: Metrics) -> dict[str, Any]:
    """One run's row of summary.csv.

    A column of one horizon is `<horizon>:<what>`: no name holds a colon, so that it is no other's.
    """
    config, costs_of = metrics["config"], metrics["costs"]
    sizes = config["sizes"]
    row: dict[str, Any] = {
        "run": metrics["run"],
        "small": "x".join(map(str, sizes["small"])),
        "large": "x".join(map(str, sizes["large"])),
    }
    for horizon, values in metrics["horizons"].items():
        for method in METHODS:
            row[f"{horizon}:{method}"] = _found(values, method, "test_error", "mean")
            if method == "ours":
                row[f"{horizon}:ours_std"] = _found(values, method, "test_error", "std")
        row[f"{horizon}:spread"] = _found(values, "ours", "spread_error", "mean")
        if "mmd" in values["ours"]:
            members = _found(values, "ours", "mmd", "members")
            row[f"{horizon}:ours_mmd"] = members and float(np.mean(_numbers(members)))
        row[f"{horizon}:sampling"] = _found(values, "sampling_error", "mean")
        if "range" in values["ours"]:
            row[f"{horizon}:outside"] = _found(values, "ours", "range", "outside")
    if metrics.get("exact"):
        for kind in ("drift", "diffusion"):
            for size in ("rms", "max"):
                row[f"{kind}_{size}_percent"] = _worst_percent(metrics["exact"][kind], size)
    for way in ("ours", "direct"):
        for kind in ("site_updates", "core_seconds"):
            row[f"{kind}_{way}"] = sum(stage[kind] for stage in costs_of[way].values())
    return row


def _found(metrics: Metrics, *path: str) -> Any:
    """Return a value of the metrics, or None where it or a part that holds it is missing."""
    value: Any = metrics
    for key in path:
        value = None if value is None else value.get(key)
    return value


def _worst_percent(deviations: dict[str, Any], size: str) -> float | None:
    """Deviation of the worst observable, mean over members, in %; None if nothing is known."""
    largest = [deviation[size]["mean"] for deviation in deviations.values() if deviation]
    return 100 * max(_numbers(largest)) if largest else None


def _members(metrics: Metrics, horizon: str, method: str) -> list[float]:
    """Test errors of the members; none where they cannot be had."""
    return _numbers(_found(metrics, "horizons", horizon, method, "test_error", "members") or [])


def _numbers(values: list[Any]) -> list[float]:
    """Turn what JSON holds into numbers: a word or null for what diverged."""
    return [np.inf if v == "diverged" or v is None else float(v) for v in values]


def study_figures(runs: list[Metrics]) -> dict[str, Figure]:
    """Draw the figures across runs."""
    figures: dict[str, Figure] = {}
    on = {h: [r for r in runs if h in r["horizons"]] for run in runs for h in run["horizons"]}
    for horizon, having in on.items():
        figures[f"error-against-patch-size-{horizon}"] = _size_figure(
            _differ_in_size_only(having), horizon
        )
        trials = _factor_trials(having, horizon)
        if len({round(trial.factor, 6) for trial in trials}) >= FEWEST_FACTORS:
            figures[f"mmd-against-covariance-factor-{horizon}"] = _factor_figure(
                having[0], trials, horizon
            )
    estimates: dict[tuple[Any, ...], CovarianceFactor] = {}
    for factor in (f for r in runs for f in _factor(r)):
        estimates.setdefault(_estimate_key(factor), factor)
    if estimates:
        figures["covariance-factor"] = covariance_factors(list(estimates.values()))
    figures["costs"] = costs(_costs(runs))
    if len(runs) > 2 and any(_members(r, h, "ours") for r in runs for h in r["horizons"]):
        sampling = {h: _found(r[0], "horizons", h, "sampling_error", "mean") for h, r in on.items()}
        sampling = {horizon: value for horizon, value in sampling.items() if value is not None}
        figures["all-runs"] = ablations(
            [
                Ablation(
                    name=r["run"],
                    errors={h: e for h in r["horizons"] if (e := _members(r, h, "ours"))},
                )
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
    for method in METHODS:
        having = [r for r in runs if _members(r, horizon, method)]
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


def _factor(metrics: Metrics) -> list[CovarianceFactor]:
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


def _estimate_key(factor: CovarianceFactor) -> tuple[Any, ...]:
    """Tell estimates apart: runs that share their pairs share the estimate."""
    return (factor.theory, factor.estimate, tuple(factor.variance))


def _single_patch_factor(metrics: Metrics) -> float:
    """The factor that a run was trained with, times the patches that one transition averages."""
    factor = metrics["covariance_factor"]["ours"]
    return float(factor["used"] * metrics["samples"]["patches_total"] / factor["theory"])


def _factor_trials(runs: list[Metrics], horizon: str) -> list[FactorTrial]:
    """Runs that are the first one but for the covariance factor and the number of patches."""
    return [
        FactorTrial(
            factor=_single_patch_factor(run),
            patches=run["samples"]["patches_evolved"],
            mmd=_numbers(_found(run, "horizons", horizon, "ours", "mmd", "members")),
        )
        for run in runs
        if _found(run, "horizons", horizon, "ours", "mmd")
        and _but_for_the_factor(run["config"]) == _but_for_the_factor(runs[0]["config"])
    ]


def _but_for_the_factor(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what a trial of covariance factors changes or only shows."""
    rest = copy.deepcopy(config)
    for section, key in (("dynamics", "covariance_factor"), ("evolve", "patches")):
        rest.get(section, {}).pop(key, None)
    for key in ("baselines", "published"):
        rest.pop(key, None)
    return rest


def _factor_figure(first: Metrics, trials: list[FactorTrial], horizon: str) -> Figure:
    mmd = _found(first, "horizons", horizon, "ours", "mmd")
    return mmd_against_factor(
        trials,
        theory=first["samples"]["patches_total"],
        null=mmd and (mmd["null_mean"], mmd["null_q95"]),
        title=f"predictions against the covariance factor, {horizon}",
    )


def _costs(runs: list[Metrics]) -> list[Cost]:
    def entry(name: str, stages: dict[str, dict[str, float]]) -> Cost:
        return Cost(
            name=name,
            updates={k: v["site_updates"] for k, v in stages.items()},
            seconds={k: v["core_seconds"] for k, v in stages.items()},
        )

    entries = [entry(r["run"], r["costs"]["ours"]) for r in runs]
    return [*entries, entry("direct simulation", runs[0]["costs"]["direct"])]


def summarise_study(job: Job, captions: StrPath) -> None:
    """Write summary.csv, the figures across runs, and the pages of the report.

    Args:
        job: The job. Its inputs are the metrics of the runs, beside which their figures stand; its
            params the study's name and title, and ``missing``: the runs that have no results, by
            name, and why. They get rows without numbers.
        captions: Where the captions of the figures stand.
    """
    runs = [_read_metrics(Path(p)) for p in job.inputs["metrics"]]
    missing = job.params.get("missing", {})
    rows = [*(summary_row(r) for r in runs), *({"run": name} for name in missing)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(job.outputs["table"]) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    figures = study_figures(runs)
    for name, figure in figures.items():
        style.save(figure, job.outputs["figures"] / f"{name}.png")
    _write_pages(job, Path(captions), runs, rows, list(figures))
    # Last: what it describes is then whole.
    identities = {r["run"]: str(r.get("identity", "")) for r in runs}
    origin = SummaryOrigin(identities, dict(missing), str(job.params["title"]))
    write_summary_origin(job.outputs["origin"], origin)


def _write_pages(
    job: Job,
    captions: Path,
    runs: list[Metrics],
    rows: list[dict[str, Any]],
    figures: Sequence[str],
) -> None:
    """Write the front page, a page for each figure, the configuration and the provenance."""
    study = str(job.params["study"])
    title = str(job.params["title"] or study)
    if missing := job.params.get("missing"):
        title += f" (not finished: no results of {', '.join(missing)})"
    folder = job.outputs["table"].parent
    record = _record(folder, study, runs)
    differences = dict(record.config.get("runs") or {})
    for run in runs:
        drawn = run_figures(folder / run["run"], list(run["horizons"]))
        target = job.outputs["run_pages"] / run["run"]
        write_figure_pages(target, drawn, captions, f"Run {run['run']}, {title}")
    drawn = study_figure_files(job.outputs["figures"], figures)
    write_figure_pages(job.outputs["study_pages"], drawn, captions, title)
    overview = Study(
        title=title,
        runs=runs,
        rows=rows,
        folder=folder,
        captions=captions,
        differences=differences,
    )
    pages = {
        "overview": overview_page(overview),
        "configuration": configuration_page(study, record.config, record.command),
        "provenance": provenance_page(study, runs, record.command),
    }
    for name, text in pages.items():
        with atomic_path(job.outputs[name]) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _record(folder: Path, study: str, runs: list[Metrics]) -> Record:
    """Return the configuration as the user wrote it; where it is lost, that of each run."""
    try:
        return read_record(folder)
    except RecordError:
        return Record({"study": study, "runs": {run["run"]: run["config"] for run in runs}}, "")


def _read_metrics(path: Path) -> Metrics:
    metrics = read_sealed_json(path)
    if metrics.get("run") != path.parent.name:
        raise refusal(path, f"was made for another run: {metrics.get('run')}")
    return metrics


def read_summary(path: StrPath) -> list[dict[str, Any]]:
    """Read summary.csv with numbers as numbers.

    Raises:
        StoreError: If it is missing, was cut short, or is not such a table.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines(), strict=True))
    except FileNotFoundError:
        raise missing(path) from None
    except IsADirectoryError:
        raise StoreError(f"{path} is a folder: move it away, then run the study again") from None
    except OSError as error:
        raise unreadable(path, error) from error
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
