"""Sweeps: a run for every combination, with names that say which, and errors at their keys."""

from __future__ import annotations

from typing import Any

import pytest

from macrodyn.config.load import ConfigError, load_study, merge
from macrodyn.config.sweep import nested, swept

BASE: dict[str, Any] = {
    "study": "s",
    "system": {"name": "ising", "parameters": {"temperature": 2.5}},
    "sizes": {"small": [8, 6], "large": [16, 18]},
    "runs": {"a": {}},
}


def runs(changes: dict[str, Any]) -> dict[str, Any]:
    return load_study(merge(BASE, changes), check_systems=False).runs


def told(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        load_study(merge(BASE, changes), "a.yaml")
    return [line.strip() for line in str(refusal.value).splitlines()[1:]]


def test_every_run_is_made_for_every_combination():
    made = runs(
        {
            "runs": {"a": {"closure": {"dimension": 1}}, "b": None},
            "sweep": {"evolve.dt": [0.25, 0.5], "evolve.patches": [1, 2]},
        }
    )
    assert {n: (r.evolve.dt, r.evolve.patches, r.closure.dimension) for n, r in made.items()} == {
        "a-dt-0.25-patches-1": (0.25, 1, 1),
        "a-dt-0.25-patches-2": (0.25, 2, 1),
        "a-dt-0.5-patches-1": (0.5, 1, 1),
        "a-dt-0.5-patches-2": (0.5, 2, 1),
        "b-dt-0.25-patches-1": (0.25, 1, 2),
        "b-dt-0.25-patches-2": (0.25, 2, 2),
        "b-dt-0.5-patches-1": (0.5, 1, 2),
        "b-dt-0.5-patches-2": (0.5, 2, 2),
    }


def test_without_a_sweep_runs_are_as_they_stand():
    assert list(swept({"a": {"seed": 1}, "b": None}, {})) == [
        ("a", {"seed": 1}, "a"),
        ("b", {}, "b"),
    ]


def test_a_swept_value_goes_before_that_of_the_run():
    made = runs({"runs": {"a": {"evolve": {"dt": 9, "patches": 2}}}, "sweep": {"evolve.dt": [1]}})
    assert made["a-dt-1"].evolve.dt == 1 and made["a-dt-1"].evolve.patches == 2


NAMES = {
    0.5: "0.5",
    1e-05: "1e-05",
    1e20: "1e20",
    -0.25: "-0.25",
    3: "3",
    True: "True",
    None: "None",
    "theory": "theory",
    "own.module:Class": "own.module_Class",
    "../a b": ".._a_b",
}


@pytest.mark.parametrize(("value", "text"), NAMES.items(), ids=map(repr, NAMES))
def test_name_of_a_value_can_stand_in_a_path(value, text):
    ((name, changes, origin),) = swept({"a": None}, {"x.y": [value]})
    assert (name, origin) == (f"a-y-{text}", "a")
    assert changes == {"x": {"y": value}}


def test_name_of_a_list_is_that_of_a_lattice():
    names = [name for name, *_ in swept({"a": None}, {"sizes.small": [[8, 6], [4, 6]]})]
    assert names == ["a-small-8x6", "a-small-4x6"]


def test_expansion_leaves_what_it_is_given_alone():
    given, values = {"a": {"evolve": {"patches": 2}}}, {"evolve.dt": [1, 2]}
    list(swept(given, values))
    assert given == {"a": {"evolve": {"patches": 2}}} and values == {"evolve.dt": [1, 2]}


def test_a_value_below_keys():
    assert nested(["a", "b", "c"], 1) == {"a": {"b": {"c": 1}}}
    assert nested(["a"], {"b": 1}) == {"a": {"b": 1}}


def test_whole_mappings_may_be_swept():
    parameters = [{"temperature": 2.0}, {"temperature": 3.0, "field": 0.1}]
    made = runs({"sweep": {"system.parameters": parameters}})
    assert [run.system.parameters for run in made.values()] == parameters


@pytest.mark.parametrize(
    "values", [[0.5, 0.5], [0.5, "0.5"], [0.3, 0.30000001]], ids=["equal", "text", "too close"]
)
def test_two_runs_of_one_name_are_refused(values):
    lines = told({"sweep": {"evolve.dt": [*values, 1]}})
    assert len(lines) == 1
    assert lines[0].startswith(f"runs.a-dt-{values[0]:g}: two runs of the sweep have this name")


def test_a_run_may_be_called_as_one_of_the_sweep():
    """What is made of it has a name of its own."""
    made = runs({"runs": {"a": {}, "a-dt-1": {}}, "sweep": {"evolve.dt": [1]}})
    assert list(made) == ["a-dt-1", "a-dt-1-dt-1"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["a"], ["a-dt-1", "a-dt-2"]),
        (["a-long"], ["a-long-dt-1", "a-long-dt-2"]),
        (["a-long-dt-2", "a"], ["a-long-dt-2", "a-dt-1", "a-dt-2"]),
        (["a-dt-1", "a"], ["a-dt-1", "a-dt-2"]),
        (None, ["a-dt-1", "a-dt-2", "a-long-dt-1", "a-long-dt-2"]),
    ],
    ids=str,
)
def test_an_analysis_of_a_run_is_of_all_that_were_made_of_it_and_of_no_other(asked, found):
    analysis = {"kind": "costs", **({"runs": asked} if asked else {})}
    content = {"runs": {"a": {}, "a-long": {}}, "sweep": {"evolve.dt": [1, 2]}}
    content["analyses"] = {"mine": analysis}
    study = load_study(merge(BASE, content), check_systems=False)
    assert list(study.analyses["mine"].runs) == found


WRONG = {
    "a value": (
        {"evolve.dt": [1, -1]},
        "sweep.evolve.dt: must be greater than 0, or 'auto', not -1",
    ),
    "a key": ({"evolve.dts": [1]}, "sweep.evolve.dts: unknown key: remove it or correct its"),
    "a section": ({"evolv.dt": [1]}, "sweep.evolv.dt: unknown key"),
    "an entry of a list": (
        {"sizes.small": [[8, 6], [8, 0]]},
        "sweep.sizes.small.1: must be greater than 0, not 0",
    ),
    "a check across keys": (
        {"sizes.small": [[8, 6], [8, 5]]},
        "sweep.sizes.small: [8, 5] does not divide the large lattice [16, 18]",
    ),
    "a check against the system": (
        {"evolve.patches": [2, 7]},
        "sweep.evolve.patches: 7 is more than the K = 6 patches there are",
    ),
    "a parameter of the system": (
        {"system.parameters.temperature": [2.0, -1.0]},
        "sweep.system.parameters.temperature: must be greater than 0, not -1.0",
    ),
}


@pytest.mark.parametrize(("sweep", "line"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_stands_at_the_key_of_the_sweep(sweep, line):
    lines = told({"sweep": sweep})
    assert len(lines) == 1 and lines[0].startswith(line), lines


def test_what_is_wrong_elsewhere_stands_where_it_is():
    changes = {"runs": {"a": {"closure": {"dimension": -1}}}, "evolve": {"lags": [2]}}
    lines = told({**changes, "sweep": {"evolve.dt": [1, 2]}})
    assert [line.split(": ")[0] for line in lines] == ["runs.a.closure.dimension"]
    lines = told({"evolve": {"lags": [2]}, "sweep": {"evolve.dt": [1, 2]}})
    assert [line.split(": ")[0] for line in lines] == ["evolve.lags"]


def test_a_key_that_the_base_lacks_may_be_swept():
    content = {**BASE, "sizes": {"large": [16, 18]}}
    made = load_study({**content, "sweep": {"sizes.small": [[8, 6], [4, 6]]}}).runs
    assert [run.sizes.small for run in made.values()] == [(8, 6), (4, 6)]
    # So may one below a run.
    given = {"a": {"sizes": {"small": [8, 6]}}, "b": {"sizes": {"small": [4, 6]}}}
    made = load_study({**content, "runs": given}).runs
    assert [run.sizes.small for run in made.values()] == [(8, 6), (4, 6)]
    # A run that lacks it still is told of it.
    with pytest.raises(ConfigError, match=r"sizes\.small: is missing"):
        load_study({**content, "runs": {**given, "c": {}}})


def test_a_name_that_is_too_long_is_refused():
    lines = told({"sweep": {"simulate.times": [[n / 7 for n in range(40)]]}})
    assert len(lines) == 1 and "more than 64 characters" in lines[0]
