"""Analyses across runs: what they draw, and what they make of runs that lack something."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from matplotlib.figure import Figure

from macrodyn.methods.partial_evolution import analyses
from macrodyn.methods.partial_evolution.analyses import estimated_factor
from macrodyn.methods.partial_evolution.report import summary_row
from macrodyn.pipeline.job import Job
from macrodyn.storage.sealed import read_sealed_json, write_sealed_json

SHORT = {"horizon": "short"}
# Options of each analysis.
ALL = {
    "error_against_size": SHORT,
    "all_runs": {},
    "mmd_against_factor": SHORT,
    "covariance_factors": {},
    "costs": {},
}


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Make an analysis of runs; return its figure and its findings."""
    drawn = []
    monkeypatch.setattr(analyses.style, "save", lambda figure, path: drawn.append((figure, path)))

    def run(name, runs, **options) -> tuple[Figure, dict]:
        inputs = {}
        for metrics in runs:
            path = tmp_path / metrics["run"] / "metrics.json"
            write_sealed_json(path, metrics)
            inputs[metrics["run"]] = {"metrics": path}
        config = {"options": options, "runs": list(inputs)}
        outputs = {"findings": tmp_path / "findings.json", "figures": tmp_path / "figures"}
        drawn.clear()
        job = Job(
            stage=name, config=config, inputs=inputs, outputs=outputs, subject="mine", key="k"
        )
        getattr(analyses, name)(job)
        ((figure, path),) = drawn
        assert path.parent == outputs["figures"] and path.suffix == ".png"
        found = read_sealed_json(outputs["findings"])
        assert (found["analysis"], found["key"], found["runs"]) == ("mine", "k", config["runs"])
        return figure, found["findings"]

    return run


def is_note(figure) -> bool:
    """Whether a figure says that there is none."""
    return not figure.axes and "This figure cannot be drawn" in figure.texts[0].get_text()


def named(metrics, *names):
    """Copies of a run's metrics under other names."""
    return [{**copy.deepcopy(metrics), "run": name} for name in names]


def test_runs_with_horizons_of_their_own(metrics, draw):
    """A run may be compared on a horizon that others lack."""
    other, third = named(metrics, "other", "third")
    metrics["horizons"]["long"] = copy.deepcopy(metrics["horizons"]["short"])
    runs = [metrics, other, third]
    for horizon, having in (("short", ["base", "other", "third"]), ("long", ["base"])):
        figure, found = draw("error_against_size", runs, horizon=horizon)
        assert not is_note(figure) and list(found) == having
    figure, found = draw("all_runs", runs)
    assert not is_note(figure)
    assert {name: list(errors) for name, errors in found.items()} == {
        "base": ["short", "long"],
        "other": ["short"],
        "third": ["short"],
    }


def test_a_run_that_diverged_is_shown(metrics, draw):
    (other,) = named(metrics, "diverged")
    bad = {"mean": "diverged", "std": None, "ensemble": "diverged", "members": ["diverged", 0.5]}
    other["horizons"]["short"]["ours"]["test_error"] = bad
    assert summary_row(other)["short:ours"] == "diverged"
    for name, options in ALL.items():
        draw(name, [metrics, other], **options)
    found = draw("error_against_size", [metrics, other], **SHORT)[1]
    assert found == {"base": {"ours": [0.01, 0.01]}, "diverged": {"ours": ["diverged", 0.5]}}


def test_a_member_that_diverged_or_was_not_compared_is_shown(metrics, draw):
    ours = metrics["horizons"]["short"]["ours"]
    ours["mmd"]["members"] = ["diverged", 0.1]
    assert draw("mmd_against_factor", [metrics], **SHORT)[1]["trials"][0]["mmd"] == [
        "diverged",
        0.1,
    ]
    del ours["mmd"]
    for name, options in ALL.items():
        draw(name, [metrics], **options)
    assert draw("mmd_against_factor", [metrics], **SHORT)[1]["trials"] == []


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
def test_what_a_run_lacks_is_left_out_of_the_study(metrics, draw, path):
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
    lacking["run"], (third,) = "lacking", named(metrics, "third")
    worse = {"mean": 0.05, "std": 0.1, "ensemble": 0.05, "members": [0.05, 0.05]}
    third["horizons"]["short"]["ours"]["test_error"] = worse
    alone = [named(lacking, "a", "b", "c")] if path is None else []
    for runs in [[lacking, metrics, third], *alone]:
        for name, options in ALL.items():
            figure, _ = draw(name, runs, **options)
            if name in ("error_against_size", "all_runs"):
                assert is_note(figure) == (runs in alone)


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
def test_estimated_factor_is_that_of_a_single_patch(metrics, draw, patches, total):
    correlation = 0.04
    of_many, of_one = single_factors(correlation, patches, total)
    metrics["samples"] |= {"patches_evolved": patches, "patches_total": total}
    metrics["covariance_factor"]["ours"] |= curve_of(patches) | {
        "theory": total / patches,
        "estimated": of_many,
        "standard_error": 0.01,
        "correlation": [correlation, correlation, 9.0],
    }
    (factor,) = estimated_factor(metrics)
    assert factor.theory == total
    assert factor.estimate == pytest.approx(of_one)
    if patches < total:
        above = single_factors(correlation - 1e-6, patches, total)
        slope = (above[1] - of_one) / (above[0] - of_many)
        assert factor.error == pytest.approx(0.01 * slope, rel=1e-4)
    else:
        # All patches make up the whole: their factor is 1 and says nothing of one patch.
        assert np.isnan(factor.error)
    figure, found = draw("covariance_factors", [metrics])
    assert not is_note(figure)
    assert found["factors"][0]["estimate"] == pytest.approx(of_one)


def test_scatter_of_the_variances_is_that_of_gaussian_increments(metrics):
    """36 snapshots of 2 patches: 72 single patches, and 36 averages of two."""
    (factor,) = estimated_factor(metrics)
    np.testing.assert_allclose(factor.variance, [1.0, 1.1 / 2])
    np.testing.assert_allclose(
        np.divide(factor.variance_error, factor.variance), [np.sqrt(2 / 72), np.sqrt(2 / 36)]
    )


def test_runs_of_one_patch_have_no_estimate_and_no_figure_of_it(metrics, draw):
    metrics["covariance_factor"]["ours"] |= {"estimated": None, "standard_error": None}
    figure, found = draw("covariance_factors", [metrics])
    assert is_note(figure) and found == {"factors": []}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_runs_that_share_their_pairs_share_one_estimate(metrics, draw):
    other, third = named(metrics, "other", "third")
    third["covariance_factor"]["ours"]["estimated"] = 5.5
    figure, _ = draw("covariance_factors", [metrics, other, third])
    assert legend(figure) == ["estimate = $K$", "base, $K = 12$", "third, $K = 12$"]


def trial(metrics, name, choice, used, patches=2):
    """A run like the first, trained with another factor."""
    (run,) = named(metrics, name)
    run["config"]["dynamics"]["covariance_factor"] = choice
    run["config"]["evolve"]["patches"] = patches
    run["samples"]["patches_evolved"] = patches
    factor = run["covariance_factor"]["ours"]
    factor |= {"used": used, "theory": 12 / patches, **curve_of(patches)}
    return run


def test_mmd_is_drawn_against_the_factor_of_a_single_patch(metrics, draw):
    runs = [
        metrics,
        trial(metrics, "half", 3.0, 3.0),
        trial(metrics, "one-patch", "theory", 12.0, patches=1),
        trial(metrics, "double", 24.0, 24.0, patches=1),
    ]
    runs[1]["horizons"]["short"]["ours"]["mmd"]["members"] = [0.1, 0.3]
    figure, _ = draw("mmd_against_factor", runs, **SHORT)
    (panel,) = figure.axes
    one, two = (container.lines[0] for container in panel.containers)
    np.testing.assert_allclose(one.get_xdata(), [12, 24], rtol=0.03)
    np.testing.assert_allclose(two.get_xdata(), [6, 12], rtol=0.03)
    np.testing.assert_allclose(two.get_ydata(), [0.2, 0.03])
    assert panel.lines[0].get_xdata()[0] == 12
    assert "theory, $K = 12$" in legend(figure)


@pytest.mark.parametrize("used", [6.0, 3.0], ids=["two-factors", "three-factors"])
def test_a_curve_needs_three_factors(metrics, draw, used):
    runs = [metrics, trial(metrics, "a", 12.0, 12.0), trial(metrics, "b", used, used)]
    assert is_note(draw("mmd_against_factor", runs, **SHORT)[0]) == (used == 6.0)


@pytest.mark.parametrize("small", [[100], [20, 12]], ids=["line", "plane"])
def test_one_size_makes_a_figure(metrics, draw, small):
    metrics["config"]["sizes"] = {"small": small, "large": [2 * n for n in small], "patch": None}
    figure, _ = draw("error_against_size", [metrics], **SHORT)
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert labels == [" × ".join(map(str, small))]
    assert summary_row(metrics)["small"] == "x".join(map(str, small))


def test_a_published_value_is_told_from_the_method_of_its_name(metrics, draw):
    metrics["config"]["published"] = {"short": {"ours": 0.02, "elsewhere": 0.03}}
    figure, _ = draw("error_against_size", [metrics], **SHORT)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:3] == ["ours", "ours (published)", "elsewhere"]
