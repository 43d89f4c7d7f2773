"""The report's front page: what was done, how well it went, and what to change."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macrodyn.evaluation.pages import figure, page
from macrodyn.evaluation.tables import html_table
from macrodyn.evaluation.verdict import Verdict
from macrodyn.methods.report import Report
from macrodyn.pipeline.report.figure_pages import ShownFigure, render

Metrics = Mapping[str, Any]

LEVELS = {"good": "good", "fair": "fair", "poor": "poor", "unknown": "cannot be judged"}
# Two pictures leave room in the page for the verdicts of many runs.
_LARGEST_PICTURE = 400_000


@dataclass(frozen=True, kw_only=True)
class Study:
    """What the front page tells of.

    Attributes:
        title: The study's title, or its name.
        runs: The metrics of its runs.
        rows: The rows of summary.csv.
        reports: What tells the results of each run.
        figures: The figures of each run, by its name; those across runs under ''.
        captions: Where notes stand.
        differences: What each run changes in the base.
    """

    title: str
    runs: Sequence[Metrics]
    rows: Sequence[Mapping[str, Any]]
    reports: Sequence[Report]
    figures: Mapping[str, Sequence[ShownFigure]]
    captions: Path
    differences: Mapping[str, Any]

    def by_report(self) -> list[tuple[Report, list[int]]]:
        """Return the reports of different methods, each with the numbers of its runs."""
        found: dict[type[Report], tuple[Report, list[int]]] = {}
        for number, report in enumerate(self.reports):
            found.setdefault(type(report), (report, []))[1].append(number)
        return list(found.values())


def overview_page(study: Study) -> str:
    """Make the front page."""
    verdicts = {
        run["run"]: verdict
        for run, report in zip(study.runs, study.reports, strict=True)
        if (verdict := report.verdict(run)) is not None
    }
    lead = study.reports[0].lead
    parts = [f"<h1>{html.escape(study.title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']
    for report, numbers in study.by_report():
        parts.append(_facts(report, [study.runs[number] for number in numbers]))
        how = report.made([study.runs[number] for number in numbers])
        parts.append(f"<p>{how}</p>" if how else "")
    if verdicts:
        parts.append(_first(next(iter(verdicts)), verdicts))
    parts.append("<h2>Result</h2>")
    for report, numbers in study.by_report():
        parts += _main_figures(study, report, [study.runs[number] for number in numbers])
        parts += _tables(study, report, [study.rows[number] for number in numbers])
    if verdicts:
        parts.append("<h2>What the numbers say</h2>")
    parts += [
        _section(name, verdict, study.differences.get(name)) for name, verdict in verdicts.items()
    ]
    return page(study.title, "\n".join(parts))


def _first(run: str, verdicts: Mapping[str, Verdict]) -> str:
    """Say in a sentence how the first run went."""
    verdict = verdicts[run]
    more = " The other runs, and what to change: below." if len(verdicts) > 1 else ""
    return (
        f"<p><strong>Run {html.escape(run)}</strong> {_badge(verdict.level)}<br>"
        f"{html.escape(verdict.headline)}{more}</p>"
    )


def _badge(level: str) -> str:
    return f'<span class="level {level}">{LEVELS[level]}</span>'


def _facts(report: Report, runs: Sequence[Metrics]) -> str:
    """What the runs were made with; where they differ, all of it."""
    lines = "\n".join(
        f"<dt>{name}</dt><dd>{html.escape('; '.join(dict.fromkeys(values)))}</dd>"
        for name, values in report.facts(runs).items()
    )
    return f'<dl class="facts">\n{lines}\n</dl>'


def _main_figures(study: Study, report: Report, runs: Sequence[Metrics]) -> list[str]:
    """The figures that say most, where they were drawn."""
    drawn = []
    for title, run in report.main_figures(runs):
        for one in study.figures.get(run, ()):
            if one.title == title:
                what = f"Run {run}: {title}." if run else f"{title}."
                text = f"<strong>{html.escape(what)}</strong> {one.caption}"
                drawn.append(figure(one.path, text, what, largest=_LARGEST_PICTURE))
    return drawn


def _tables(study: Study, report: Report, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    tables = [
        html_table(table.rows, table.headings, table.title)
        for table in report.tables([dict(row) for row in rows])
    ]
    if report.note:
        tables.append(f'<div class="note">{render(study.captions / report.note, {})}</div>')
    return tables


def _section(name: str, verdict: Verdict, changes: Any) -> str:
    """One run's verdict."""
    lines = [
        f"<h3>Run {html.escape(name)} {_badge(verdict.level)}</h3>",
    ]
    if changes:
        text = html.escape(json.dumps(changes, ensure_ascii=False))
        lines.append(f'<p class="lead">Differs from the study\'s base in <code>{text}</code></p>')
    lines.append(f"<p>{html.escape(verdict.headline)}</p>\n<ul>")
    for finding in verdict.findings:
        if finding.text not in verdict.headline:
            lines.append(f"<li>{html.escape(finding.text)} {_badge(finding.level)}</li>")
    lines.append("</ul>")
    if verdict.advice:
        lines.append("<p>What to change:</p>\n<ul>")
        lines += [
            f"<li><code>{html.escape(advice.key)}</code>: {html.escape(advice.text)}</li>"
            for advice in verdict.advice
        ]
        lines.append("</ul>")
    return "\n".join(lines)
