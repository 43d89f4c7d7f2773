"""What a run is evaluated on, where its model is conditioned: names, roles, stages, keys."""

from __future__ import annotations

from collections import Counter

import pytest

from macrodyn.config.load import check_run, make_system
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.registry import method_of
from macrodyn.pipeline.planner import plan_run

SAMPLED = {"temperature": [2.3, 2.8], "field": [0.0, 0.1]}
HORIZONS = {"late": {"spacing": 1.0, "points": 3}}


def asked(conditions, **changes):
    return {"conditions": SAMPLED, "evaluate": {"conditions": conditions, **changes}}


def test_without_values_a_case_is_a_horizon_at_the_systems_own(make_run):
    run = make_run({"conditions": SAMPLED, "evaluate": {"horizons": HORIZONS}})
    cases = evaluated_cases(run)
    assert [(case.name, case.horizon, case.reference) for case in cases] == [
        ("transient", "transient", "reference"),
        ("late", "late", "reference"),
    ]
    assert [case.parameters for case in cases] == [{}, {}]


def test_every_horizon_is_compared_at_every_combination(make_run):
    conditions = {"temperature": [2.4, 2.6], "field": [-0.05]}
    cases = evaluated_cases(make_run(asked(conditions, horizons=HORIZONS)))
    assert [(case.name, case.horizon, case.reference) for case in cases] == [
        (f"{horizon}-{place}", horizon, f"reference/{place}")
        for place in ("temperature-2.4-field--0.05", "temperature-2.6-field--0.05")
        for horizon in ("transient", "late")
    ]
    assert cases[2].parameters == {"temperature": 2.6, "field": -0.05}


def test_each_case_has_its_predictions_and_each_place_a_reference(make_plan):
    plan = make_plan(asked({"temperature": [2.4, 2.6]}, horizons=HORIZONS))
    names = [
        f"{horizon}-temperature-{value}"
        for value in (2.4, 2.6)
        for horizon in ("transient", "late")
    ]
    for scheme in ("ours", "naive", "full"):
        assert list(plan.below(f"prediction/{scheme}")) == names
    assert list(plan.below("reference")) == ["temperature-2.4", "temperature-2.6"]
    assert "reference" not in plan.roles
    counted = Counter(name for name, _ in plan.stages())
    assert counted["predict"] == 3 * 4 and counted["reference"] == 2 and counted["dynamics"] == 3
    for value in (2.4, 2.6):
        for stage in (
            plan[f"reference/temperature-{value}"],
            plan[f"prediction/naive/late-temperature-{value}"],
        ):
            parameters = stage.config["system"]["parameters"]
            assert parameters["temperature"] == value and parameters["field"] == 0.1
    order = plan.evaluation.config["order"]
    assert list(order) == [*names, "ours", "naive", "full"]
    # What the results are compared with is paid for by the direct way, at all values.
    paid = [stage.config["system"]["parameters"] for stage in plan.costs["direct"].values()]
    assert {parameters["temperature"] for parameters in paid} == {2.4, 2.6}
    assert [name for name, _ in plan.costs["ours"]].count("predict") == 4


def test_values_that_are_evaluated_change_no_model(make_plan):
    one, other = (make_plan(asked({"temperature": values})) for values in ([2.4], [2.4, 2.6]))
    none = make_plan({"conditions": SAMPLED})
    for role in ("small", "snapshots", "closure", "pairs/ours", "latents/ours", "model/ours"):
        assert one[role].key == other[role].key == none[role].key
    # A value that is asked for again is computed once.
    shared = "prediction/ours/transient-temperature-2.4"
    assert one[shared].key == other[shared].key
    assert one["reference/temperature-2.4"].key == other["reference/temperature-2.4"].key
    assert len({plan.evaluation.key for plan in (one, other, none)}) == 3


def test_the_systems_own_value_is_the_same_stage_however_it_is_asked_for(make_plan):
    own, named = make_plan({"conditions": SAMPLED}), make_plan(asked({"temperature": [2.5]}))
    assert own["reference"].key == named["reference/temperature-2.5"].key
    assert (
        own["prediction/ours/transient"].key
        == named["prediction/ours/transient-temperature-2.5"].key
    )


def test_order_of_the_conditions_means_nothing(make_plan):
    one = make_plan(asked({"temperature": [2.4], "field": [0.0]}))
    other = make_plan(asked({"field": [0.0], "temperature": [2.4]}))
    assert one.roles.keys() == other.roles.keys()
    assert one.evaluation.key == other.evaluation.key
    assert "prediction/ours/transient-field-0-temperature-2.4" in one.roles


REFUSED = {
    "no condition": (
        {"evaluate": {"conditions": {"temperature": [2.4]}}},
        "evaluate.conditions.temperature",
        "is no condition that is sampled (conditions: there are none)",
    ),
    "another condition": (
        {"conditions": {"field": [0.0]}, "evaluate": {"conditions": {"temperature": [2.4]}}},
        "evaluate.conditions.temperature",
        "is no condition that is sampled (conditions: field)",
    ),
    "a value that the system refuses": (
        asked({"temperature": [2.4, -1.0]}),
        "evaluate.conditions.temperature",
        "must be greater than 0, not -1.0",
    ),
    "a value given twice": (
        asked({"temperature": [2.4, 2.4]}),
        "evaluate.conditions",
        "two comparisons would be called transient-temperature-2.4: give each value once",
    ),
    "values that are written alike": (
        asked({"temperature": [2.4, 2.40000001]}),
        "evaluate.conditions",
        "two comparisons would be called transient-temperature-2.4",
    ),
}


@pytest.mark.parametrize(("changes", "key", "message"), REFUSED.values(), ids=REFUSED)
def test_values_that_cannot_be_evaluated_are_refused(make_run, changes, key, message):
    told = dict(check_run(make_run(changes)))
    assert told.keys() == {key} and message in told[key]


def test_values_outside_of_the_sampled_ones_are_warned_of(make_run):
    run = make_run(asked({"temperature": [2.3, 2.9, 2.5, 2.2]}))
    found = list(method_of(run).warnings(run, make_system(run)))
    assert [line.split(" is evaluated at ")[1].split(" (")[0] for line in found] == ["2.9", "2.2"]
    assert all("evaluate.conditions.temperature" in line for line in found)


def test_predictions_of_a_case_are_those_of_its_horizon(make_run):
    plan = plan_run("run", make_run(asked({"temperature": [2.4]}, horizons=HORIZONS)))
    late = plan["prediction/ours/late-temperature-2.4"].config
    assert late["horizon"] == {"spacing": 1.0, "points": 3} and late["step"] == 0.25
    # A reference is recorded for all horizons at once.
    recorded = plan["reference/temperature-2.4"].config["horizons"]
    assert set(recorded) == {"transient", "late"}
