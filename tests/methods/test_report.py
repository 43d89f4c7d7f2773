"""The report that a method has that says nothing of its own, on pages beside another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from macrodyn.methods.report import Report, number, parameters, written
from macrodyn.pipeline.report.figure_pages import ShownFigure
from macrodyn.pipeline.report.overview import Study, overview_page
from macrodyn.pipeline.report.summary import report_of

STAGE = {"site_updates": 3.0, "core_seconds": 0.5}
METRICS: dict[str, Any] = {
    "run": "a",
    "method": "own_method:Counting",
    "identity": "k",
    "rate": 0.25,
    "count": 7,
    "lacking": None,
    "good": True,
    "curve": [1, 2],
    "horizons": {"x": 1},
    "costs": {"ours": {"count_sites": STAGE, "fit_count": STAGE}, "direct": {}},
    "config": {"system": {"name": "ising", "parameters": {"field": 0.1, "temperature": 2.5}}},
}


def test_a_row_has_the_runs_numbers_and_what_it_cost():
    assert Report().row(METRICS) == {
        "run": "a",
        "rate": 0.25,
        "count": 7,
        "lacking": None,
        "site_updates_ours": 6.0,
        "core_seconds_ours": 1.0,
        "site_updates_direct": 0,
        "core_seconds_direct": 0,
    }


def test_facts_are_the_system_and_its_parameters():
    other = {**METRICS, "config": {"system": {"name": "nowhere:It", "parameters": {}}}}
    assert Report().facts([METRICS, other]) == {
        "System": ["ising", "nowhere:It"],
        "Parameters": ["temperature = 2.5, field = 0.1", "none given"],
    }


def test_the_table_has_the_columns_of_all_rows():
    rows = [{"run": "a", "mean_rate": 1.0}, {"run": "b", "error": 2.0}]
    (table,) = Report().tables(rows)
    assert table.headings == {"run": "run", "mean_rate": "mean rate", "error": "error"}
    assert list(table.rows) == rows


def test_what_is_published_is_the_table():
    rows = [{"run": "a", "rate": 0.123}, {"run": "b", "error": None, "word": "diverged"}]
    assert Report().published(rows, {}) == [
        ["run", "rate", "error", "word"],
        ["a", "1.2e-01", "-", "-"],
        ["b", "-", "-", "diverged"],
    ]


def test_nothing_is_judged_nor_shown_first():
    assert Report().verdict(METRICS) is None and Report().main_figures([METRICS]) == []


def test_it_is_that_of_a_method_which_names_no_other(own_method):
    assert type(report_of(METRICS)) is Report


@pytest.mark.parametrize(
    ("value", "text"), [(0.00123, "1.2e-03"), (7, "7"), (None, "-"), ("diverged", "diverged")]
)
def test_values_of_a_table_to_keep(value, text):
    assert number(value) == text


def test_parameters_that_the_system_does_not_know_come_last():
    given = {"name": "ising", "parameters": {"zeal": 1, "field": 0.1, "temperature": 2.5}}
    assert list(parameters(given)) == ["temperature", "field", "zeal"]
    assert written({}) == "none given"


class Telling(Report):
    """Tells something, and shows a figure of its own and one across runs."""

    lead = "Counts <of> sites"
    how = "Sites were counted."

    def main_figures(self, runs):
        return [("Decay", runs[0]["run"]), ("Rates", ""), ("Not drawn", "")]


def page_of(reports: list[Report], tmp_path: Path) -> str:
    runs = [{**METRICS, "run": name} for name in ("a", "b", "c")[: len(reports)]]
    picture = tmp_path / "p.png"
    Image.new("RGB", (20, 12)).save(picture)
    figures = {
        "": [ShownFigure(title="Rates", path=picture, caption="across all")],
        "a": [ShownFigure(title="Decay", path=picture, caption="of one")],
    }
    rows = [report.row(run) for report, run in zip(reports, runs, strict=True)]
    study = Study(
        title="<Mine>",
        runs=runs,
        rows=rows,
        reports=reports,
        figures=figures,
        captions=tmp_path,
        differences={},
    )
    return overview_page(study)


def test_the_front_page_of_a_method_that_judges_nothing(tmp_path):
    text = page_of([Report(), Report()], tmp_path)
    assert "<h1>&lt;Mine&gt;</h1>" in text and Report.lead in text
    assert text.count("<caption>Results</caption>") == 1
    assert "What the numbers say" not in text and 'class="level' not in text


def test_reports_of_two_methods_stand_below_each_other(tmp_path):
    text = page_of([Telling(), Report(), Telling()], tmp_path)
    assert "Counts &lt;of&gt; sites" in text and "<p>Sites were counted.</p>" in text
    # One table each, with its own runs.
    first, second = text.split("<caption>Results</caption>")[1:]
    assert "<td>a</td>" in first and "<td>c</td>" in first and "<td>b</td>" not in first
    assert "<td>b</td>" in second and "<td>a</td>" not in second
    assert "Run a: Decay." in text and "across all" in text and "Not drawn" not in text
