"""How runs of partial evolution are told: a row each, whatever they lack."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from macrodyn.methods.partial_evolution.report import PartialEvolutionReport, summary_row
from macrodyn.pipeline.report.summary import report_of


def test_row_of_a_run(metrics):
    row = summary_row(metrics)
    assert row["run"] == "base" and row["small"] == "20x12" and row["large"] == "60x48"
    assert row["short:ours"] == 0.01 and row["short:spread"] == 0.02
    assert row["short:naive"] is None and row["short:sampling"] == 1e-4
    assert row["short:ours_mmd"] == pytest.approx(0.03)
    assert not [column for column in row if column.endswith("percent")]
    assert row["site_updates_ours"] == 200 and row["core_seconds_direct"] == 2


@pytest.mark.parametrize(
    "horizon", ["site_updates", "core_seconds", "run", "drift_rms", "short_ours"]
)
def test_no_horizon_takes_the_column_of_another(metrics, horizon):
    """A horizon may be called as what the table tells of every run."""
    (short,) = metrics["horizons"].values()
    metrics["exact"] = {"drift": {}, "diffusion": {}}
    plain = summary_row(metrics)
    metrics["horizons"] = {"short": short, horizon: copy.deepcopy(short)}
    metrics["horizons"][horizon]["ours"]["test_error"]["mean"] = 0.5
    row = summary_row(metrics)
    own = {column for column in row if column.startswith(f"{horizon}:")}
    assert row[f"{horizon}:ours"] == 0.5 and len(own) == 12
    assert {column: value for column, value in row.items() if column not in own} == plain


def test_row_tells_the_share_outside_the_training_data(metrics):
    assert "short:outside" not in summary_row(metrics)
    metrics["horizons"]["short"]["ours"]["range"] = {"outside": 0.25, "initial_outside": 0.0}
    assert summary_row(metrics)["short:outside"] == 0.25


def test_row_tells_the_worst_deviation_from_what_is_exactly_known(metrics):
    def deviation(largest, rms=0.01):
        figures = {"members": [0.5, 0.5], "mean": largest, "ensemble": 0.001}
        return {"max": figures, "rms": {**figures, "mean": rms}}

    metrics["exact"] = {
        "where": "samples",
        "points": 100,
        "quantiles": [0.005, 0.995],
        "drift": {},
        "diffusion": {"prey": deviation(0.02), "predator": deviation(0.05, 0.005)},
    }
    row = summary_row(metrics)
    assert row["drift_max_percent"] is row["drift_rms_percent"] is None
    assert row["diffusion_max_percent"] == pytest.approx(5.0)
    assert row["diffusion_rms_percent"] == pytest.approx(1.0)
    metrics["exact"]["drift"] = {"prey": deviation("diverged")}
    assert summary_row(metrics)["drift_max_percent"] == np.inf


def test_row_of_a_member_that_diverged(metrics):
    metrics["horizons"]["short"]["ours"]["mmd"]["members"] = ["diverged", 0.1]
    assert summary_row(metrics)["short:ours_mmd"] == np.inf
    del metrics["horizons"]["short"]["ours"]["mmd"]
    assert "short:ours_mmd" not in summary_row(metrics)


def test_the_report_is_found_by_the_method_and_adds_up_its_two_ways_alone(metrics):
    report = report_of(metrics)
    assert isinstance(report, PartialEvolutionReport)
    spent = {"stage": {"site_updates": 1.0, "core_seconds": 1.0}}
    row = report.row({**metrics, "costs": {**metrics["costs"], "other": spent}})
    assert row == summary_row(metrics)


def test_tables_are_by_horizon_and_show_what_is_there(metrics):
    """A run stands in the tables of its own horizons; exact deviations where some are known."""
    other = copy.deepcopy(metrics) | {"run": "other"}
    other["horizons"] = {"long": other["horizons"]["short"]}
    rows = [summary_row(metrics), summary_row(other)]
    tables = {t.title: [r["run"] for r in t.rows] for t in PartialEvolutionReport().tables(rows)}
    compared = "Comparison with direct simulation: "
    assert tables == {
        f"{compared}short": ["base"],
        "Members and mean model: short": ["base", "base"],
        f"{compared}long": ["other"],
        "Members and mean model: long": ["other", "other"],
        "Costs": ["base", "other"],
    }
    rows[1]["diffusion_rms_percent"] = 2.0
    titles = [table.title for table in PartialEvolutionReport().tables(rows)]
    assert titles[4:] == ["Deviation from the exact functions", "Costs"]


def test_the_front_page_shows_the_size_where_sizes_differ(metrics):
    report = PartialEvolutionReport()
    trajectories = ("Trajectories, short, ours", "base")
    assert report.main_figures([metrics, metrics]) == [trajectories]
    other = copy.deepcopy(metrics)
    other["config"]["sizes"]["small"] = [10, 12]
    across = ("Error against patch size, short", "")
    assert report.main_figures([metrics, other]) == [across, trajectories]


def test_table_of_members_shows_all_of_them_and_those_kept(metrics):
    values = metrics["horizons"]["short"]
    values["ours"] = {
        "test_error": {"mean": 25.5, "std": 49.0, "members": [1.0, 3.0, 2.0, "diverged"]},
        "spread_error": {"mean": 0.5},
        "mmd": {"members": [0.1, 0.2, 0.3, 0.4], "null_mean": 0.05},
        "members": {"outliers": [3], "kept": 3, "test_error": 2.0},
        "mean_model": {"test_error": 1.5, "spread_error": 0.25, "mmd": 0.125},
    }
    values["polynomial"] = {
        "test_error": {"mean": 4.0, "members": [3.5, 4.5]},
        "spread_error": {"mean": 0.75},
        "members": {"outliers": [], "kept": 2, "test_error": 4.0},
    }
    values["sampling_error"] = {"mean": 0.01, "spread": 0.02}
    tables = PartialEvolutionReport().tables([summary_row(metrics)])
    (table,) = [t for t in tables if t.title == "Members and mean model: short"]
    lines = {line["scheme"]: line for line in table.rows}
    assert list(lines) == ["ours", "polynomial", "exact model"]
    ours = lines["ours"]
    assert (ours["_median"], ours["_worst"], ours["_mean_model"]) == (2.5, np.inf, 1.5)
    assert (ours[""], ours["_left"], ours["_kept"]) == (25.5, 1, 2.0)
    assert (ours["_spread"], ours["_mean_model_spread"]) == (0.5, 0.25)
    assert (ours["_mmd"], ours["_mean_model_mmd"]) == (0.25, 0.125)
    polynomial = lines["polynomial"]
    # None has left: there is one mean.
    assert (polynomial[""], polynomial["_left"], polynomial["_kept"]) == (4.0, 0, None)
    assert polynomial["_spread"] == 0.75
    exact = lines["exact model"]
    assert (exact[""], exact["_spread"], exact["_mmd"]) == (0.01, 0.02, 0.05)
    assert set(table.headings) >= set(ours) == set(table.headings)
