"""Configurations that mean the same have the same stages, however they are written."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import field_validator

from macrodyn.config.load import load_study
from macrodyn.pipeline import canonical
from macrodyn.pipeline.canonical import canonical_run, completed
from macrodyn.pipeline.planner import plan_study
from macrodyn.systems import Parameters
from macrodyn.systems.registry import (
    BUILT_IN,
    BUILT_IN_PARAMETERS,
    parameters_class,
    system_class,
)

STUDY: dict[str, Any] = {
    "study": "s",
    "system": {"name": "ising", "parameters": {"temperature": 2.0}},
    "sizes": {"small": [8, 6], "large": [16, 18]},
    "evolve": {"dt": 0.5, "patches": 2},
    "runs": {"a": None},
}
PREY: dict[str, Any] = {
    **STUDY,
    "system": {"name": "predator-prey"},
    "sizes": {"small": [100], "large": [200]},
    "simulate": {"initial_range": {"mean": [0.4, 0.6], "amplitude": [0, 0.2]}},
    "evaluate": {"initial": {"mean": [0.5], "amplitude": [0.1]}},
}


def system(**parameters: Any) -> dict[str, Any]:
    return {"system": {"name": "ising", "parameters": parameters}}


def planned(content: dict[str, Any]) -> tuple[set[tuple[str, str]], list[str]]:
    """Keys of a study's stages, and what its rules are handed, in the order of its text."""
    stages = plan_study(load_study(content, check_systems=False)).stages.values()
    return {(stage.name, stage.key) for stage in stages}, [json.dumps(s.config) for s in stages]


SAME = {
    "zero": (STUDY, system(temperature=2.0, field=0)),
    "zero of another kind": (STUDY, system(temperature=2.0, field=0.0)),
    "negative zero": (STUDY, system(temperature=2.0, field=-0.0)),
    "default": (STUDY, system(temperature=2, algorithm="auto")),
    "order": (STUDY, system(algorithm="auto", field=0, temperature=2.0)),
    "text": (STUDY, system(temperature="2e0")),
    "times": ({**STUDY, "evolve": {"dt": 1e-3, "patches": 2.0}}, {"evolve": {"dt": "1e-3"}}),
    "factor": (
        {**STUDY, "dynamics": {"covariance_factor": 6}},
        {"dynamics": {"covariance_factor": 6.0}},
    ),
    "conditions": (
        {**STUDY, "conditions": {"temperature": [2, 2.5], "field": [0, 1]}},
        {"conditions": {"field": [0.0, 1.0], "temperature": [2.0, "2.5"]}},
    ),
    "macrostates by name": (
        PREY,
        {
            "simulate": {"initial_range": {"amplitude": [0.0, 0.2], "mean": [0.4, 0.6]}},
            "evaluate": {"initial": {"amplitude": [0.1], "mean": [0.5]}},
        },
    ),
    "all parameters of another system": (
        PREY,
        {
            "system": {
                "name": "predator-prey",
                "parameters": {"spacing": 0.005, "diffusion": 0, "conversion": 3, "step": 0.01},
            }
        },
    ),
}


@pytest.mark.parametrize(("base", "changes"), SAME.values(), ids=SAME)
def test_the_same_written_otherwise_has_the_same_stages(base, changes):
    other = {**base, **changes}
    if "evolve" in changes:
        other["evolve"] = {**base["evolve"], **changes["evolve"]}
    assert planned(base) == planned(other)


@pytest.mark.parametrize(
    "changes",
    [system(temperature=2.0, field=0.1), system(temperature=2.0, algorithm="n-fold")],
    ids=["field", "algorithm"],
)
def test_another_value_has_other_stages(changes):
    assert not planned(STUDY)[0] & planned({**STUDY, **changes})[0]


def test_runs_that_mean_the_same_share_all_stages():
    runs = {name: system(temperature=2, field=value) for name, value in (("a", 0), ("b", 0.0))}
    plans = plan_study(load_study({**STUDY, "runs": {**runs, "c": None}}))
    assert plans["a"].stages().keys() == plans["b"].stages().keys() == plans["c"].stages().keys()


@pytest.mark.parametrize("name", BUILT_IN)
def test_parameters_of_built_in_systems_are_those_of_their_classes(name):
    assert parameters_class(name) is system_class(name).Parameters is BUILT_IN_PARAMETERS[name]


def test_planning_loads_no_kernels():
    """It is done anew in each job on a cluster."""
    code = (
        "import sys, json; from macrodyn.config.load import load_study\n"
        "from macrodyn.pipeline.planner import plan_study\n"
        "for text in sys.argv[1:]: plan_study(load_study(json.loads(text), check_systems=False))\n"
        "assert not {'numba', 'torch', 'xarray'} & set(sys.modules)\n"
    )
    texts = map(json.dumps, (STUDY, PREY, {**STUDY, "system": {"name": "curie-weiss"}}))
    subprocess.run([sys.executable, "-c", code, *texts], check=True)


def test_the_record_has_all_parameters_for_where_the_system_is_missing():
    """Status of a copied study: its folders are found, though nobody knows the defaults."""
    content = {**STUDY, "runs": {"a": None, "b": system(field=1)}, "x-mine": 1}
    content["system"] = {"name": "macrodyn.systems.ising:Ising", "parameters": {"temperature": 2}}
    content["runs"]["b"]["system"].pop("name")
    plans = plan_study(load_study(content))
    record = completed(content, {name: plan.config for name, plan in plans.items()}, {})
    assert record["runs"]["b"]["system"]["parameters"] == {
        "temperature": 2.0,
        "field": 1.0,
        "algorithm": "auto",
    }
    assert {**record, "runs": 0} == {**content, "runs": 0}
    record = json.loads(
        json.dumps(record).replace("macrodyn.systems.ising:Ising", "no_such_one:It")
    )
    found = plan_study(load_study(record, check_systems=False))
    for name, plan in plans.items():
        named = {**plan["reference"].config["system"], "name": "no_such_one:It"}
        assert found[name]["reference"].config["system"] == named
    # Nothing but the record tells that the two are the same.
    assert canonical_run(found["a"].config) == found["a"].config


ASKED = {
    "proposed": None,
    "of all": {"spent": {"kind": "costs"}},
    "of a run that was swept": {"spent": {"kind": "costs", "runs": ["a"]}},
    "none": {},
}


@pytest.mark.parametrize("analyses", ASKED.values(), ids=ASKED)
def test_the_record_of_a_sweep_is_the_study_again(analyses):
    """It names the runs that were made, each with its values: nothing is left to expand."""
    sweep = {"evolve.dt": [0.5, 1], "system.parameters.temperature": [2.0, 2.5]}
    content = {**STUDY, "runs": {"a": None, "a-b": {"seed": 3}}, "sweep": sweep}
    content |= {} if analyses is None else {"analyses": analyses}
    plans = plan_study(load_study(content))
    of = {name: stage.config["runs"] for name, stage in plans.analyses.items()}
    record = completed(content, {name: plan.config for name, plan in plans.items()}, of)
    assert "sweep" not in record and len(record["runs"]) == 8
    again = plan_study(load_study(json.loads(json.dumps(record)), check_systems=False))
    assert again.stages.keys() == plans.stages.keys()
    assert again.summary.key == plans.summary.key


class Doubling(Parameters):
    """Reads another value from what it has written: not a form to go by."""

    rate: float = 1.0
    other: int = 2

    @field_validator("rate")
    @classmethod
    def _double(cls, rate: float) -> float:
        return 2 * rate


@pytest.mark.parametrize(
    "given",
    [{"rate": 3.0}, {"unknown": 1, "rate": 2.0}],
    ids=["not read again", "wrong"],
)
def test_parameters_without_a_canonical_form_stay_as_given(given, monkeypatch, make_run):
    monkeypatch.setattr(canonical, "parameters_class", lambda _: Doubling)
    run = make_run()
    run = run.model_copy(update={"system": run.system.model_copy(update={"parameters": given})})
    found = canonical_run(run).system.parameters
    assert found == given and list(found) == sorted(given)
