"""The planner: what a system prepares, whose stages go together, and what a study consists of."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from macrodyn.config.load import load_study
from macrodyn.pipeline.monitor.expected import expected_jobs, rules
from macrodyn.pipeline.planner import PREPARED, SHARDS, PlanError, Planner, plan_run, plan_study

BASE: dict[str, Any] = {
    "study": "s",
    "system": {"name": "ising", "parameters": {"temperature": 2.5}},
    "sizes": {"small": [8, 6], "large": [16, 18]},
    "evolve": {"patches": 2},
    "runs": {"ising": {}},
}
PREPARING = {"system": {"name": "own_method:Prepared"}}
COUNTING = {"method": "own_method:Counting", **PREPARING}


@pytest.fixture
def plan(own_method):
    """Plan a study of the base with some changes."""
    return lambda changes=None: plan_study(
        load_study({**BASE, **(changes or {})}, check_systems=False)
    )


@pytest.fixture
def own(own_method):
    """The module from outside."""
    return import_module(own_method)


def keys(plans) -> dict[str, dict[str, str]]:
    """Keys of the stages of each run, by role."""
    return {n: {role: s.key for role, s in plan.roles.items()} for n, plan in plans.items()}


@pytest.mark.parametrize("method", [PREPARING, COUNTING], ids=["partial evolution", "own"])
def test_what_a_system_prepared_is_read_by_all_that_names_the_system_and_the_evaluation(
    plan, method
):
    (run,) = plan({"runs": {"a": method}}).values()
    asked = []
    for stage in [*run.stages().values(), run.evaluation]:
        prepared = {role for role in stage.parents if role.startswith(PREPARED)}
        # The evaluation draws it.
        using = "system" in stage.config or stage is run.evaluation
        assert prepared == ({"prepared/rates", "prepared/factors"} if using else set()), stage.name
        asked.append(using)
    assert len(set(asked)) == 2
    # They are made like any other: found, paid for, and once.
    names = [stage.name for stage in run.stages().values()]
    assert names.count("tabulate_rates") == names.count("fit_factors") == 1
    assert {"tabulate_rates", "fit_factors"} <= {name for name, _ in run.costs["ours"]}


def test_a_system_that_prepares_nothing_has_no_such_parents(plan):
    for stage in plan()["ising"].stages().values():
        assert not [role for role in stage.parents if role.startswith(PREPARED)]


def test_what_was_prepared_is_in_the_keys_of_what_uses_it_and_of_what_follows(
    plan, own, monkeypatch
):
    """And of no other: not of another system's, nor of a stage before all that uses it."""
    changes = {"runs": {"ising": {}, "a": PREPARING, "b": COUNTING}}
    before = keys(plan(changes))
    monkeypatch.setattr(own, "FACTORS", replace(own.FACTORS, version=2))
    after = keys(plan(changes))
    assert after["ising"] == before["ising"]
    assert all(after["a"][role] != key for role, key in before["a"].items())
    assert {role for role, key in before["b"].items() if after["b"][role] != key} == {
        "counts",
        "fit",
    }


def test_what_was_prepared_depends_on_its_own_configuration_alone(plan):
    parameters = [{"temperature": 2.5}, {"temperature": 2.5, "field": 0.5}, {"temperature": 2.6}]
    runs = {
        f"r{number}": {"system": {"name": "own_method:Prepared", "parameters": given}}
        for number, given in enumerate(parameters)
    }
    first, fielded, warmer = plan({"runs": runs}).values()
    rates = [run["small"].parents["prepared/rates"] for run in (first, fielded, warmer)]
    assert rates[0].key == rates[1].key != rates[2].key
    assert len({run["small"].key for run in (first, fielded, warmer)}) == 3


def test_methods_of_one_system_share_what_it_prepares(plan):
    plans = plan({"runs": {"a": PREPARING, "b": COUNTING}})
    assert [name for name, _ in plans.stages].count("tabulate_rates") == 1


def test_shards_are_those_asked_for_and_no_more_than_there_can_be(plan):
    runs = {"few": COUNTING, "many": {**COUNTING, "counts": {"paths": 3}}}
    runs["many"]["execution"] = {"shards": {"count_sites": 9, "tabulate_rates": 9}}
    few, many = plan({"runs": runs}).values()
    assert few["counts"].shards == SHARDS and few["fit"].shards == 1
    assert many["counts"].shards == 3
    assert many["counts"].parents["prepared/rates"].shards == 5


def test_a_stage_without_a_bound_is_cut_as_asked(make_run, own):
    run = make_run({"execution": {"shards": {"count_sites": 900}}})
    assert Planner(run).stage(own.COUNT, {}).shards == 900
    # One that is no shards is one job whatever is asked.
    run = make_run({"execution": {"shards": {"fit_count": 900}}})
    assert Planner(run).stage(own.FIT, {}).shards == 1


def test_two_kinds_of_one_name_are_refused(plan):
    plans = plan({"runs": {"ising": {}, "own": {"method": "own_method:Clashing"}}})
    with pytest.raises(PlanError, match="two kinds of stages are called 'simulate'") as refusal:
        _ = plans.stages
    assert "own_method:nothing" in str(refusal.value)
    assert "macrodyn.methods.partial_evolution.sample:simulate" in str(refusal.value)


def test_a_kind_that_was_made_twice_is_one(plan, own, monkeypatch):
    """As by a module that was loaded twice."""
    kinds = [own.RATES, replace(own.RATES)]
    monkeypatch.setattr(
        own.Prepared,
        "prepare",
        classmethod(lambda cls, parameters, planner: {"rates": planner.stage(kinds.pop(), {})}),
    )
    plans = plan({"runs": {"a": PREPARING, "b": COUNTING}})
    assert "tabulate_rates" in plans.kinds


def test_the_evaluation_reads_what_the_method_says_and_the_costs(plan, own):
    run = plan({"runs": {"b": COUNTING}})["b"]
    evaluation = run.evaluation
    assert (evaluation.id, evaluation.folder) == (("judge_count", "b"), "b")
    assert list(evaluation.parents) == ["fit", "prepared/rates", "prepared/factors"]
    costs = {role.split("/")[1]: stage for role, stage in evaluation.beside.items()}
    paid = {"tabulate_rates", "fit_factors", "draw_weights", "count_sites", "fit_count"}
    assert set(costs) == paid
    carriers = {said["stage"]: said for said in evaluation.config["costs"]["ours"]}
    assert set(carriers) == paid
    for name, said in carriers.items():
        assert evaluation.beside[said["role"]].name == name
    assert carriers["fit_count"]["output"] == "fit" and not carriers["fit_count"]["updates"]
    assert carriers["count_sites"]["output"] == "data" and carriers["count_sites"]["updates"]
    assert evaluation.config["order"] == ("b", "a")
    # What a run is evaluated for is no matter of how it is cut.
    assert "execution" not in evaluation.config["run"]


def test_roles_of_a_run_are_found_by_their_beginning(plan):
    run = plan()["ising"]
    assert list(run.below("model")) == ["ours", "naive", "full"]
    assert run.below("model")["naive"] is run["model/naive"]
    assert list(run.below("prediction/ours")) == ["transient"] and run.below("mod") == {}


def test_what_makes_up_a_study(plan):
    plans = plan({"runs": {"ising": {}, "b": COUNTING}})
    assert list(plans.analyses) == [
        "error-against-patch-size-transient",
        "covariance-factor",
        "costs",
        "counts",
    ]
    counts = plans.analyses["counts"]
    assert counts.folder == "analyses/counts" and counts.parents == {"b": plans["b"].evaluation}
    assert counts.config == {"options": {"level": 2.0}, "runs": ["b"]}
    assert list(plans.summary.parents) == [
        "run/ising",
        "run/b",
        *(f"analysis/{name}" for name in plans.analyses),
    ]
    assert plans.stages[plans.summary.id] is plans.summary and plans.summary.folder == "."
    # Those of systems before those of methods, and what follows at the end.
    names = list(plans.kinds)
    assert names[:2] == ["tabulate_rates", "fit_factors"]
    assert names[2:12] == [
        "simulate",
        "upsample",
        "recommend",
        "evolve",
        "reference",
        "equilibrium",
        "closure",
        "encode",
        "dynamics",
        "predict",
    ]
    assert names[12:15] == ["draw_weights", "count_sites", "fit_count"]
    assert set(names[15:17]) == {"evaluate", "judge_count"} and names[-1] == "summarise"
    gathering = rules(plans)
    assert gathering.index("gather") == gathering.index("count_sites") + 1


def test_jobs_of_a_study_are_those_of_its_stages(plan, tmp_path):
    plans = plan({"runs": {"b": COUNTING}, "execution": {"shards": {"count_sites": 3}}})
    jobs = expected_jobs(tmp_path, plans)
    assert [(job.rule, job.stage.name) for job in jobs] == [
        *[("tabulate_rates", "tabulate_rates")] * 2,
        ("fit_factors", "fit_factors"),
        ("draw_weights", "draw_weights"),
        *[("count_sites", "count_sites")] * 3,
        *[("gather", name) for name in ("tabulate_rates", "count_sites")],
        ("fit_count", "fit_count"),
        ("judge_count", "judge_count"),
        ("compare_counts", "compare_counts"),
        ("summarise", "summarise"),
    ]
    by_name = {job.rule: job for job in jobs}
    assert by_name["fit_count"].outputs == ("fit.json", "log.txt")
    assert by_name["judge_count"].log == tmp_path / "b/logs/judge_count.log"
    assert by_name["compare_counts"].log == tmp_path / "analyses/counts/logs/compare_counts.log"
    assert by_name["compare_counts"].label == "compare_counts counts"
    assert by_name["compare_counts"].wildcards == ("counts",)
    assert by_name["summarise"].log == tmp_path / "logs/summarise.log"
    assert by_name["summarise"].wildcards == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"analyses": {"counts": {"kind": "compare_counts", "level": 3}}},
        {"analyses": {"counts": {"kind": "compare_counts", "level": 2, "runs": ["c", "b"]}}},
        {"runs": {"b": {**COUNTING, "counts": {"until": 2}}, "c": COUNTING}},
    ],
    ids=["its options", "its runs", "a run of it"],
)
def test_an_analysis_is_made_again_for(plan, changes):
    base = {"runs": {"b": COUNTING, "c": {**COUNTING, "seed": 1}}}
    before = plan(base).analyses["counts"]
    assert plan(base).analyses["counts"].key == before.key
    assert plan({**base, **changes}).analyses["counts"].key != before.key


def test_a_run_of_a_method_that_is_not_installed_names_it(make_run):
    run = make_run().model_copy(update={"method": "nowhere"})
    with pytest.raises(ValueError, match="unknown method 'nowhere'; installed methods: partial-ev"):
        plan_run("a", run)
