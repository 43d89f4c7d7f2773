"""What is missing is noted with its reason; errors of the program are not hidden."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.available import Findings, Unavailable
from macrodyn.evaluation.equilibrium import equilibrium
from macrodyn.evaluation.exact import compare_with_exact
from macrodyn.evaluation.figures_trajectories import trajectories
from macrodyn.evaluation.metrics import replica_mean_error, replica_spread_error
from macrodyn.evaluation.mmd import mmd_at_equilibrium, mmd_at_times
from macrodyn.evaluation.mmd_average import mmd_over_times


def _fail(error: type[Exception]) -> None:
    raise error("why")


def test_only_what_is_unavailable_is_caught() -> None:
    findings = Findings()
    part = findings.below("horizons", "late")
    assert part.attempt("mmd", lambda: 3) == 3
    assert part.attempt("error.mean", lambda: _fail(Unavailable)) is None
    assert part.below("naive").attempt("", lambda: _fail(Unavailable)) is None
    assert findings.reasons == {"horizons.late.error.mean": "why", "horizons.late.naive": "why"}
    for error in (ValueError, TypeError, ZeroDivisionError):
        with pytest.raises(error):
            findings.attempt("markov", lambda error=error: _fail(error))
    assert "markov" not in findings.reasons


def test_a_measure_is_demanded_with_the_reason_for_its_lack() -> None:
    findings = Findings()
    findings.lack("markov", "too few snapshots")
    assert findings.demand("other", 0.0) == 0.0
    with pytest.raises(Unavailable, match="too few snapshots"):
        findings.demand("markov", None)


def test_undefined_numbers_get_a_reason_where_they_have_none() -> None:
    findings = Findings()
    findings.lack("a", "known")
    findings.explain({"a": {"b": float("nan")}, "c": [1.0, None, np.inf], "d": {"e": 2}})
    assert findings.reasons == {
        "a": "known",
        "c.1": "0/0: there is nothing that it could be relative to",
    }


STILL = np.ones((1, 4, 6, 2))
MOVING = STILL + 0.1 * np.random.default_rng(0).normal(size=(2, 1, 4, 6, 2))


def test_a_reference_that_does_not_spread_has_an_error_of_the_mean() -> None:
    assert 0 < replica_mean_error(MOVING, STILL).mean < 0.1
    with pytest.raises(Unavailable, match="do not differ from each other"):
        replica_spread_error(MOVING, STILL)
    # 0.1 is no binary number: its mean over replicas may differ from it by rounding.
    with pytest.raises(Unavailable, match="do not differ from each other"):
        replica_spread_error(MOVING, 0.1 * STILL)
    with pytest.raises(Unavailable, match="zero throughout"):
        replica_mean_error(MOVING, 0 * STILL)


def test_late_values_that_do_not_vary_have_no_relative_error_of_the_spread() -> None:
    reference = STILL * [0.0, 0.1]
    found = equilibrium(MOVING, reference)
    assert set(found.undefined(["a", "b"])) == {
        "a.mean_relative_error",
        *(
            f"{name}.{key}"
            for name in "ab"
            for key in ("std_relative_error", "wasserstein_relative")
        ),
    }
    summary = found.summary(["a", "b"])
    nan = {f"{n}.{k}" for n, part in summary.items() for k, v in part.items() if np.isnan(v)}
    assert nan == set(found.undefined(["a", "b"]))


def test_a_reference_that_is_not_finite_has_no_measures() -> None:
    broken = MOVING[0].copy()
    broken[0, 0, -1] = np.inf
    measures = (
        replica_mean_error,
        replica_spread_error,
        equilibrium,
        mmd_at_equilibrium,
        lambda ours, direct: mmd_at_times(ours, direct, [1]),
        lambda ours, direct: mmd_over_times(ours, direct, [1]),
    )
    for measure in measures:
        with pytest.raises(Unavailable, match="not finite"):
            measure(MOVING, broken)


def test_a_reference_that_is_not_finite_is_drawn_as_far_as_it_is() -> None:
    broken = MOVING[0].copy()
    broken[0, 0, -1] = np.inf
    figure = trajectories(np.arange(6.0), [0.5], broken, MOVING, ["a", "b"])
    figure.canvas.draw()
    mean = figure.axes[0].lines[0].get_ydata()
    assert np.isfinite(mean[:-1]).all() and np.isnan(mean[-1])


def test_an_exact_drift_of_zero_is_nothing_to_compare_with() -> None:
    z = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    comparison = compare_with_exact(
        z,
        ["a", "b"],
        lambda points: (points[None], np.broadcast_to(np.eye(2), (1, len(points), 2, 2))),
        lambda points: (
            points * [0, 1],
            np.broadcast_to(np.diag([1.0, np.nan]), (len(points), 2, 2)),
        ),
    )
    assert comparison is not None
    summary = comparison.summary()
    assert summary["drift"]["a"] is None and summary["drift"]["b"]["max"]["mean"] == 0
    # What is not known is left out; what is known and zero is not.
    assert list(summary["diffusion"]) == ["a"]
    assert list(comparison.undefined()) == ["drift.a"]
