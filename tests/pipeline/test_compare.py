"""What the evaluation writes: strict JSON, added costs, one row a run."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from macrodyn.config import HorizonConfig
from macrodyn.pipeline.compare import costs_by_stage, plain
from macrodyn.pipeline.sample import horizon_times, record_times
from macrodyn.pipeline.summary import read_summary, study_figures, summarise_study, summary_row
from macrodyn.storage.errors import StoreError
from macrodyn.storage.netcdf import write_dataset
from macrodyn.storage.sealed import write_sealed_json


def test_plain_values_are_strict_json():
    value = {
        1: np.float64(0.5),
        "array": np.array([1.0, np.nan, np.inf]),
        "nested": ({"n": np.int64(3)}, [True, None, "text"]),
        "minus": float("-inf"),
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "1": 0.5,
        "array": [1.0, None, "diverged"],
        "nested": [{"n": 3}, [True, None, "text"]],
        "minus": "diverged",
    }


def test_record_times_are_the_union_of_all_horizons():
    horizons = {"a": {"spacing": 0.1, "points": 4}, "b": {"spacing": 0.3, "points": 2}}
    # 3 * 0.1 is not 0.3 in binary: rounding makes one time of the two.
    assert record_times(horizons) == [0.0, 0.1, 0.2, 0.3]
    for horizon in horizons.values():
        assert set(horizon_times(HorizonConfig(**horizon))) <= set(record_times(horizons))


def test_costs_of_a_stage_are_added_up(tmp_path):
    data, training = tmp_path / "data.nc", tmp_path / "training.json"
    write_dataset(xr.Dataset(), data, {"site_updates": 10.0, "core_seconds": 2.0})
    write_sealed_json(training, {"cost": {"core_seconds": 0.5}})
    costs = costs_by_stage({"evolve": [data, data], "dynamics": [training]})
    assert costs == {
        "evolve": {"site_updates": 20.0, "core_seconds": 4.0},
        "dynamics": {"site_updates": 0.0, "core_seconds": 0.5},
    }


def error(mean):
    return {"mean": mean, "std": 0.1, "ensemble": mean, "members": [mean, mean]}


@pytest.fixture
def metrics():
    """Metrics of one run with one horizon, as evaluate_run writes them."""
    sampling = {"mean": 1e-4, "mean_q05": 5e-5, "mean_q95": 2e-4}
    factor = {
        "theory": 6.0,
        "estimated": 5.0,
        "standard_error": 0.5,
        "curve": [[1.0], [1.1]],
        "curve_patches": [1, 2],
        "used": 6.0,
    }
    stage = {"site_updates": 100.0, "core_seconds": 2.0}
    ours = {"test_error": error(0.01), "spread_error": error(0.02)}
    return {
        "run": "base",
        "horizons": {"short": {"ours": ours, "sampling_error": sampling}},
        "covariance_factor": {"ours": factor},
        "samples": {"snapshots": 36, "patches_evolved": 2, "patches_total": 12},
        "costs": {"ours": {"simulate": stage, "evolve": stage}, "direct": {"reference": stage}},
        "config": {
            "sizes": {"small": [20, 12], "large": [60, 48], "patch": None},
            "published": {},
        },
    }


def test_row_of_a_run(metrics):
    row = summary_row(metrics)
    assert row["run"] == "base" and row["small"] == "20x12" and row["large"] == "60x48"
    assert row["short_ours"] == 0.01 and row["short_spread"] == 0.02
    assert row["short_naive"] is None and row["short_sampling"] == 1e-4
    assert row["site_updates_ours"] == 200 and row["core_seconds_direct"] == 2


def test_summary_is_read_back(tmp_path):
    table = tmp_path / "summary.csv"
    table.write_text("run,short_ours,short_naive,short_full\nbase,0.25,,diverged\n")
    assert read_summary(table) == [
        {"run": "base", "short_ours": 0.25, "short_naive": None, "short_full": "diverged"}
    ]


def test_names_that_look_like_numbers_stay_names(tmp_path):
    table = tmp_path / "summary.csv"
    table.write_text("run,small,short_ours\n8,16,0.25\n")
    assert read_summary(table) == [{"run": "8", "small": "16", "short_ours": 0.25}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run,short_ours\n",
        "run,short_ours\nbase,0.2",
        "run,short_ours\nbase\n",
        "run,short_ours\nbase,0.2,3\n",
        "name,short_ours\nbase,0.2\n",
        'run,short_ours\n"base,0.2\n',
        "\0\n",
    ],
    ids=repr,
)
def test_summary_that_was_cut_short_is_refused(tmp_path, text):
    table = tmp_path / "summary.csv"
    table.write_text(text)
    with pytest.raises(StoreError, match=rf"summary\.csv cannot be read .*rm {table}, then"):
        read_summary(table)


def test_metrics_in_the_folder_of_another_run_are_refused(tmp_path):
    path = tmp_path / "other" / "metrics.json"
    write_sealed_json(path, {"run": "base"})
    job = SimpleNamespace(inputs={"metrics": [path]})
    with pytest.raises(StoreError, match=f"was made for another run: base: rm {path}, then"):
        summarise_study(job)


def test_runs_with_horizons_of_their_own(metrics):
    """A run may be compared on a horizon that others lack."""
    other = copy.deepcopy(metrics)
    other["run"] = "other"
    third = copy.deepcopy(metrics)
    third["run"] = "third"
    metrics["horizons"]["long"] = copy.deepcopy(metrics["horizons"]["short"])
    figures = study_figures([metrics, other, third])
    assert {"error-against-patch-size-short", "error-against-patch-size-long"} <= set(figures)


def test_a_run_that_diverged_is_shown(metrics):
    other = copy.deepcopy(metrics)
    other["run"] = "diverged"
    bad = {"mean": "diverged", "std": None, "ensemble": "diverged", "members": ["diverged", 0.5]}
    other["horizons"]["short"]["ours"]["test_error"] = bad
    assert summary_row(other)["short_ours"] == "diverged"
    assert study_figures([metrics, other])
