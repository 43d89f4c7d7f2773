"""What the evaluation writes: strict JSON, added costs, one row a run."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from macrodyn.config.models import HorizonConfig
from macrodyn.evaluation import align, sampling_error, trajectory_errors
from macrodyn.pipeline.compare import compare_horizon, costs_by_stage, plain
from macrodyn.pipeline.sample import horizon_times, record_times
from macrodyn.pipeline.summary import (
    _factor,
    read_summary,
    study_figures,
    summarise_study,
    summary_row,
)
from macrodyn.storage.errors import StoreError
from macrodyn.storage.netcdf import read_dataset, write_dataset
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


def test_a_prediction_that_does_not_say_what_lies_outside_is_refused(tmp_path):
    reference, path = stores(tmp_path)
    silent = read_dataset(path)
    del silent.attrs["outside"]
    write_dataset(silent, path, {})
    with pytest.raises(StoreError, match="does not say what share"):
        compare_horizon(reference, {"ours": path}, HORIZON, 0.5, seed=1)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_record_times_are_those_of_any_unit(scale):
    """Multiples of the spacing to the last bit or two, and equal ones of two horizons are equal."""
    horizon = HorizonConfig(spacing=0.1 * scale, points=2001)
    times = np.array(horizon_times(horizon))
    np.testing.assert_allclose(times, 0.1 * scale * np.arange(2001), rtol=1e-15, atol=0)
    threefold = HorizonConfig(spacing=float(f"{0.3 * scale:.15g}"), points=600)
    assert set(horizon_times(threefold)) <= set(times)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_times_that_differ_are_told_in_any_unit(tmp_path, scale):
    reference, path = stores(tmp_path)
    prediction = read_dataset(path)
    time = prediction.time.values * scale
    reference = reference.sel(time=prediction.time).assign_coords(time=time)
    align(prediction.assign_coords(time=time), reference)
    with pytest.raises(ValueError, match="differ in 'time'"):
        align(prediction.assign_coords(time=1.01 * time), reference)


def test_costs_of_a_stage_are_added_up(tmp_path):
    data, training = tmp_path / "data.nc", tmp_path / "training.json"
    write_dataset(xr.Dataset(), data, {"site_updates": 10.0, "core_seconds": 2.0})
    write_sealed_json(training, {"cost": {"core_seconds": 0.5}})
    costs = costs_by_stage({"evolve": [data, data], "dynamics": [training]})
    assert costs == {
        "evolve": {"site_updates": 20.0, "core_seconds": 4.0},
        "dynamics": {"site_updates": 0.0, "core_seconds": 0.5},
    }


@pytest.mark.parametrize("kind", ["site_updates", "core_seconds"])
def test_a_cost_that_is_missing_is_not_taken_for_zero(tmp_path, kind):
    data = tmp_path / "data.nc"
    costs = {"site_updates": 10.0, "core_seconds": 2.0}
    write_dataset(xr.Dataset(), data, {k: v for k, v in costs.items() if k != kind})
    with pytest.raises(StoreError, match=kind):
        costs_by_stage({"evolve": [data]})


HORIZON = HorizonConfig(spacing=0.5, points=6)
STATES = [[0.45, 0.05], [0.45, 0.1], [0.55, 0.1]]


def stores(folder, shift=0.0, replicas=20, states=STATES):
    """A reference on a finer grid of times, and a prediction of two members."""
    rng = np.random.default_rng(3)
    times = record_times({"a": HORIZON.model_dump(), "b": {"spacing": 0.25, "points": 4}})
    initial = {"initial_values": (("initial", "component"), states)}
    coords = {"component": ["mean", "amplitude"]}
    values = 1 + 0.1 * rng.standard_normal((len(states), 20, len(times), 2))
    reference = xr.Dataset(
        {"observables": (("initial", "replica", "time", "observable"), values), **initial},
        coords={**coords, "time": times, "observable": ["prey", "predator"]},
    )
    z = 1 + shift + 0.1 * rng.standard_normal((2, len(states), replicas, HORIZON.points, 3))
    dims = ("member", "initial", "replica", "time", "variable")
    prediction = xr.Dataset(
        {"z": (dims, z), **initial},
        coords={
            **coords,
            "time": horizon_times(HORIZON),
            "variable": ["prey", "predator", "closure_0"],
        },
        attrs={"outside": 0.25, "initial_outside": 0.125},
    )
    path = folder / f"{shift}-{replicas}.nc"
    write_dataset(prediction, path, {})
    return reference, path


def test_predictions_are_compared_from_vectors_of_initial_values(tmp_path):
    reference, exact = stores(tmp_path)
    shifted = stores(tmp_path, shift=0.2)[1]
    files = {"ours": exact, "naive": shifted}
    comparison, metrics = compare_horizon(reference, files, HORIZON, 0.5, seed=1)
    np.testing.assert_array_equal(comparison.initial, STATES)
    assert comparison.components == ("mean", "amplitude")
    assert comparison.reference.shape == (3, 20, 6, 2)
    assert comparison.predictions["ours"].shape == (2, 3, 20, 6, 2)
    ours, naive = metrics["ours"]["mmd"], metrics["naive"]["mmd"]
    assert set(ours) == {"mean", "members", "null_mean", "null_q95", "bandwidth_factors"}
    assert len(ours["members"]) == 2
    assert metrics["naive"]["range"] == {"outside": 0.25, "initial_outside": 0.125}
    assert ours["mean"] < ours["null_q95"] < 0.1 * naive["mean"]
    # The same reference, and so the same null.
    assert (ours["null_mean"], ours["null_q95"]) == (naive["null_mean"], naive["null_q95"])
    json.dumps(plain(metrics), allow_nan=False)


def test_sampling_error_is_what_an_exact_model_of_as_many_trajectories_scores(tmp_path):
    states = [[0.4 + 0.01 * i, 0.1] for i in range(40)]
    reference, ours = stores(tmp_path, replicas=8, states=states)
    files = {"naive": stores(tmp_path, replicas=30, states=states)[1], "ours": ours}
    comparison, metrics = compare_horizon(reference, files, HORIZON, 0.5, seed=1)
    expected = sampling_error(comparison.reference, seed=1, prediction_replicas=8)
    assert metrics["sampling_error"] == expected.summary()
    scores = trajectory_errors(comparison.predictions["ours"], comparison.reference)[0]
    # The two members of an initial state share its reference.
    by_initial = scores.by_initial.mean(axis=0)
    error = by_initial.std(ddof=1) / np.sqrt(len(states))
    assert abs(metrics["sampling_error"]["mean"] - by_initial.mean()) < 5 * error
    assert metrics["ours"]["test_error"]["mean"] == pytest.approx(by_initial.mean())


def test_sampling_error_without_ours_is_that_of_the_first_method(tmp_path):
    reference, path = stores(tmp_path, replicas=8)
    comparison, metrics = compare_horizon(reference, {"naive": path}, HORIZON, 0.5, seed=1)
    expected = sampling_error(comparison.reference, seed=1, prediction_replicas=8)
    assert metrics["sampling_error"] == expected.summary()


def test_prediction_from_other_initial_values_is_refused(tmp_path):
    reference, path = stores(tmp_path)
    moved = reference.assign(initial_values=reference.initial_values + 0.1)
    with pytest.raises(ValueError, match="differ in 'initial_values'"):
        compare_horizon(moved, {"ours": path}, HORIZON, 0.5, seed=1)


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
        "correlation": [0.02, -0.01, 9.0],
        "curve": [[1.0], [1.1]],
        "curve_patches": [1, 2],
        "used": 6.0,
    }
    stage = {"site_updates": 100.0, "core_seconds": 2.0}
    ours = {"test_error": error(0.01), "spread_error": error(0.02)}
    ours["equilibrium"] = {"magnetisation": {}, "domain_wall_density": {}}
    ours["mmd"] = {
        "mean": 0.02,
        "members": [0.02, 0.04],
        "null_mean": 0.0,
        "null_q95": 0.005,
        "bandwidth_factors": [0.5, 1.0, 2.0],
    }
    return {
        "run": "base",
        "horizons": {"short": {"ours": ours, "sampling_error": sampling}},
        "covariance_factor": {"ours": factor},
        "samples": {"observables": 2, "snapshots": 36, "patches_evolved": 2, "patches_total": 12},
        "costs": {"ours": {"simulate": stage, "evolve": stage}, "direct": {"reference": stage}},
        "config": {
            "sizes": {"small": [20, 12], "large": [60, 48], "patch": None},
            "published": {},
            "dynamics": {"covariance_factor": "theory", "members": 2},
            "evolve": {"patches": 2, "dt": 0.1},
            "baselines": ["naive"],
        },
    }


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
    assert row[f"{horizon}:ours"] == 0.5 and len(own) == 7
    assert {column: value for column, value in row.items() if column not in own} == plain


def test_row_tells_the_share_outside_the_training_data(metrics):
    assert "short:outside" not in summary_row(metrics)
    metrics["horizons"]["short"]["ours"]["range"] = {"outside": 0.25, "initial_outside": 0.0}
    assert summary_row(metrics)["short:outside"] == 0.25


def test_summary_is_read_back(tmp_path):
    table = tmp_path / "summary.csv"
    text = "run,short:ours,short:naive,short:full\nbase,0.25,,diverged\n"
    table.write_text(text, encoding="utf-8")
    assert read_summary(table) == [
        {"run": "base", "short:ours": 0.25, "short:naive": None, "short:full": "diverged"}
    ]


def test_names_that_look_like_numbers_stay_names(tmp_path):
    table = tmp_path / "summary.csv"
    table.write_text("run,small,short:ours\n8,16,0.25\n", encoding="utf-8")
    assert read_summary(table) == [{"run": "8", "small": "16", "short:ours": 0.25}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run,short:ours\n",
        "run,short:ours\nbase,0.2",
        "run,short:ours\nbase\n",
        "run,short:ours\nbase,0.2,3\n",
        "name,short:ours\nbase,0.2\n",
        'run,short:ours\n"base,0.2\n',
        "\0\n",
    ],
    ids=repr,
)
def test_summary_that_was_cut_short_is_refused(tmp_path, text):
    table = tmp_path / "summary.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=rf"summary\.csv cannot be read .*rm {table}, then"):
        read_summary(table)


def test_metrics_in_the_folder_of_another_run_are_refused(tmp_path):
    path = tmp_path / "other" / "metrics.json"
    write_sealed_json(path, {"run": "base"})
    job = SimpleNamespace(inputs={"metrics": [path]})
    with pytest.raises(StoreError, match=f"was made for another run: base: rm {path}, then"):
        summarise_study(job, tmp_path)


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
    assert summary_row(other)["short:ours"] == "diverged"
    assert study_figures([metrics, other])


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
    assert study_figures([metrics])


MISSING = [
    ("horizons", "short", "ours", "test_error"),
    ("horizons", "short", "ours", "spread_error"),
    ("horizons", "short", "ours", "equilibrium"),
    ("horizons", "short", "ours", "mmd"),
    ("horizons", "short", "sampling_error"),
    ("exact",),
    ("residual_by_age",),
    ("markov",),
]


@pytest.mark.parametrize("path", [*MISSING, None], ids=str)
def test_what_a_run_lacks_is_left_out_of_the_study(metrics, path):
    """Each figure of merit may be null; the study is summarised all the same."""
    lacking = copy.deepcopy(metrics)
    for one in MISSING if path is None else [path]:
        place = lacking
        for key in one[:-1]:
            place = place[key]
        place[one[-1]] = None
    row = summary_row(lacking)
    # A row has the same columns whatever is missing.
    assert set(row) == set(summary_row(metrics))
    if path is None:
        assert row["short:ours"] is row["short:spread"] is row["short:sampling"] is None
        assert row["short:ours_mmd"] is None
    lacking["run"], third = "lacking", copy.deepcopy(metrics)
    third["run"], third["horizons"]["short"]["ours"]["test_error"] = "third", error(0.05)
    for runs in [[lacking, metrics, third], *([[lacking] * 3] if path is None else [])]:
        assert "error-against-patch-size-short" in study_figures(runs)


def curve_of(patches):
    """The variance curve of so many evolved patches, as long as it is in training.json."""
    sizes = [n for n in (1, 2, 4, 8) if n <= patches]
    return {"curve": [[1.0]] * len(sizes), "curve_patches": sizes}


def single_factors(correlation, patches, total):
    """What the model of equally correlated patches gives: factor of m, and of one patch."""
    whole = (1 + (total - 1) * correlation) / total
    return (1 + (patches - 1) * correlation) / patches / whole, 1 / whole


@pytest.mark.parametrize(
    ("patches", "total"), [(1, 5), (2, 5), (4, 5), (5, 5), (8, 16)], ids=lambda n: str(n)
)
def test_estimated_factor_is_that_of_a_single_patch(metrics, patches, total):
    correlation = 0.04
    of_many, of_one = single_factors(correlation, patches, total)
    metrics["samples"] |= {"patches_evolved": patches, "patches_total": total}
    metrics["covariance_factor"]["ours"] |= curve_of(patches) | {
        "theory": total / patches,
        "estimated": of_many,
        "standard_error": 0.01,
        "correlation": [correlation, correlation, 9.0],
    }
    (factor,) = _factor(metrics)
    assert factor.theory == total
    assert factor.estimate == pytest.approx(of_one)
    if patches < total:
        above = single_factors(correlation - 1e-6, patches, total)
        slope = (above[1] - of_one) / (above[0] - of_many)
        assert factor.error == pytest.approx(0.01 * slope, rel=1e-4)
    else:
        # All patches make up the whole: their factor is 1 and says nothing of one patch.
        assert np.isnan(factor.error)
    assert "covariance-factor" in study_figures([metrics])


def test_scatter_of_the_variances_is_that_of_gaussian_increments(metrics):
    """36 snapshots of 2 patches: 72 single patches, and 36 averages of two."""
    (factor,) = _factor(metrics)
    np.testing.assert_allclose(factor.variance, [1.0, 1.1 / 2])
    np.testing.assert_allclose(
        np.divide(factor.variance_error, factor.variance), [np.sqrt(2 / 72), np.sqrt(2 / 36)]
    )


def test_runs_of_one_patch_have_no_estimate_and_no_figure_of_it(metrics):
    metrics["covariance_factor"]["ours"] |= {"estimated": None, "standard_error": None}
    assert "covariance-factor" not in study_figures([metrics])


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_runs_that_share_their_pairs_share_one_estimate(metrics):
    other = copy.deepcopy(metrics)
    other["run"] = "other"
    third = copy.deepcopy(metrics)
    third["run"] = "third"
    third["covariance_factor"]["ours"]["estimated"] = 5.5
    figure = study_figures([metrics, other, third])["covariance-factor"]
    assert legend(figure) == ["estimate = $K$", "base, $K = 12$", "third, $K = 12$"]


MMD_FIGURE = "mmd-against-covariance-factor-short"


def trial(metrics, name, choice, used, patches=2, **other):
    """A run like the first, trained with another factor."""
    run = copy.deepcopy(metrics)
    run["run"] = name
    run["config"]["dynamics"] |= {"covariance_factor": choice, **other}
    run["config"]["evolve"]["patches"] = patches
    run["samples"]["patches_evolved"] = patches
    factor = run["covariance_factor"]["ours"]
    factor |= {"used": used, "theory": 12 / patches, **curve_of(patches)}
    return run


def test_mmd_is_drawn_against_the_factor_of_a_single_patch(metrics):
    runs = [
        metrics,
        trial(metrics, "half", 3.0, 3.0),
        trial(metrics, "one-patch", "theory", 12.0, patches=1),
        trial(metrics, "double", 24.0, 24.0, patches=1),
        trial(metrics, "wider", 1.0, 1.0, members=3),
    ]
    runs[1]["horizons"]["short"]["ours"]["mmd"]["members"] = [0.1, 0.3]
    runs[1]["config"]["published"] = {"short": {"paper": 0.1}}
    runs[1]["config"]["baselines"] = []
    figure = study_figures(runs)[MMD_FIGURE]
    (panel,) = figure.axes
    one, two = (container.lines[0] for container in panel.containers)
    np.testing.assert_allclose(one.get_xdata(), [12, 24], rtol=0.03)
    np.testing.assert_allclose(two.get_xdata(), [6, 12], rtol=0.03)
    np.testing.assert_allclose(two.get_ydata(), [0.2, 0.03])
    assert panel.lines[0].get_xdata()[0] == 12
    assert "theory, $K = 12$" in legend(figure)


@pytest.mark.parametrize("used", [6.0, 3.0], ids=["two-factors", "three-factors"])
def test_a_curve_needs_three_factors(metrics, used):
    runs = [metrics, trial(metrics, "a", 12.0, 12.0), trial(metrics, "b", used, used)]
    assert (MMD_FIGURE in study_figures(runs)) == (used == 3.0)


@pytest.mark.parametrize("small", [[100], [20, 12]], ids=["line", "plane"])
def test_one_size_makes_a_figure(metrics, small):
    metrics["config"]["sizes"] = {"small": small, "large": [2 * n for n in small], "patch": None}
    figure = study_figures([metrics])["error-against-patch-size-short"]
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert labels == [" × ".join(map(str, small))]
    assert summary_row(metrics)["small"] == "x".join(map(str, small))


def test_a_published_value_is_told_from_the_method_of_its_name(metrics):
    metrics["config"]["published"] = {"short": {"ours": 0.02, "elsewhere": 0.03}}
    figure = study_figures([metrics])["error-against-patch-size-short"]
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:3] == ["ours", "ours (published)", "elsewhere"]
