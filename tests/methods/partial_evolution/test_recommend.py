"""dt and buffer chosen from data: what is tried, what is taken, and that it is then used."""

from __future__ import annotations

import json

import numpy as np
import pytest

from macrodyn.methods.partial_evolution import recommend as module
from macrodyn.methods.partial_evolution.check import check_sampling
from macrodyn.methods.partial_evolution.config import EvolveConfig
from macrodyn.methods.partial_evolution.step_errors import of_pairs, of_pilot
from macrodyn.storage.netcdf import read_dataset, write_dataset
from macrodyn.storage.sealed import read_sealed_json
from macrodyn.systems.ising import Ising
from macrodyn.systems.ising.parameters import IsingParameters
from macrodyn.systems.registry import system_class

AUTO = {
    "evolve": {"dt": "auto", "buffer": "auto", "patches": 2, "lags": [1, 2]},
    "simulate": {"groups": 8, "replicas": 8, "times": [0, 1, 2, 4]},
    "upsample": {"snapshots": 4},
    "closure": {"dimension": 0},
    "baselines": [],
}


@pytest.fixture
def chosen(sample, make_plan, make_job, tmp_path):
    """The plan, and what the pilot found on its snapshots."""
    fixed = make_plan({**AUTO, "evolve": {"dt": 0.5, "patches": 2}})
    snapshots = tmp_path / "in-1"
    sample(fixed, 1)
    plan = make_plan(AUTO)
    large = next(snapshots.rglob("upsample*/**/data.nc"), None) or _large(snapshots)
    job = make_job(plan["choice"], tmp_path / "choice", {"states": large})
    job.outputs["choice"].parent.mkdir(parents=True, exist_ok=True)
    module.recommend(job)
    return plan, large, job.outputs["choice"]


def _large(folder):
    found = [p for p in folder.rglob("*.nc") if "sample" in read_dataset(p).dims]
    return next(p for p in found if "states" in read_dataset(p))


def test_the_least_total_of_all_that_fits_is_taken(chosen):
    plan, _, path = chosen
    found = of_pilot(path)
    steps = {error.dt for error in found.table}
    # Parts of the horizon's spacing, down to a sixteenth of the shortest spacing of the ages.
    assert steps == set(plan.config.steps) == {0.5, 0.25, 0.1}
    buffers = sorted({error.buffer for error in found.table})
    assert buffers[0] == 0 and len(buffers) > 1
    assert found.used.total == min(error.total for error in found.table)
    widest = [error for error in found.table if error.buffer == buffers[-1]]
    assert all(np.isnan(error.boundary) for error in widest)
    assert json.loads(read_sealed_json(path)["provenance"]["stage_config"])["steps"] == sorted(
        steps
    )


@pytest.mark.parametrize(
    ("spacings", "expected"),
    [
        ((0.25, 6.0), (0.125, 0.25)),
        ((100.0, 7.0), (0.07, 0.14, 0.35, 0.7, 1.4, 3.5, 7.0)),
        ((100.0, 20.0), (0.1, 0.2, 0.4, 1.0, 2.0, 4.0)),
        ((0.001, 1.0), (0.001,)),
    ],
)
def test_every_dt_divides_the_finest_spacing_of_the_predictions(make_run, spacings, expected):
    names = ("transient", "other")
    horizons = {n: {"spacing": s, "points": 3} for n, s in zip(names, spacings, strict=True)}
    run = make_run({**AUTO, "evaluate": {"horizons": horizons}})
    assert run.steps == pytest.approx(expected)


def test_the_pilot_evolves_over_each_dt(chosen, make_job, tmp_path, monkeypatch):
    plan, large, _ = chosen
    seen, evolve = [], module.evolve_samples

    def recorded(*args):
        seen.append(evolve(*args))
        return seen[-1]

    monkeypatch.setattr(module, "evolve_samples", recorded)
    job = make_job(plan["choice"], tmp_path / "again", {"states": large})
    job.outputs["choice"].parent.mkdir(parents=True, exist_ok=True)
    module.recommend(job)
    for pairs in seen:
        np.testing.assert_allclose(pairs.elapsed[0, 0], plan.config.steps)


def test_pairs_model_and_prediction_use_what_was_chosen(chosen, make_job, tmp_path):
    from macrodyn.methods.partial_evolution.sample import evolve

    plan, large, path = chosen
    found = of_pilot(path).used
    inputs = {"states": large, "choice": {"choice": path}}
    pairs = evolve(make_job(plan["pairs/ours"], tmp_path / "pairs", inputs))
    assert pairs.attrs["dt"] == found.dt and pairs.attrs["buffer"] == found.buffer
    np.testing.assert_allclose(pairs.elapsed.isel(lag=0), found.dt)
    # The horizon does not know the step before there is a model.
    assert plan["prediction/ours/transient"].config["step"] is None


def test_a_pilot_is_drawn_from_all_snapshots(chosen, monkeypatch):
    data = read_dataset(chosen[1])
    assert module._pilot(data, 1).sizes == data.sizes
    monkeypatch.setattr(module, "PILOT_SNAPSHOTS", 10)
    drawn = module._pilot(data, 1)
    assert drawn.sizes["sample"] == 10
    assert (np.diff(drawn.number.values) > 0).all()
    assert drawn.number.values.max() > 10


@pytest.mark.parametrize(
    ("name", "settings", "patch", "expected"),
    [
        ("ising", {}, (8, 8), (0, 1, 2, 3, 4)),
        ("ising", {}, (16, 16), (0, 1, 2, 3, 4)),
        ("ising", {"buffer": 2}, (8, 8), (2,)),
        ("ising", {"boundary": "periodic"}, (8, 8), (0,)),
        ("curie-weiss", {}, (8, 8), (0,)),
    ],
)
def test_buffers_that_are_tried(name, settings, patch, expected):
    cls = system_class(name)
    system = cls(cls.Parameters(temperature=2.5, field=0.1))
    evolve = EvolveConfig(**{"dt": "auto", "buffer": "auto", **settings})
    found = module.candidate_buffers(system, {"patch": patch}, evolve, (32, 32))
    assert found == expected


def test_events_have_no_dt_to_choose(make_run):
    for key in ("dt", "buffer"):
        run = make_run({"evolve": {key: "auto", "stop": "events"}})
        problems = dict(check_sampling(run, Ising(IsingParameters(temperature=2.5, field=0.1))))
        assert "set evolve.stop to time" in problems[f"evolve.{key}"]


def test_a_run_of_given_dt_shows_its_recorded_lags(sample, make_plan, make_job, tmp_path):
    from macrodyn.methods.partial_evolution.encoding import encode
    from macrodyn.methods.partial_evolution.learn import closure

    plan = make_plan({**AUTO, "evolve": {"dt": 0.5, "patches": 2, "lags": [1, 2, 4], "buffer": 1}})
    data = sample(plan, 1)
    states, pairs = tmp_path / "states.nc", tmp_path / "pairs.nc"
    write_dataset(data["upsample"], states, {})
    write_dataset(data["evolve:ours"], pairs, {})
    trained = make_job(plan["closure"], tmp_path / "closure", {"data": states})
    closure(trained)
    inputs = {"pairs": pairs, "states": states, "closure": trained.outputs}
    latents = encode(make_job(plan["latents/ours"], tmp_path / "encode", inputs))
    found = of_pairs(latents, buffer=1, seed=1)
    assert [error.dt for error in found.table] == [0.5, 1.0, 2.0]
    assert found.used is found.table[0] and found.used.buffer == 1
    assert found.summary()["recommended"]["boundary"] is None
    names = latents.control.values.tolist()
    assert names == [
        f"{word}_{name}"
        for word in ("martingale", "excess")
        for name in ("magnetisation", "domain_wall_density")
    ]
    # Given the snapshot they are zero on average.
    controls = latents.controls.isel(lag=1).values.mean(axis=1)
    error = controls.std(axis=0) / np.sqrt(len(controls))
    assert (np.abs(controls.mean(axis=0)) < 4 * error).all()
