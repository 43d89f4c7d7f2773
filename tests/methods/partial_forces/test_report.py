"""How results of partial forces are told: rows, tables, verdicts, published numbers."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from macrodyn.methods.partial_forces.analyses import beside_first, by_number, label_of
from macrodyn.methods.partial_forces.report import PartialForcesReport

REPORT = PartialForcesReport()


@pytest.fixture(scope="module")
def metrics(bench):
    return bench.made("evaluation", {"published": {"L_xp": 1.34e-3}})


def changed(metrics, **values):
    found = copy.deepcopy(metrics)
    for path, value in values.items():
        *way, last = path.split("__")
        part = found
        for key in way:
            part = part[key]
        part[last] = value
    return found


def test_row_holds_the_forces_the_error_and_what_needs_none(metrics):
    row = REPORT.row(metrics)
    assert (row["forces_each"], row["configurations"], row["evaluations"]) == (4, 30, 120)
    assert row["error"] == metrics["error"]["mean"] and row["error_worst"] >= row["error"]
    assert row["interpolation"] == metrics["without_forces"]["interpolation"]
    assert row["core_seconds_ours"] > 0 and row["core_seconds_direct"] > 0
    shown = {name for table in REPORT.tables([row]) for name in table.headings}
    assert shown <= row.keys()


def test_facts_tell_what_was_learned_from(metrics):
    facts = REPORT.facts([metrics])
    assert facts["Learned from"] == ["30 configurations, forces on 4 of each"]
    assert facts["Size"] == ["10"] and facts["Held out"] == ["3 trajectories"]


def test_published_errors_stand_beside(metrics):
    head, cells = REPORT.published([REPORT.row(metrics)], {"base": metrics})
    assert dict(zip(head, cells, strict=True))["published"] == "1.3e-03 (L_xp)"


@pytest.mark.parametrize(
    ("values", "level", "said"),
    [
        ({"error__mean": 1e-6}, "good", "needs no forces"),
        ({"error__mean": 1e-3, "without_forces__constant": 0.5}, "fair", "have not paid"),
        ({"error__mean": 0.4, "without_forces__constant": 0.5}, "poor", "have not paid"),
        ({"error__mean": "diverged"}, "poor", "have not paid"),
        ({"error__mean": None}, "unknown", "unknown"),
    ],
)
def test_error_is_judged_by_what_needs_no_forces(metrics, values, level, said):
    given = changed(
        metrics, **{"without_forces__interpolation": 1e-4, **values, "error__worst": 1e-6}
    )
    verdict = REPORT.verdict(given)
    assert verdict.findings[0].level == level and said in verdict.headline


@pytest.mark.parametrize(
    ("values", "subject", "level"),
    [
        ({"unresolved__median": 5e-3}, "unresolved fraction", "good"),
        ({"unresolved__median": 5e-2}, "unresolved fraction", "fair"),
        ({"unresolved__median": 0.5}, "unresolved fraction", "poor"),
        ({"condition_number__median": 19.0}, "condition number", "good"),
        ({"condition_number__median": 500.0}, "condition number", "poor"),
        ({"error__worst": 1.0, "error__median": 0.05}, "members", "poor"),
        ({"error__worst": 0.1, "error__median": 0.05}, "members", "good"),
    ],
)
def test_encoder_and_members_are_judged(metrics, values, subject, level):
    findings = {f.subject: f for f in REPORT.verdict(changed(metrics, **values)).findings}
    assert findings[subject].level == level
    assert bool(findings[subject].advice) == (level != "good")


def test_runs_are_of_one_series_if_only_the_number_of_forces_differs(metrics):
    def run(**values):
        return changed(metrics, **{f"config__{k}": v for k, v in values.items()})

    few = run(forces__configurations=10)
    many = run(forces__configurations=20, forces__runs=3, forces__number=5)
    assert label_of(few, [few, many]) == label_of(many, [few, many]) == "all runs"
    first = run(forces__draw="first")
    deep = run(closure__dimension=3, dynamics__hidden=[7])
    whole = run(forces__number="all", dynamics__loss="latent")
    runs = [few, many, first, deep, whole]
    assert [label_of(r, runs) for r in runs] == [
        "microscopic, dimension 2, draw random",
        "microscopic, dimension 2, draw random",
        "microscopic, dimension 2, draw first",
        # Its width tells nothing more, nor does the number of forces of the next one.
        "microscopic, dimension 3, draw random",
        "latent, dimension 2, draw random",
    ]


def test_series_are_told_in_the_order_of_their_numbers():
    told = ["21600, mlp", "800, mlp", "2700, mlp", "800, gfinn", "rate 0.5", "rate 0.05"]
    assert sorted(told, key=by_number) == [
        "800, gfinn",
        "800, mlp",
        "2700, mlp",
        "21600, mlp",
        "rate 0.05",
        "rate 0.5",
    ]


def test_errors_of_runs_are_compared_with_those_of_the_first():
    rng = np.random.default_rng(1)
    same, worse = (np.exp(rng.normal(mean, 0.3, size=10)) for mean in (-7.0, -6.0))
    first = np.exp(rng.normal(-7.0, 0.3, size=10))
    members = {
        "first": first.tolist(),
        "same": [*same.tolist(), None],
        "worse": worse.tolist(),
        "one": [1e-3],
        "lost": [None, float("inf")],
    }
    found = beside_first(members)
    assert set(found) == {"same", "worse"}
    assert found["same"]["p"] > 0.05 and found["same"]["ratio"] == pytest.approx(1, abs=0.4)
    assert found["worse"]["p"] < 1e-3 and found["worse"]["ratio"] == pytest.approx(np.e, rel=0.3)
