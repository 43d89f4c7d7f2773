"""Studies of several methods, and analyses across their runs: each is told by its key."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from macrodyn.config.load import ConfigError, load_study, merge

BASE: dict[str, Any] = {
    "study": "s",
    "system": {"name": "ising", "parameters": {"temperature": 2.5}},
    "sizes": {"small": [8, 6], "large": [16, 18]},
    "evolve": {"dt": 0.5},
    "counts": {"until": 3},
    "runs": {"whole": {}, "counted": {"method": "own_method:Counting"}},
}


@pytest.fixture
def load(own_method):
    """Load the study of two methods with some changes, its systems checked or not."""
    return lambda changes=None, check=False: load_study(
        merge(copy.deepcopy(BASE), changes or {}), "a.yaml", check_systems=check
    )


@pytest.fixture
def told(load):
    """Lines that say what is wrong."""

    def run(changes: dict[str, Any], check: bool = True) -> list[str]:
        with pytest.raises(ConfigError) as refusal:
            load(changes, check)
        first, *lines = str(refusal.value).splitlines()
        assert first == "a.yaml is wrong:"
        return [line.strip() for line in lines]

    return run


def test_each_run_has_the_sections_of_its_method_and_passes_over_those_of_others(load):
    study = load(check=True)
    whole, counted = study.runs["whole"], study.runs["counted"]
    assert (whole.method, counted.method) == ("partial-evolution", "own_method:Counting")
    assert whole.evolve.dt == 0.5 and not hasattr(whole, "counts")
    assert counted.counts.until == 3 and not hasattr(counted, "evolve")
    assert counted.system == whole.system


def test_method_of_the_base_is_that_of_runs_that_say_none(load):
    runs = {"whole": {"method": "partial-evolution"}, "counted": {"method": "own_method:Counting"}}
    study = load({"method": "own_method:Counting", "runs": {**runs, "third": {}}})
    assert [run.method for run in study.runs.values()] == [
        "partial-evolution",
        "own_method:Counting",
        "own_method:Counting",
    ]


WRONG = {
    "a section of another method in a run": (
        {"runs": {"counted": {"evolve": {"dt": 1}}}},
        "runs.counted.evolve: unknown key",
    ),
    "a section of the other in the other": (
        {"runs": {"whole": {"counts": {"until": 1}}}},
        "runs.whole.counts: unknown key",
    ),
    "a section of no method": ({"count": {}}, "count: unknown key"),
    "a key in a section of the base": (
        {"counts": {"unti": 1}},
        "counts.unti: unknown key: remove it or correct its spelling; the nearest one is until",
    ),
    "a value of the base": ({"counts": {"until": -1}}, "counts.until: must be greater than 0"),
    "a value of a run": (
        {"runs": {"counted": {"counts": {"paths": 0}}}},
        "runs.counted.counts.paths: must be greater than 0, not 0",
    ),
    "a check of the method": (
        {"runs": {"counted": {"counts": {"paths": 1}}}},
        "runs.counted.counts.paths: one path has no spread: give two or more",
    ),
    "a check of the method, in the base": (
        {"counts": {"paths": 1}},
        "counts.paths: one path has no spread: give two or more",
    ),
    "an unknown method": (
        {"runs": {"counted": {"method": "guessing"}}},
        "runs.counted.method: unknown method 'guessing'; installed methods: partial-evolution",
    ),
    "a method that cannot be loaded": (
        {"method": "own_method:Nothing"},
        "method: cannot load method 'own_method:Nothing': cannot load own_method:Nothing",
    ),
    "what is no method": ({"method": "own_method:Prepared"}, "is not a subclass of macrodyn"),
    "a method that is no text": ({"method": 3}, "method: must be text"),
    "a method of a run that is no text": (
        {"runs": {"counted": {"method": [1]}}},
        "runs.counted.method: must be text",
    ),
    "shards of the other method's stage": (
        {"runs": {"counted": {"execution": {"shards": {"evolve": 2}}}}},
        "runs.counted.execution.shards.evolve: no stage of this name is scattered; those are: "
        "count_sites",
    ),
    "shards of a stage that is none": (
        {"runs": {"counted": {"execution": {"shards": {"fit_count": 2}}}}},
        "runs.counted.execution.shards.fit_count: no stage of this name is scattered",
    ),
}


@pytest.mark.parametrize(("changes", "line"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_by_its_key(told, changes, line):
    lines = told(changes)
    assert len(lines) == 1 and line in lines[0], lines


def test_shards_of_what_a_system_prepares_are_known(load, told):
    prepared = {"system": {"name": "own_method:Prepared"}}
    shards = {"tabulate_rates": 3, "count_sites": 4}
    counted = {**prepared, "execution": {"shards": shards}}
    study = load({"runs": {"counted": counted}}, check=True)
    assert study.runs["counted"].execution.shards == shards
    shards["fit_factors"] = 2
    (line,) = told({"runs": {"counted": counted}})
    assert line == (
        "runs.counted.execution.shards.fit_factors: no stage of this name is scattered; those "
        "are: count_sites, tabulate_rates"
    )


def test_shards_in_the_base_may_be_of_any_method(load, told):
    """What a run's method has no stage for concerns the other runs."""
    shards = {"count_sites": 3, "evolve": 4}
    study = load({"execution": {"shards": shards}}, check=True)
    assert all(run.execution.shards == shards for run in study.runs.values())
    (line,) = told({"execution": {"shards": {**shards, "closure": 2}}})
    assert line.startswith("execution.shards.closure: no stage of this name is scattered")


def test_methods_may_be_swept(load, told):
    sweep = {"method": ["own_method:Counting", "partial-evolution"]}
    study = load_study({**BASE, "runs": {"a": {}}, "sweep": sweep})
    assert {name: run.method for name, run in study.runs.items()} == {
        "a-method-own_method_Counting": "own_method:Counting",
        "a-method-partial-evolution": "partial-evolution",
    }
    assert told({"sweep": {"method": ["guessing", 3]}}) == ["sweep.method: must be text, not 3"]
    # Of a section that not all methods have, the sweep is told.
    (line,) = told({"sweep": {"evolve.dt": [1]}})
    assert line.startswith("sweep.evolve.dt: unknown key")


def test_analyses_are_those_that_the_methods_propose(load):
    analyses = load().analyses
    assert {name: asked.kind.stage.name for name, asked in analyses.items()} == {
        "error-against-patch-size-transient": "error_against_size",
        "covariance-factor": "covariance_factors",
        "costs": "costs",
        "counts": "compare_counts",
    }
    assert analyses["costs"].runs == ("whole",)
    assert analyses["counts"].runs == ("counted",)
    assert analyses["counts"].options == {"level": 2.0}


def test_analyses_are_those_that_are_asked_for(load):
    asked = {
        "mine": {"kind": "compare_counts"},
        "second": {"kind": "compare_counts", "level": 3, "runs": ["counted"]},
    }
    analyses = load({"analyses": asked}).analyses
    assert {name: analysis.options for name, analysis in analyses.items()} == {
        "mine": {"level": 0.5},
        "second": {"level": 3.0},
    }
    assert {analysis.runs for analysis in analyses.values()} == {("counted",)}
    assert load({"analyses": {}}).analyses == {}


WRONG_ANALYSES = {
    "an unknown kind": (
        {"kind": "guesses"},
        "analyses.mine.kind: there is no analysis 'guesses'; there are: all_runs, compare_counts, "
        "costs, covariance_factors, error_against_size, finite_size_scaling, mmd_against_factor",
    ),
    "no kind": ({}, "analyses.mine.kind: is missing"),
    "an unknown option": (
        {"kind": "compare_counts", "levle": 1},
        "analyses.mine.levle: unknown key: remove it or correct its spelling; the nearest one is "
        "level",
    ),
    "an option of another kind": (
        {"kind": "costs", "horizon": "transient"},
        "analyses.mine.horizon: unknown key",
    ),
    "a wrong value": (
        {"kind": "compare_counts", "level": -1},
        "analyses.mine.level: must be greater than 0, not -1",
    ),
    "a missing option": ({"kind": "error_against_size"}, "analyses.mine.horizon: is missing"),
    "an unknown run": (
        {"kind": "costs", "runs": ["whole", "hole"]},
        "analyses.mine.runs: hole: no such run of the method; there are: whole",
    ),
    "a run of another method": (
        {"kind": "compare_counts", "runs": ["whole"]},
        "analyses.mine.runs: whole: no such run of the method; there are: counted",
    ),
    "no runs": ({"kind": "costs", "runs": []}, "analyses.mine.runs: is empty"),
}


@pytest.mark.parametrize(("asked", "line"), WRONG_ANALYSES.values(), ids=WRONG_ANALYSES)
def test_what_is_wrong_with_an_analysis_is_told_by_its_key(told, asked, line):
    lines = told({"analyses": {"mine": asked}})
    assert len(lines) == 1 and lines[0].startswith(line), lines


def test_a_name_of_an_analysis_that_is_a_path_is_refused(told):
    (line,) = told({"analyses": {"../mine": {"kind": "costs"}}})
    assert line.startswith("analyses.../mine: the name must be")


def test_two_methods_with_an_analysis_of_one_name_are_told(monkeypatch):
    """One of them would be passed over without a word."""
    from macrodyn.config.analyses import asked_analyses
    from macrodyn.config.models import RunConfig, StudyKeys
    from macrodyn.methods.registry import find_method

    runs = {
        name: RunConfig.model_construct(method=method)
        for name, method in (("a", "partial-evolution"), ("b", "another"))
    }
    known = find_method("partial-evolution")
    monkeypatch.setattr("macrodyn.config.analyses.find_method", lambda name: known)
    keys = StudyKeys(study="s", runs={"a": None, "b": None}, analyses={})
    wrong: dict[str, str] = {}
    assert list(asked_analyses(keys, runs, wrong)) == []
    assert "two methods of the study have an analysis called costs" in wrong["method"]
