"""One model learned from snapshots of several sizes: its stages, its data, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from macrodyn.config.load import check_run
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.methods.partial_evolution.report import PartialEvolutionReport
from macrodyn.storage.netcdf import read_dataset
from macrodyn.storage.sealed import read_sealed_json

# Small systems, and patches, of 10 x 6 sites; the large system of 30 x 24 has 12 of them.
LITTLE = [20, 12]
LARGE = [30, 24]
OTHER = "size-20x12"


def trained(*sizes, **changes):
    return {"sizes": {"train": [list(size) for size in sizes]}, **changes}


def keys(plan):
    return {role: stage.key for role, stage in plan.roles.items()}


def test_the_large_size_alone_need_not_be_said(make_plan):
    usual, said = make_plan(), make_plan(trained(LARGE))
    assert keys(said) == keys(usual)
    assert said.evaluation.key == usual.evaluation.key


def test_order_of_sizes_means_nothing(make_plan):
    one, other = make_plan(trained(LITTLE, LARGE)), make_plan(trained(LARGE, LITTLE))
    assert keys(one) == keys(other) and one.evaluation.key == other.evaluation.key


def test_each_size_has_its_snapshots_pairs_and_latents(make_plan):
    plan, usual = make_plan(trained(LITTLE, LARGE)), make_plan()
    same = [role for role in usual.roles if not role.startswith(("model/", "prediction/"))]
    assert {role: plan[role].key for role in same} == {role: usual[role].key for role in same}
    beside = {"snapshots", "pairs/ours", "latents/ours", "pairs/full", "latents/full"}
    added = plan.roles.keys() - usual.roles.keys()
    assert added == {f"{role}/{OTHER}" for role in beside}
    snapshots = plan[f"snapshots/{OTHER}"]
    assert list(snapshots.config["large"]) == LITTLE
    assert snapshots.parents == {"small": plan["small"]}
    pairs = plan[f"pairs/ours/{OTHER}"]
    assert pairs.parents == {"states": snapshots}
    assert plan[f"latents/ours/{OTHER}"].parents["closure"] is plan["closure"]
    assert plan["closure"].parents == {"data": plan["snapshots"]}
    # Of the small system nothing is larger.
    assert plan["model/naive"].key == usual["model/naive"].key
    for scheme in ("ours", "full"):
        model = plan[f"model/{scheme}"]
        assert model.config["sites"] == math.prod(LARGE)
        assert model.parents == {
            "latents": plan[f"latents/{scheme}"],
            f"latents/{OTHER}": plan[f"latents/{scheme}/{OTHER}"],
        }


def test_what_the_evaluation_reads_is_of_the_main_size(make_plan):
    plan, usual = make_plan(trained(LITTLE, LARGE)), make_plan()
    roles = [role for role in usual.evaluation.parents]
    assert list(plan.evaluation.parents) == roles
    assert plan.costs["ours"].keys() >= {plan[f"pairs/ours/{OTHER}"].id}


def test_sizes_share_no_random_numbers(make_plan):
    plan = make_plan(trained(LITTLE, LARGE))
    for role in ("snapshots", "pairs/ours", "pairs/full"):
        assert plan[role].config["seed"] == 5 != plan[f"{role}/{OTHER}"].config["seed"]


def test_of_a_size_of_fewer_patches_all_are_evolved(make_plan, make_run):
    changes = trained(LITTLE, LARGE, evolve={"patches": 6})
    assert not list(check_run(make_run(changes)))
    plan = make_plan(changes)
    assert plan["pairs/ours"].config["evolve"]["patches"] == 6
    assert plan[f"pairs/ours/{OTHER}"].config["evolve"]["patches"] == 4


@pytest.mark.parametrize("sizes", [[LITTLE, [20, 24]], [[20, 24], LITTLE]])
def test_main_size_is_the_largest_where_the_large_one_is_not_learned_from(make_plan, sizes):
    plan = make_plan(trained(*sizes))
    assert list(plan["snapshots"].config["large"]) == [20, 24]
    assert plan["snapshots"].config["seed"] == 5
    assert plan["model/ours"].config["sites"] == math.prod(LARGE)
    assert [list(plan[r].config["large"]) for r in ("reference", "prediction/ours/transient")] == [
        LARGE,
        LARGE,
    ]


def test_buffers_that_are_chosen_fit_on_every_size(make_plan):
    auto = {"evolve": {"buffer": "auto"}}
    plan = make_plan(trained(LITTLE, [10, 6], LARGE, **auto))
    # The system of one patch has no surroundings.
    assert [list(size) for size in plan["choice"].config["beside"]] == [LITTLE]
    assert "beside" not in make_plan(auto)["choice"].config
    assert plan[f"pairs/ours/{OTHER}"].parents["choice"] is plan["choice"]


REFUSED = {
    "dimension": (trained([20]), "sizes.train.0", "[20] has 1 side(s)"),
    "no whole small lattices": (
        trained(LARGE, [25, 12]),
        "sizes.train.1",
        "[25, 12] is not made of whole small lattices [10, 6]: every side must be a multiple",
    ),
    "no whole patches": (
        {"sizes": {"patch": [6, 6], "small": [10, 6], "train": [[20, 12]], "large": [30, 24]}},
        "sizes.train.0",
        "[20, 12] is not made of whole patches [6, 6]",
    ),
    "twice": (trained(LITTLE, LITTLE), "sizes.train.1", "[20, 12] is there twice"),
    "more patches than any has": (
        trained(LITTLE, evolve={"patches": 5}),
        "evolve.patches",
        "5 is more than the K = 4 patches there are",
    ),
    "one number for several factors": (
        trained(LITTLE, LARGE, dynamics={"covariance_factor": 2.5}),
        "dynamics.covariance_factor",
        "2.5 cannot stand for the factors K/m of all of sizes.train (by theory 1.33333, 4)",
    ),
    "too wide a buffer": (
        trained(LITTLE, LARGE, evolve={"buffer": 4}),
        "evolve.buffer",
        "(on [20, 12] of sizes.train)",
    ),
    "too few small systems": (
        trained([10, 6], LARGE, simulate={"replicas": 2}, upsample={"snapshots": 3}),
        "simulate.replicas",
        "where sizes.small is one of sizes.train",
    ),
}


@pytest.mark.parametrize(("changes", "key", "message"), REFUSED.values(), ids=REFUSED)
def test_sizes_that_cannot_be_are_refused(make_run, changes, key, message):
    told = dict(check_run(make_run(changes)))
    assert key in told and message in told[key]


def test_the_report_says_what_was_learned_from(make_run):
    def facts(changes):
        config = make_run(changes).model_dump(mode="json")
        metrics = {"samples": {"patches_total": 12, "patches_evolved": 3}, "config": config}
        return PartialEvolutionReport().facts([metrics])

    (told,) = facts(trained(LITTLE, LARGE))["Learned from"]
    assert told == "snapshots of 20 × 12 = 240 sites, 30 × 24 = 720 sites together"
    assert "Learned from" not in facts({})


TINY = {
    "closure": {"channels": [4], "hidden": 8, "steps": 6, "batch": 32, "validation_every": 3},
    "dynamics": {"hidden": [8], "steps": 12, "batch": 32, "validation_every": 6},
    "baselines": [],
}


@pytest.mark.parametrize("factor", ["theory", "estimated"])
def test_a_model_is_learned_from_both_sizes(make_plan, make_stage, tmp_path, factor):
    """Ising, m = 6 of 12 patches of one size, and all 4 of the other."""
    own = {"covariance_factor": factor, "likelihood": "patches"}
    settings = {**TINY, "dynamics": {**TINY["dynamics"], **own}, "evolve": {"patches": 6}}
    plan = make_plan(trained(LITTLE, LARGE, **settings))
    made = {}

    def files(stage):
        if stage.id not in made:
            inputs = {role: files(parent) for role, parent in stage.inputs.items()}
            made[stage.id] = make_stage(stage, tmp_path, inputs)
        return made[stage.id]

    model = files(plan["model/ours"])
    training = read_sealed_json(model["training"])
    main, little = training["sizes"]
    assert [main["sites"], little["sites"]] == [720, 240]
    assert [main["patches_evolved"], little["patches_evolved"]] == [6, 4]
    assert main["factor"] == training["factor"] and main["factor_used"] == training["factor_used"]
    if factor == "theory":
        assert [main["factor_used"], little["factor_used"]] == [2.0, 1.0]
        assert [main["within_used"], little["within_used"]] == [12.0, 4.0]
    else:
        for size, within in ((main, 12.0), (little, 4.0)):
            assert size["factor_used"] == size["factor"]["estimated"]
            assert size["within_used"] != within
        # Of all patches the factor is 1 whatever they are.
        assert main["factor_used"] != 2.0 and little["factor_used"] == 1.0
    # Each has its own regression on what is known of its noise.
    assert main["compensation"]["coefficients"] != little["compensation"]["coefficients"]
    ensemble = Ensemble.load(model["model"])
    assert ensemble.metadata["sites"] == 720 and ensemble.metadata["trained_sites"] == [720, 240]
    assert ensemble.noise_scale(180) == 2.0
    both = [read_dataset(files(plan[r])["data"]) for r in ("latents/ours", f"latents/ours/{OTHER}")]
    z = np.concatenate([latents.z.values for latents in both]).astype(np.float32)
    np.testing.assert_array_equal(ensemble.domain.low, z.min(axis=0))
    np.testing.assert_array_equal(ensemble.domain.high, z.max(axis=0))
    # Relatives of one group come from the same small systems.
    np.testing.assert_array_equal(both[0].group, both[1].group)
    assert not np.array_equal(both[0].increment.values[:, :4], both[1].increment.values)
