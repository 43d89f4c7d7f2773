"""The study as a whole: one row a run, and the pages of the report."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from macrodyn.methods.registry import find_method
from macrodyn.methods.report import Report
from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import SummaryOrigin, write_summary_origin
from macrodyn.pipeline.job import Job
from macrodyn.pipeline.metrics import read_metrics
from macrodyn.pipeline.record import Record, RecordError, read_record
from macrodyn.pipeline.report.figure_pages import ShownFigure, shown_figures, write_figure_pages
from macrodyn.pipeline.report.origin_pages import configuration_page, provenance_page
from macrodyn.pipeline.report.overview import Study, overview_page
from macrodyn.storage.errors import StoreError, missing, refusal, unreadable
from macrodyn.storage.files import atomic_path
from macrodyn.targets import load_target

Metrics = dict[str, Any]
# Columns of summary.csv that hold no numbers; a run may be called 8.
_WORDS = {"run", "small", "large"}


def report_of(metrics: Mapping[str, Any]) -> Report:
    """Return what tells the results of a run: its method's report."""
    report: Report = load_target(find_method(metrics["method"]).report)()
    return report


def summarise(job: Job) -> None:
    """Write summary.csv, and the pages of the report.

    Args:
        job: The job. Its inputs are the metrics and figures of the runs (``run/<name>``) and those
            of the analyses (``analysis/<name>``); its params may hold ``missing``: the runs that
            have no results, by name, and why. They get rows without numbers.
    """
    runs = [read_metrics(job.input(f"run/{name}")) for name in job.roles("run")]
    lacking = job.params.get("missing", {})
    rows = [report_of(run).row(run) for run in runs]
    columns = list(dict.fromkeys(key for row in [*rows, {"run": ""}] for key in row))
    with atomic_path(job.outputs["table"]) as temporary:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows([*rows, *({"run": name} for name in lacking)])
    _write_pages(job, runs, rows)
    # Last: what it describes is then whole.
    identities = {r["run"]: str(r.get("identity", "")) for r in runs}
    analyses = {name: job.config["analyses"][name][1] for name in job.roles("analysis")}
    origin = SummaryOrigin(identities, dict(lacking), str(job.config["title"]), analyses)
    write_summary_origin(job.outputs["origin"], origin)


def _write_pages(job: Job, runs: list[Metrics], rows: list[dict[str, Any]]) -> None:
    """Write the front page, a page for each figure, the configuration and the provenance."""
    study = str(job.config["study"])
    title = str(job.config["title"] or study)
    if lacking := job.params.get("missing"):
        title += f" (not finished: no results of {', '.join(lacking)})"
    record = _record(job.outputs["table"].parent, study, runs)
    figures: dict[str, list[ShownFigure]] = {}
    for run in runs:
        drawn = shown_figures(
            job.input(f"run/{run['run']}", "figures"),
            find_method(run["method"]).evaluation.figures,
            job.captions,
            run.get("order", ()),
        )
        figures[run["run"]] = drawn
        write_figure_pages(
            job.outputs["run_pages"] / run["run"], drawn, f"Run {run['run']}, {title}"
        )
    methods = {run["method"]: find_method(run["method"]) for run in runs}
    kinds = {kind.stage.name: kind.stage for m in methods.values() for kind in m.analyses}
    across: list[ShownFigure] = []
    for name in job.roles("analysis"):
        kind = kinds[job.config["analyses"][name][0]]
        folder = job.input(f"analysis/{name}", "figures")
        across += shown_figures(folder, kind.figures, job.captions)
    write_figure_pages(job.outputs["study_pages"], across, title)
    overview = Study(
        title=title,
        runs=runs,
        rows=rows,
        reports=[report_of(run) for run in runs],
        figures={"": across, **figures},
        captions=job.captions,
        differences=dict(record.config.get("runs") or {}),
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
