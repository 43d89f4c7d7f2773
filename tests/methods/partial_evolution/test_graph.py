"""Keys of stages: an edit changes those of the stages that depend on it, and no others."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from macrodyn.config.load import load_study
from macrodyn.methods.partial_evolution import stages as kinds
from macrodyn.pipeline.planner import plan_study
from macrodyn.systems import registry, system_class

CONFIGS = Path(__file__).parents[3] / "config"
SCHEMES = ("ours", "naive", "full")


def keys(plan) -> dict[str, str]:
    """Key of every stage of a run, by stage, scheme and case."""
    found = {}
    for role, stage in plan.roles.items():
        _, _, of = role.partition("/")
        found[f"{stage.name}:{of.replace('/', ':')}" if of else stage.name] = stage.key
    assert len(found) == len(plan.roles)
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def stages(*names: str, schemes: tuple[str, ...] = SCHEMES) -> set[str]:
    """Expand stage names by scheme; predict is on the only horizon."""
    found = set()
    for name in names:
        if name in ("evolve", "encode", "dynamics"):
            found |= {f"{name}:{scheme}" for scheme in schemes}
        elif name == "predict":
            found |= {f"predict:{scheme}:transient" for scheme in schemes}
        else:
            found.add(name)
    return found


REFERENCE = {"reference"}
PREDICT = stages("predict")
DYNAMICS = stages("dynamics") | PREDICT
ENCODE = stages("encode") | DYNAMICS
CLOSURE = {"closure"} | ENCODE
PAIRS = stages("evolve") | ENCODE
LARGE = {"upsample", "evolve:ours", "evolve:full"} | CLOSURE
SMALL = {"simulate", "evolve:naive"} | LARGE
EVERYTHING = SMALL | REFERENCE
OURS = ("ours",)

EDITS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "seed": ({"seed": 6}, EVERYTHING),
    "temperature": ({"system": {"parameters": {"temperature": 2.6}}}, EVERYTHING),
    "algorithm": ({"system": {"parameters": {"algorithm": "n-fold"}}}, EVERYTHING),
    "sizes.small": ({"sizes": {"small": [5, 6]}}, SMALL),
    "sizes.large": (
        {"sizes": {"large": [20, 12]}},
        (LARGE | REFERENCE),
    ),
    "sizes.patch": ({"sizes": {"patch": [5, 6]}}, LARGE | {"evolve:naive"}),
    "sizes.patch, the small size": ({"sizes": {"patch": [10, 6]}}, set()),
    "simulate.initial_range": ({"simulate": {"initial_range": [-0.5, 1.0]}}, SMALL),
    "simulate.groups": ({"simulate": {"groups": 8}}, SMALL),
    "simulate.replicas": ({"simulate": {"replicas": 5}}, SMALL),
    "simulate.times": ({"simulate": {"times": [0, 1, 4]}}, SMALL),
    "upsample.method": ({"upsample": {"method": "replicate"}}, LARGE),
    "upsample.snapshots": ({"upsample": {"snapshots": 3}}, LARGE | {"evolve:naive"}),
    "upsample.relaxation.duration": ({"upsample": {"relaxation": {"duration": 2}}}, LARGE),
    "upsample.relaxation.boundary": (
        {"upsample": {"relaxation": {"boundary": "periodic"}}},
        LARGE,
    ),
    "evolve.dt": ({"evolve": {"dt": 0.5}}, PAIRS),
    "evolve.lags": ({"evolve": {"lags": [1]}}, PAIRS),
    "evolve.patches": (
        {"evolve": {"patches": 2}},
        stages("evolve", "encode", "dynamics", "predict", schemes=("ours", "naive")),
    ),
    "evolve.buffer": (
        {"evolve": {"buffer": 1}},
        stages("evolve", "encode", "dynamics", "predict", schemes=OURS),
    ),
    "evolve.boundary": (
        {"evolve": {"boundary": "periodic"}},
        stages("evolve", "encode", "dynamics", "predict", schemes=OURS),
    ),
    "evolve.stop": (
        {"evolve": {"stop": "events"}},
        stages("evolve", "encode", "dynamics", "predict", schemes=OURS),
    ),
    "closure.dimension": ({"closure": {"dimension": 2}}, CLOSURE),
    "closure.encoder": ({"closure": {"encoder": "strided"}}, CLOSURE),
    "dynamics.steps": ({"dynamics": {"steps": 30}}, DYNAMICS),
    "dynamics.covariance_factor": (
        {"dynamics": {"covariance_factor": "estimated"}},
        stages("dynamics", "predict", schemes=OURS),
    ),
    "dynamics.likelihood": (
        {"dynamics": {"likelihood": "patches"}},
        stages("dynamics", "predict", schemes=OURS),
    ),
    "evaluate.initial": ({"evaluate": {"initial": [0.0]}}, PREDICT | REFERENCE),
    "evaluate.replicas": ({"evaluate": {"replicas": 5}}, REFERENCE),
    "evaluate.predicted_replicas": ({"evaluate": {"predicted_replicas": 4}}, PREDICT),
    "evaluate.horizons, longer": (
        {"evaluate": {"horizons": {"transient": {"points": 5}}}},
        PREDICT | REFERENCE,
    ),
    "evaluate.horizons.step": (
        {"evaluate": {"horizons": {"transient": {"step": 0.125}}}},
        PREDICT,
    ),
    "evaluate.horizons, one more": (
        {"evaluate": {"horizons": {"late": {"spacing": 1, "points": 9}}}},
        {f"predict:{scheme}:late" for scheme in SCHEMES} | REFERENCE,
    ),
    "evaluate.equilibrium_fraction": ({"evaluate": {"equilibrium_fraction": 0.5}}, set()),
    "baselines, one less": (
        {"baselines": ["naive"]},
        stages("evolve", "encode", "dynamics", "predict", schemes=("full",)),
    ),
    "published": ({"published": {"transient": {"published": 0.01}}}, set()),
    "execution.shards": ({"execution": {"shards": {"simulate": 7, "reference": 3}}}, set()),
    "execution.device": ({"execution": {"device": "cuda"}}, set()),
    "nothing": ({}, set()),
}


@pytest.mark.parametrize(("changes", "expected"), EDITS.values(), ids=EDITS)
def test_edit_changes_the_keys_that_depend_on_it(make_plan, changes, expected):
    assert changed(keys(make_plan()), keys(make_plan(changes))) == expected


def test_keys_do_not_depend_on_the_order_of_the_configuration(make_plan):
    changes = {"conditions": {"field": [0.0, 0.1], "temperature": [2.4, 2.6]}}
    turned = {"conditions": {"temperature": [2.4, 2.6], "field": [0.0, 0.1]}}
    turned["system"] = {"parameters": {"field": 0.1, "temperature": 2.5}}
    assert keys(make_plan(changes)) == keys(make_plan(turned))


def test_keys_are_those_of_other_processes(make_plan):
    """A digest of content, not of objects: it would otherwise differ from run to run."""
    run = make_plan().config.model_dump_json()
    code = (
        "import sys; from macrodyn.methods.partial_evolution.config import PartialEvolutionRun\n"
        "from macrodyn.pipeline.planner import plan_run\n"
        "run = PartialEvolutionRun.model_validate_json(sys.argv[1])\n"
        "print(plan_run('run', run)['reference'].key)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, run], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == make_plan()["reference"].key


@pytest.mark.parametrize(
    ("name", "number", "digest"),
    [("ising", 233, "49c69aa7b6efe2c6"), ("config", 14, "5ef3c8bd7b764baf")],
    ids=["the study of the results", "the quick study"],
)
def test_folders_of_existing_results_are_found_again(name, number, digest):
    """With other keys all existing studies would be computed again, as by a kind's version."""
    plans = plan_study(load_study(CONFIGS / f"{name}.yaml"))
    placed = [stage for stage in plans.stages.values() if stage.kind.place == "digest"]
    folders = sorted(stage.folder.removeprefix("stages/") for stage in placed)
    assert len(folders) == number
    assert hashlib.sha256("\n".join(folders).encode()).hexdigest()[:16] == digest


def test_new_estimator_of_the_factor_changes_only_runs_that_ask_for_it(make_plan, monkeypatch):
    asked = {"dynamics": {"covariance_factor": "estimated"}}
    before = keys(make_plan()), keys(make_plan(asked))
    monkeypatch.setattr(kinds, "ESTIMATOR_VERSION", kinds.ESTIMATOR_VERSION + 1)
    assert changed(before[0], keys(make_plan())) == set()
    # The baselines see whole systems, whose factor is never estimated.
    expected = stages("dynamics", "predict", schemes=("ours",))
    assert changed(before[1], keys(make_plan(asked))) == expected


OWN = {"system": {"name": "macrodyn.systems.ising:Ising"}}


def raise_version(monkeypatch):
    """Make it 2, of the class that is named as `OWN` does and of the built-in system."""
    monkeypatch.setattr(system_class("ising"), "version", 2)
    monkeypatch.setitem(registry.BUILT_IN_VERSIONS, "ising", 2)


@pytest.mark.parametrize("changes", [OWN, {}], ids=["own", "built in"])
def test_new_version_of_a_system_changes_what_uses_it_and_what_follows(
    make_plan, monkeypatch, changes
):
    before = make_plan(changes)
    raise_version(monkeypatch)
    after = make_plan(changes)
    assert changed(keys(before), keys(after)) == EVERYTHING
    for stage in after.stages().values():
        # The dynamics sees no states: it changes with the latents alone.
        version = stage.config.get("system", {}).get("version")
        assert version == (None if stage.name == "dynamics" else 2)


def test_new_version_of_a_system_leaves_the_others_as_they_are(make_plan, monkeypatch):
    other = {"system": {"name": "macrodyn.systems.curie_weiss:CurieWeiss"}}
    before = keys(make_plan(other))
    raise_version(monkeypatch)
    assert keys(make_plan(other)) == before


def test_system_that_cannot_be_loaded_is_planned_as_of_the_first_version(make_plan, caplog):
    """The status of a study that was copied from elsewhere; one warning for all its runs."""
    elsewhere = {"system": {"name": "no_such_package_here:System"}}
    plan = make_plan(elsewhere)
    assert make_plan(elsewhere)["reference"].key == plan["reference"].key
    assert "version" not in plan["reference"].config["system"]
    (record,) = caplog.records
    assert "cannot load system 'no_such_package_here:System'" in record.message
    assert "add its folder to PYTHONPATH" in record.message


def test_own_value_of_a_condition_matters_only_for_the_evaluation(make_plan):
    conditions = {"conditions": {"temperature": [2.3, 2.7]}}
    warmer = {**conditions, "system": {"parameters": {"temperature": 2.6}}}
    assert changed(keys(make_plan(conditions)), keys(make_plan(warmer))) == PREDICT | REFERENCE


def test_values_of_a_condition_matter_for_the_data(make_plan):
    one = {"conditions": {"temperature": [2.3, 2.7]}}
    other = {"conditions": {"temperature": [2.3, 2.8]}}
    assert changed(keys(make_plan(one)), keys(make_plan(other))) == SMALL


def test_a_value_that_is_another_stages_is_not_mixed_up(make_plan):
    """Stages of equal configuration but different names or inputs have keys of their own."""
    found = keys(make_plan())
    assert len(set(found.values())) == len(found)
    assert all(len(key) == 12 and int(key, 16) >= 0 for key in found.values())


def test_equal_sizes_leave_one_factor(make_plan):
    """With K = 1 the covariance factor is 1 whatever is asked, so asking changes nothing."""
    whole = {"sizes": {"small": [30, 24]}, "evolve": {"patches": 1}}
    estimated = {**whole, "dynamics": {"covariance_factor": "estimated"}}
    assert changed(keys(make_plan(whole)), keys(make_plan(estimated))) == set()


def test_runs_that_agree_share_stages(make_run):
    base = make_run().model_dump(mode="json")
    runs = {
        "base": {},
        "same": None,
        "longer": {"dynamics": {"steps": 30}},
        "sharper": {"evaluate": {"predicted_replicas": 9}},
    }
    plans = plan_study(load_study({**base, "study": "s", "runs": runs}))
    assert plans["base"].stages().keys() == plans["same"].stages().keys()
    for name, own in (("longer", {"dynamics", "predict"}), ("sharper", {"predict"})):
        extra = plans[name].stages().keys() - plans["base"].stages().keys()
        assert {stage for stage, _ in extra} == own


def test_every_stage_of_a_run_is_found_with_all_it_reads(make_plan):
    plan = make_plan()
    found = plan.stages()
    assert {stage.folder for stage in found.values()} == {
        f"stages/{name.split(':')[0]}/{key}" for name, key in keys(plan).items()
    }
    for stage in found.values():
        for parent in stage.inputs.values():
            assert (parent.name, parent.key) in found


def test_no_shard_is_empty(make_plan):
    """There are no more shards than groups or trajectories to deal out."""
    shards = dict.fromkeys(("simulate", "upsample", "evolve", "reference"), 1000)
    plan = make_plan({"execution": {"shards": shards}})
    assert plan["snapshots"].shards == plan["small"].shards == 7
    assert plan["pairs/naive"].shards == 7
    assert plan["reference"].shards == 2 * 4
    conditions = {"temperature": [2.3, 2.8], "field": [0.0, 0.1, 0.2]}
    plan = make_plan({"execution": {"shards": shards}, "conditions": conditions})
    assert plan["snapshots"].shards == 7 * 6


def test_execution_reaches_the_stages(make_plan):
    plan = make_plan({"execution": {"shards": {"upsample": 5}, "device": "cuda"}})
    assert plan["snapshots"].shards == 5 and plan["reference"].shards == 2
    assert plan["closure"].device == "cuda"


def test_costs_are_those_of_our_way_alone(make_plan):
    plan = make_plan()
    ours, direct = plan.costs["ours"], plan.costs["direct"]
    assert Counter(name for name, _ in ours) == dict.fromkeys(
        ("simulate", "upsample", "evolve", "closure", "encode", "dynamics", "predict"), 1
    )
    assert plan["pairs/ours"].id in ours
    assert list(direct) == [plan["reference"].id]


def test_ancestors_can_be_changed_by_who_asks_for_them(make_plan):
    """They are found once; what is handed out is a copy."""
    plan = make_plan()
    known = set(plan["closure"].ancestors())
    plan["closure"].ancestors().clear()
    assert set(plan["closure"].ancestors()) == known
    assert {name for name, _ in known} == {"simulate", "upsample", "closure"}


POLYNOMIAL = {"dynamics": {"model": "polynomial"}}


def test_baseline_of_polynomials_learns_from_our_latents(make_plan):
    plan = make_plan({"baselines": ["polynomial"]})
    assert plan["model/polynomial"].parents == plan["model/ours"].parents
    assert plan["model/polynomial"].key != plan["model/ours"].key
    assert sorted(plan.below("pairs")) == sorted(plan.below("latents")) == ["ours"]
    assert plan["prediction/polynomial/transient"].parents["model"] is plan["model/polynomial"]
    # It is the model that ours is in a run of polynomials.
    assert plan["model/polynomial"].key == make_plan(POLYNOMIAL)["model/ours"].key


def test_polynomials_change_the_keys_of_what_is_learned_alone(make_plan):
    changes = {**POLYNOMIAL, "baselines": []}
    expected = stages("dynamics", "predict", schemes=OURS)
    assert changed(keys(make_plan({"baselines": []})), keys(make_plan(changes))) == expected
    # They take no steps.
    longer = {"dynamics": {"model": "polynomial", "steps": 30, "hidden": [4]}}
    assert make_plan(POLYNOMIAL)["model/ours"].key == make_plan(longer)["model/ours"].key
    other = {"dynamics": {"model": "polynomial", "polynomial": {"degrees": [2]}}}
    assert make_plan(POLYNOMIAL)["model/ours"].key != make_plan(other)["model/ours"].key
