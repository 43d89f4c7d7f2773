"""A run whose large system is never simulated: its stages, its refusals, and how it is told."""

from __future__ import annotations

import pytest

from macrodyn.config.load import check_run
from macrodyn.methods.partial_evolution import propose
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.partial_evolution.method import PartialEvolution
from macrodyn.methods.partial_evolution.report import PartialEvolutionReport, summary_row
from macrodyn.systems.ising import Ising, IsingParameters

ALONE = {"evaluate": {"reference": "none"}}
LARGE, SMALL = (30, 24), (10, 6)
CHECK = "transient-size-10x6"


def alone(*sizes, **changes):
    return {"evaluate": {"reference": "none", "sizes": sizes}, **changes}


def told(run):
    """Cases by name: their sizes, and whether they are compared with direct simulation."""
    return {case.name: (case.large, bool(case.reference)) for case in evaluated_cases(run)}


def warned(run):
    return list(PartialEvolution().warnings(run, Ising(IsingParameters(**run.system.parameters))))


def test_the_small_size_alone_is_compared_unless_others_are_given(make_run):
    assert told(make_run()) == {"transient": (LARGE, True)}
    assert told(make_run(ALONE)) == {"transient": (LARGE, False), CHECK: (SMALL, True)}
    sizes = [[60, 48], [30, 24], [20, 12]]
    assert told(make_run(alone(*sizes))) == {
        "transient-size-60x48": ((60, 48), False),
        "transient-size-30x24": (LARGE, False),
        "transient-size-20x12": ((20, 12), True),
    }
    # Closure variables are means over whole patches, of which the small system has none here.
    part = {"sizes": {"small": [15, 12], "patch": [10, 6]}, **ALONE}
    assert told(make_run(part)) == {"transient": (LARGE, False)}
    without = told(make_run({**part, "closure": {"dimension": 0}}))
    assert without["transient-size-15x12"] == ((15, 12), True)
    same = {"sizes": {"small": list(LARGE), "patch": [10, 6]}, **ALONE}
    assert told(make_run(same)) == {"transient": (LARGE, False)}


def test_no_stage_simulates_the_large_system(make_plan):
    plan, usual = make_plan(ALONE), make_plan()
    simulated = [s for s in plan.stages().values() if s.name == "reference"]
    assert [tuple(stage.config["large"]) for stage in simulated] == [SMALL]
    assert set(plan.costs) == {"ours", "check"}
    assert [tuple(s.config["large"]) for s in plan.costs["check"].values()] == [SMALL]
    # What is learned and predicted is what it would be with a reference.
    shared = [role for role in usual.roles if role != "reference"]
    assert all(plan[role].key == usual[role].key for role in shared)
    noise = {s: plan[f"prediction/{s}/{CHECK}"].config.get("noise") for s in ("ours", "naive")}
    assert noise == {"ours": "scaled", "naive": None}
    assert not [s for s in make_plan(alone([30, 24])).stages().values() if s.name == "reference"]


def test_a_run_with_a_reference_is_what_it_was(make_run, make_plan):
    """The configuration that its evaluation reads has no word of the choice."""
    assert "reference" not in make_run().model_dump(mode="json")["evaluate"]
    said = make_plan({"evaluate": {"reference": "direct"}})
    assert said.evaluation.key == make_plan().evaluation.key
    assert make_plan(ALONE).evaluation.config["run"]["evaluate"]["reference"] == "none"


def test_the_equilibrium_of_the_large_system_is_still_sampled(make_plan):
    plan = make_plan({"evaluate": {"reference": "none", "equilibrium": {"samples": 3}}})
    assert tuple(plan["equilibrium"].config["large"]) == LARGE
    assert "equilibrium" in plan.evaluation.parents


def test_an_unknown_reference_is_refused(make_run):
    with pytest.raises(ValueError, match=r"evaluate\.reference"):
        make_run({"evaluate": {"reference": "simulated"}})


def test_what_is_not_used_is_warned_of(make_run):
    assert not warned(make_run(ALONE)) and not warned(make_run())
    (line,) = warned(make_run(alone([30, 24])))
    assert line.startswith("evaluate.replicas is not used") and "evaluate.sizes" in line
    (line,) = warned(make_run({**ALONE, "published": {"transient": {"theirs": 0.1}}}))
    assert line.startswith("published is not shown") and "evaluate.reference: none" in line


def test_only_simulated_states_are_limited(make_run):
    """Of a lattice that fits into no memory none is kept, as it is predicted and not simulated."""
    huge = [10**7, 6 * 10**6]
    assert "evaluate.sizes" in dict(check_run(make_run({"evaluate": {"sizes": [huge]}})))
    assert not dict(check_run(make_run(alone(huge))))


def test_features_must_have_room_wherever_they_are_predicted(make_run):
    features = {"closure": {"features": ["correlation-4"]}, "baselines": []}
    assert not dict(check_run(make_run(features)))
    reach = dict(check_run(make_run({**features, **ALONE})))
    assert reach.keys() == {"closure.features"} and "[10, 6]" in reach["closure.features"]


def test_only_what_is_compared_is_proposed_for_analyses(make_run):
    runs = {name: make_run(ALONE) for name in "abc"}
    assert list(propose.error_against_size(runs)) == [f"error-against-patch-size-{CHECK}"]
    assert list(propose.all_runs(runs)) == ["all-runs"]
    nothing = {name: make_run(alone([30, 24])) for name in "abc"}
    assert not propose.error_against_size(nothing) and not propose.all_runs(nothing)


@pytest.fixture
def predicted(metrics):
    """Metrics of a run without a reference, compared at a smaller size."""
    (short,) = metrics["horizons"].values()
    ours = {
        "agreement": {"mean": 2e-5, "members": [1e-5, 3e-5], "chance": 1e-5},
        "range": {"outside": 0.003, "initial_outside": 0.0},
        "members": {"late": {"distance": [1.0, 1.0], "outliers": []}, "outliers": [], "kept": 2},
    }
    naive = {**ours, "difference": {"mean": 0.04, "spread": 9.0, "chance": 1e-5}}
    metrics["horizons"] = {"short-size-20x12": short}
    metrics["predicted"] = {"short": {"ours": ours, "naive": naive}}
    metrics["checked"] = {"short-size-20x12": [20, 12]}
    metrics["costs"]["check"] = metrics["costs"].pop("direct")
    config = {"reference": "none", "replicas": 4, "sizes": []}
    config["horizons"] = {"short": {"spacing": 0.5, "points": 3}}
    metrics["config"] |= {
        "evaluate": config,
        "system": {"name": "ising", "parameters": {}},
        "conditions": {},
    }
    return metrics


def test_row_and_tables(predicted):
    row = summary_row(predicted)
    assert row["short:disagreement"] == 2e-5 and row["short:outside"] == 0.003
    assert row["short:naive_difference"] == 0.04 and row["short:naive_difference_spread"] == 9.0
    assert "short:ours" not in row and row["short-size-20x12:ours"] == 0.01
    assert row["site_updates_check"] == 100 and "site_updates_direct" not in row
    tables = PartialEvolutionReport().tables([row])
    titles = [table.title for table in tables]
    assert titles == [
        "Prediction without a reference: short",
        "Comparison with direct simulation: short-size-20x12",
        "Members and mean model: short-size-20x12",
        "Costs",
    ]
    shown = [column for column in tables[0].headings if row.get(column) is not None]
    assert shown[2:] == [
        "short:disagreement",
        "short:disagreement_chance",
        "short:ours_left",
        "short:naive_difference",
        "short:naive_difference_spread",
        "short:outside",
    ]


def test_front_page_says_that_there_is_no_reference(predicted, metrics):
    report = PartialEvolutionReport()
    facts = report.facts([predicted])
    assert facts["Compared"] == [
        "at 20 × 12 = 240 sites alone, 4 trajectories for each initial macrostate; short to t = 1"
    ]
    assert "The large system was not simulated" in report.made([predicted])
    assert report.main_figures([predicted]) == [("Trajectories, short, ours", "base")]
    direct = {"run": "other", "horizons": {}}
    both = report.made([direct, predicted])
    assert "are compared with direct simulation of the large system" in both
    assert "In base: the large system was not simulated" in both
    assert "not simulated" not in report.made([direct])


def test_a_table_to_keep_has_the_comparison_at_the_smaller_size(predicted):
    row = summary_row(predicted)
    head, line = PartialEvolutionReport().published([row], {"base": predicted})
    assert head[3] == "short-size-20x12: ours ± sd" and line[3] == "1.0e-02 ± 1.0e-01"
