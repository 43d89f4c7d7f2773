"""Which analyses are made where a study does not say."""

from __future__ import annotations

import pytest

from macrodyn.methods.partial_evolution.propose import (
    all_runs,
    costs,
    covariance_factors,
    error_against_size,
    mmd_against_factor,
)

LATE = {"evaluate": {"horizons": {"late": {"spacing": 1.0, "points": 3}}}}


@pytest.fixture
def runs(make_run):
    """Runs by name, each with its changes."""
    return lambda **changes: {name: make_run(change) for name, change in changes.items()}


def told(proposals):
    return {name: (list(p.runs), dict(p.options)) for name, p in proposals.items()}


def test_errors_against_size_are_of_the_first_run_of_each_size(runs):
    smaller = {"sizes": {"small": [5, 6]}}
    found = told(error_against_size(runs(a={}, b={"seed": 1}, c=smaller, d={**smaller, "seed": 1})))
    name, horizon = "error-against-patch-size-transient", {"horizon": "transient"}
    assert found == {name: (["a", "c"], horizon)}
    # Of one size there is one point.
    assert told(error_against_size(runs(a={}))) == {name: (["a"], horizon)}


def test_errors_against_size_are_by_horizon_and_of_the_runs_that_have_it(runs):
    found = told(error_against_size(runs(a={}, b={**LATE, "sizes": {"small": [5, 6]}})))
    assert found == {
        "error-against-patch-size-transient": (["a", "b"], {"horizon": "transient"}),
        "error-against-patch-size-late": (["b"], {"horizon": "late"}),
    }


def test_conditions_make_cases_of_their_own(runs):
    asked = {"conditions": {"temperature": [2.3, 2.8]}}
    asked["evaluate"] = {"conditions": {"temperature": [2.4, 2.6]}}
    cases = ["transient-temperature-2.4", "transient-temperature-2.6"]
    found = told(error_against_size(runs(a=asked)))
    assert found == {f"error-against-patch-size-{c}": (["a"], {"horizon": c}) for c in cases}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_all_runs_are_compared_where_there_are_more_than_two(runs, number):
    given = runs(**{f"r{n}": {"seed": n} for n in range(number)})
    assert told(all_runs(given)) == ({"all-runs": (list(given), {})} if number > 2 else {})


def test_costs_are_of_all_runs(runs):
    assert told(costs(runs(a={}, b={}))) == {"costs": (["a", "b"], {})}


def test_factors_are_of_runs_with_several_patches(runs):
    whole = {"sizes": {"small": [30, 24]}, "evolve": {"patches": 1}}
    assert told(covariance_factors(runs(a=whole, b={}, c=whole))) == {
        "covariance-factor": (["b"], {})
    }
    assert told(covariance_factors(runs(a=whole))) == {}


FACTORS = {
    "half": {"dynamics": {"covariance_factor": 2.0}},
    "one-patch": {"evolve": {"patches": 1}},
}


def test_mmd_is_drawn_against_three_factors_or_more_of_runs_that_are_alike(runs):
    name, options = "mmd-against-covariance-factor-transient", {"horizon": "transient"}
    only_shown = {"published": {"transient": {"paper": 0.1}}, "baselines": []}
    only_shown |= {"execution": {"device": "cuda"}}
    found = told(
        mmd_against_factor(
            runs(
                a={},
                b={**FACTORS["half"], **only_shown},
                c=FACTORS["one-patch"],
                wider={"dynamics": {"covariance_factor": 1.0, "members": 3}},
                other={**FACTORS["half"], "seed": 9},
            )
        )
    )
    assert found == {name: (["a", "b", "c"], options)}


def test_two_factors_make_no_curve(runs):
    assert told(mmd_against_factor(runs(a={}, b=FACTORS["half"], c=FACTORS["half"]))) == {}
    # They count where all runs have the horizon.
    given = runs(a=LATE, b={**FACTORS["half"], **LATE}, c=FACTORS["one-patch"])
    assert told(mmd_against_factor(given)) == {}
