"""The identity of a run: what its metrics and figures depend on, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macrodyn.methods.partial_evolution import stages
from macrodyn.methods.partial_evolution.method import PartialEvolution
from macrodyn.methods.partial_evolution.stages import COSTS
from macrodyn.pipeline.identity import (
    NONE,
    OTHER,
    SUMMARY,
    SummaryOrigin,
    missing_runs,
    not_run,
    read_summary_origin,
    run_identities,
    run_results,
    unsummarised,
    write_summary_origin,
)
from macrodyn.pipeline.planner import plan_run
from macrodyn.pipeline.stage import Stage
from macrodyn.storage.sealed import write_sealed_json


@pytest.fixture
def identity(make_run):
    """The identity of a run with some changes."""
    return lambda changes: run_identities({"a": plan_run("a", make_run(changes))})["a"]


CHANGES: dict[str, dict[str, Any]] = {
    "a parameter of the system": {"system": {"parameters": {"temperature": 5.0}}},
    "the seed": {"seed": 99},
    "a stage": {"dynamics": {"steps": 3}},
    "the baselines": {"baselines": []},
    "the evaluation alone": {"evaluate": {"equilibrium_fraction": 0.6}},
    "published errors": {"published": {"transient": {"theirs": 0.5}}},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_it_changes_with(identity, changes):
    assert identity(changes) != identity({})


SAME: dict[str, dict[str, Any]] = {
    "how the work is cut": {"execution": {"shards": {"simulate": 7}}},
    "where it runs": {"execution": {"device": "cuda", "checkpoint_minutes": 1}},
    "a whole number for a real one": {"evolve": {"dt": 1}},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_it_does_not_change_with(identity, changes):
    written = {"evolve": {"dt": 1.0}} if "evolve" in changes else {}
    assert identity(changes) == identity(written)


def test_it_changes_with_a_version(identity, monkeypatch):
    before = identity({})
    for name, kind in (("PREDICT", stages.PREDICT), ("SIMULATE", stages.SIMULATE)):
        with monkeypatch.context() as patch:
            patch.setattr(stages, name, replace(kind, version=kind.version + 1))
            raised = identity({})
        assert raised != before == identity({})
    evaluation = replace(stages.EVALUATE, version=stages.EVALUATE.version + 1)
    monkeypatch.setattr(PartialEvolution, "evaluation", evaluation)
    assert identity({}) not in (before, raised)


def test_a_runs_folder_holds_results_of_one_configuration(tmp_path):
    assert run_results(tmp_path, "a").problem == NONE
    metrics = tmp_path / "metrics.json"
    write_sealed_json(metrics, {"run": "r", "identity": "a"})
    assert run_results(str(tmp_path), "a").problem == ""
    assert run_results(tmp_path, "b").problem == OTHER
    write_sealed_json(metrics, {"run": "r"})
    assert "made by a version of macrodyn that" in run_results(tmp_path, "a").problem
    metrics.write_bytes(metrics.read_bytes()[:-3])
    damaged = run_results(tmp_path, "a")
    assert damaged.damaged and "cannot be read" in damaged.problem


@pytest.fixture
def folder(tmp_path):
    """A study of two runs that is finished."""
    for run, identity in {"one": "a", "two": "b"}.items():
        write_sealed_json(tmp_path / run / "metrics.json", {"run": run, "identity": identity})
    write_summary_origin(tmp_path / SUMMARY, SummaryOrigin({"one": "a", "two": "b"}, {}, "title"))
    return tmp_path


def test_a_finished_study_is_that_of_its_configuration_only(folder):
    runs = {"one": "a", "two": "b"}
    assert missing_runs(folder, runs) == unsummarised(folder, runs, "title") == {}
    assert missing_runs(folder, {"one": "a", "two": "c"}) == {"two": OTHER}
    assert unsummarised(folder, {"one": "a", "three": "c"}) == {"three": NONE}
    # Fewer runs, or another title, and the summary is not theirs.
    assert unsummarised(folder, {"one": "a"}) == {"summary": OTHER}
    assert unsummarised(folder, runs, "another") == {"summary": OTHER}
    # So it is with an analysis that was made otherwise, or that it does not show.
    costs = {"costs": Stage(COSTS, {}, subject="costs")}
    write_summary_origin(folder / SUMMARY, SummaryOrigin(runs, {}, "", {"costs": "another"}))
    assert unsummarised(folder, runs) == {}
    assert unsummarised(folder, runs, analyses=costs) == {"summary": OTHER}
    assert unsummarised(folder, runs, analyses={}) == {"summary": OTHER}
    shown = {"costs": costs["costs"].key}
    write_summary_origin(folder / SUMMARY, SummaryOrigin(runs, {}, "", shown))
    assert unsummarised(folder, runs, analyses=costs) == {}
    (folder / SUMMARY).unlink()
    assert unsummarised(folder, runs) == {"summary": NONE}


def test_a_summary_that_lacks_a_run_is_not_that_of_a_study(folder):
    runs = {"one": "a", "two": "b"}
    write_summary_origin(folder / SUMMARY, SummaryOrigin(runs, {"three": NONE}, "title"))
    assert unsummarised(folder, runs) == {"summary": OTHER}


@pytest.mark.parametrize("text", ["", "{}", '{"runs": 3}'])
def test_an_origin_that_cannot_be_read_is_none(folder, text):
    (folder / SUMMARY).write_text(text, encoding="utf-8")
    assert read_summary_origin(folder) is None


def test_what_was_not_run_is_said_with_each_run_and_the_command():
    assert not_run("results/s", "my.yaml", {"one": OTHER}, "snakemake -c 2").splitlines() == [
        "results/s has not been run with the configuration my.yaml; these runs differ:",
        "  one: made with another configuration",
        "run the study first: snakemake -c 2",
    ]
