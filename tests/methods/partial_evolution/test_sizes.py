"""One model at several sizes: cases, stages, refusals; and the spread at other sizes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from macrodyn.config.load import check_run
from macrodyn.dynamics import (
    DynamicsSettings,
    TransitionData,
    integrate,
    latents_dataset,
    train_ensemble,
)
from macrodyn.dynamics.union import join
from macrodyn.methods.partial_evolution.cases import evaluated_cases
from macrodyn.methods.partial_evolution.report import PartialEvolutionReport
from macrodyn.streams import seeds
from macrodyn.systems.curie_weiss import CurieWeiss, CurieWeissParameters

SIZES = [[20, 12], [30, 24], [60, 48]]
NAMES = ["size-20x12", "size-30x24", "size-60x48"]


def sized(sizes=SIZES, **changes):
    return {"evaluate": {"sizes": sizes}, **changes}


def test_each_size_is_a_case(make_run):
    horizons = {"late": {"spacing": 1.0, "points": 3}}
    changes = sized(SIZES[:2], conditions={"temperature": [2.3, 2.8]})
    changes["evaluate"] |= {"horizons": horizons, "conditions": {"temperature": [2.4, 2.6]}}
    cases = evaluated_cases(make_run(changes))
    assert [(case.name, case.reference, case.large) for case in cases] == [
        (f"{horizon}-{place}", f"reference/{place}", large)
        for place, large in (
            (f"temperature-{t}-{name}", tuple(size))
            for t in (2.4, 2.6)
            for name, size in zip(NAMES[:2], SIZES[:2], strict=True)
        )
        for horizon in ("transient", "late")
    ]
    (usual,) = evaluated_cases(make_run())
    assert (usual.name, usual.large) == ("transient", (30, 24))


def test_one_model_predicts_for_every_size(make_plan):
    plan, usual = make_plan(sized()), make_plan()
    assert list(plan.below("reference")) == NAMES
    for scheme in ("ours", "naive", "full"):
        assert plan[f"model/{scheme}"].key == usual[f"model/{scheme}"].key
        stages = [plan[f"prediction/{scheme}/transient-{name}"] for name in NAMES]
        assert [list(stage.config["large"]) for stage in stages] == SIZES
        scaled = [stage.config.get("noise") for stage in stages]
        # The naive scheme takes the small system's noise for that of any other.
        assert scaled == ([None] * 3 if scheme == "naive" else ["scaled", None, "scaled"])
    assert [list(plan[f"reference/{name}"].config["large"]) for name in NAMES] == SIZES
    # The size that was learned is the same stage however it is asked for.
    assert plan["reference/size-30x24"].key == usual["reference"].key
    for scheme in ("ours", "naive"):
        same = plan[f"prediction/{scheme}/transient-size-30x24"]
        assert same.key == usual[f"prediction/{scheme}/transient"].key
    order = plan.evaluation.config["order"]
    assert list(order) == [*(f"transient-{name}" for name in NAMES), "ours", "naive", "full"]
    assert [list(stage.config["large"]) for stage in plan.costs["direct"].values()] == SIZES


REFUSED = {
    "dimension": ([[20]], "evaluate.sizes.0", "[20] has 1 side(s), but ising lives in 2"),
    "part of a patch": (
        [[30, 24], [25, 12]],
        "evaluate.sizes.1",
        "[25, 12] is not made of whole patches [10, 6]",
    ),
    "twice": ([[30, 24], [30, 24]], "evaluate.sizes", "[30, 24] is there twice"),
    "no memory": (
        [[10**7, 6 * 10**6]],
        "evaluate.sizes",
        "the states of the reference trajectories would take 480 TB",
    ),
}


@pytest.mark.parametrize(("sizes", "key", "message"), REFUSED.values(), ids=REFUSED)
def test_sizes_that_cannot_be_are_refused(make_run, sizes, key, message):
    told = dict(check_run(make_run(sized(sizes))))
    assert told.keys() == {key} and message in told[key]


def test_without_closure_variables_a_size_need_not_be_whole_patches(make_run):
    changes = sized([[25, 13]], closure={"dimension": 0})
    assert not list(check_run(make_run(changes)))


def test_a_site_that_is_its_own_neighbour_is_refused(make_run):
    told = dict(check_run(make_run(sized([[1, 8]], closure={"dimension": 0}))))
    assert told.keys() == {"evaluate.sizes.0"}
    assert "closes on itself" in told["evaluate.sizes.0"]


def test_what_a_system_refuses_is_told_before_any_job(make_run, monkeypatch):
    original = CurieWeiss.initial_states

    def picky(self, macrostate, shape, seeds):
        if shape == (20, 18):
            raise ValueError("no such lattice")
        return original(self, macrostate, shape, seeds)

    monkeypatch.setattr(CurieWeiss, "initial_states", picky)
    system = {"system": {"name": "curie-weiss", "parameters": {"temperature": 1.1}}}
    told = dict(check_run(make_run(sized([[20, 12], [20, 18]], **system))))
    assert told.keys() == {"evaluate.sizes.1"}
    assert "CurieWeiss raises ValueError: no such lattice" in told["evaluate.sizes.1"]


def test_the_report_says_the_sizes(make_run):
    facts = {
        "run": "a",
        "samples": {"patches_total": 12, "patches_evolved": 3},
        "config": make_run(sized()).model_dump(mode="json"),
    }
    (told,) = PartialEvolutionReport().facts([facts])["Compared"]
    assert told.endswith(
        "on 20 × 12 = 240 sites, 30 × 24 = 720 sites, 60 × 48 = 2,880 sites, by the model of "
        "30 × 24 = 720 sites"
    )


DT = 0.5


def transitions(system, shape, samples, *, seed, sites=1024):
    """Pairs of whole Curie-Weiss systems, the covariance that of so many sites."""
    rng = np.random.default_rng(seed)
    m = rng.uniform(-0.9, 0.9, (samples, 1))
    before = system.initial_states(m, shape, seeds(1, "before", seed, index=samples))
    z = system.observe(before)
    after = system.evolve(before, DT, seeds(1, "after", seed, index=samples))
    own = int(np.prod(shape))
    latents = latents_dataset(
        z=z,
        increment=(system.observe(after) - z)[:, None, None],
        elapsed=np.full((samples, 1, 1), DT),
        condition_values=np.empty((samples, 0)),
        group=np.arange(samples) % 100,
        time=np.zeros(samples),
        variables=list(system.observable_names),
        lags=[1],
        conditions=[],
        n_observables=1,
        patches_total=1,
        sites=own,
        dt=DT,
        time_unit=system.time_unit,
    )
    return TransitionData.from_latents(latents, factor=sites / own)


@pytest.mark.parametrize(
    ("trained", "predicted"),
    [([(32, 32)], [(16, 16), (64, 64)]), ([(16, 16), (32, 32)], [(16, 16), (32, 32), (64, 64)])],
    ids=["from one size", "from two sizes"],
)
def test_the_spread_at_other_sizes_is_that_of_direct_simulation(trained, predicted):
    """Learned from Curie-Weiss spins, within 5 %."""
    system = CurieWeiss(CurieWeissParameters(temperature=1.1, field=0.1))
    times = (0.0, 1.0, 2.0, 4.0)
    each = 60_000 // len(trained)
    parts = [transitions(system, shape, each, seed=i) for i, shape in enumerate(trained)]
    settings = DynamicsSettings(
        activation="tanh",
        hidden=(16, 16),
        members=2,
        steps=600,
        batch=1024,
        learning_rate=0.005,
        validation_every=50,
        patience=10,
    )
    model, _ = train_ensemble(*join(parts).split(0.15, seed=0), settings)
    model.metadata = {"sites": 1024}
    replicas = 3000
    initial = np.repeat([-0.6, 0.5], replicas)
    for shape in predicted:
        keys = seeds(2, "initial", index=2 * replicas)
        now = system.initial_states(initial[:, None], shape, keys)
        z0 = torch.as_tensor(system.observe(now), dtype=torch.float32)
        noise = model.noise_scale(int(np.prod(shape)))
        # With steps of DT, the mean of an increment is that of the pairs.
        path = integrate(model, z0, times, step=DT, bounds=[(-1, 1)], seed=4, noise=noise)
        found = path[..., 0].double().unflatten(1, (2, replicas)).std(dim=2).mean(dim=0)
        for i, (begin, end) in enumerate(pairwise(times), start=1):
            now = system.evolve(now, end - begin, seeds(3, "direct", i, index=len(now)))
            true = system.observe(now).reshape(2, replicas).std(axis=1)
            np.testing.assert_allclose(found[:, i], true, rtol=0.05)
