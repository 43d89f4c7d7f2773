"""The summary of a study as it is shown: the results of the configuration that is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macrodyn.evaluation.tables import summary_text
from macrodyn.paths import StrPath
from macrodyn.pipeline.identity import (
    NONE,
    OTHER,
    SUMMARY,
    SummaryOrigin,
    missing_runs,
    not_run,
    read_summary_origin,
)
from macrodyn.pipeline.monitor.asked import AskedStudy, asked_study, study_folder
from macrodyn.pipeline.record import Record, RecordError, run_command
from macrodyn.pipeline.report.summary import read_summary

REPORT = "report.html"


@dataclass(frozen=True)
class ShownSummary:
    """What is shown of a study.

    Attributes:
        rows: One row for each run that has results of the configuration.
        notes: What to say below them.
        missing: What to say of the runs that have none; empty if there are no such runs.
    """

    rows: list[dict[str, Any]]
    notes: tuple[str, ...]
    missing: str = ""


def shown_summary(study: StrPath) -> ShownSummary:
    """Find the results of a study.

    Args:
        study: Its configuration file, its folder, or its name (below ``results/``). A folder's
            configuration is that of its last run.

    Raises:
        ConfigError: If the configuration is wrong.
        FileNotFoundError: If there is no such study.
        StoreError: If its table is damaged.
        ValueError: If it has not been run with the configuration.
    """
    try:
        asked = asked_study(study, check_systems=False)
    except RecordError:
        # A folder of which nobody knows what it consists of is shown as it is.
        return _as_it_is(study_folder(study))
    table = asked.folder / "summary.csv"
    if not table.exists():
        raise ValueError(_missing(table, asked.command))
    rows = read_summary(table)
    origin = read_summary_origin(asked.folder)
    reasons = _reasons(asked, origin)
    kept = [row for row in rows if row["run"] in asked.identities and row["run"] not in reasons]
    if not kept:
        raise ValueError(not_run(asked.folder, asked.configuration, reasons, asked.command))
    if reasons:
        said = not_run(asked.folder, asked.configuration, reasons, asked.command)
        return ShownSummary(kept, (), said)
    report = asked.folder / REPORT
    return ShownSummary(kept, (_report(report, asked.report_command(report)),))


def table_text(rows: Sequence[Mapping[str, Any]], columns: int = 80) -> str:
    """Write a summary for the terminal: a row for each run, or a column where that is too wide.

    Args:
        rows: One row for each run.
        columns: Width of the terminal; as many runs stand beside each other as fit into it.
    """
    text = summary_text(rows)
    if _width(text) <= columns:
        return text
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != "run"]
    blocks: list[str] = []
    beside: list[Mapping[str, Any]] = []
    for row in rows:
        wider = _turned([*beside, row], names)
        if beside and _width(wider) > columns:
            blocks.append(_turned(beside, names))
            beside = []
        beside.append(row)
    return "\n\n".join([*blocks, _turned(beside, names)])


def _turned(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    lines = [
        {"run": name.replace("_", " "), **{str(row["run"]): row.get(name) for row in rows}}
        for name in names
    ]
    # Underscores of runs' names are no spaces.
    heads = [str(row["run"]) for row in rows]
    head, *rest = summary_text(lines).splitlines()
    for name in heads:
        head = head.replace(name.replace("_", " "), name)
    return "\n".join([head, *rest])


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _reasons(asked: AskedStudy, origin: SummaryOrigin | None) -> dict[str, str]:
    """Say why runs are not shown by a summary with the results of the configuration."""
    missing = missing_runs(asked.folder, asked.identities)
    shown = origin.runs if origin else {}
    reasons = {}
    for run, identity in asked.identities.items():
        if shown.get(run) != identity:
            other = OTHER if run in shown or origin is None else NONE
            reasons[run] = missing.get(run) or f"the summary has {other}"
    return reasons


def _as_it_is(folder: Path) -> ShownSummary:
    table = folder / "summary.csv"
    command = run_command("CONFIG.yaml")
    if not table.exists():
        raise ValueError(_missing(table, command))
    report = folder / REPORT
    unknown = f"Which configuration made this is not known: {folder} has no usable study.json"
    again = Record({}, command).report_command(report)
    return ShownSummary(read_summary(table), (unknown, _report(report, again)))


def _missing(table: Path, command: str) -> str:
    return f"{table} is missing: run the study first ({command})"


def _report(report: Path, command: str) -> str:
    """Say where the report is, or how to make it."""
    try:
        made = report.stat().st_mtime
        shown = max(report.with_name(name).stat().st_mtime for name in ("summary.csv", SUMMARY))
    except FileNotFoundError:
        if report.exists():
            return f"Report: {report.resolve()}"
        return f"No report yet: {command}"
    if made < shown:
        return f"The report {report.resolve()} is older than these results. To renew it: {command}"
    return f"Report: {report.resolve()}"
