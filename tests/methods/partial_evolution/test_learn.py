"""The learning stages on a few samples: their form, their seeds, and the way of conditions."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from macrodyn.closure.feature_values import Features
from macrodyn.closure.layers import Architecture as ClosureArchitecture
from macrodyn.closure.model import PatchAutoencoder, load_autoencoder, save_autoencoder
from macrodyn.closure.snapshots import encode_states
from macrodyn.dynamics.domain import Domain
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.scalers import Scalers
from macrodyn.dynamics.train import train_ensemble
from macrodyn.lattice import scatter
from macrodyn.methods.partial_evolution.compare import conditions_outside
from macrodyn.methods.partial_evolution.encoding import encode
from macrodyn.methods.partial_evolution.learn import closure, dynamics
from macrodyn.methods.partial_evolution.predict import predict
from macrodyn.model import MacroModel
from macrodyn.pipeline.job import Job, save_stage
from macrodyn.pipeline.planner import RunPlan
from macrodyn.pipeline.stage_system import described_system
from macrodyn.storage.netcdf import read_dataset, write_dataset
from macrodyn.systems.ising import Ising
from macrodyn.systems.ising import system as ising_system
from macrodyn.systems.space import Observable

LITTLE = {
    "closure": {"channels": [4], "hidden": 8, "steps": 12, "batch": 32, "validation_every": 6},
    "dynamics": {"hidden": [8], "steps": 12, "batch": 32, "validation_every": 6},
    "baselines": [],
}
TRANSIENT = "prediction/ours/transient"
CONDITIONS = {"conditions": {"temperature": [2.3, 2.8]}, "simulate": {"groups": 4}}


@dataclass(frozen=True)
class Learned:
    """What the learning stages of a run made."""

    plan: RunPlan
    folder: Path
    latents: xr.Dataset
    prediction: xr.Dataset

    def digest(self, name: str) -> str:
        return hashlib.sha256((self.folder / name / "model.safetensors").read_bytes()).hexdigest()

    def training(self, name: str) -> dict:
        return json.loads((self.folder / name / "training.json").read_text(encoding="utf-8"))


@pytest.fixture
def learn(
    sample: Callable, make_plan: Callable, make_job: Callable, tmp_path: Path
) -> Callable[..., Learned]:
    """Run the learning stages on the data of a plan."""

    def run(changes: dict, data: dict[str, xr.Dataset] | None = None, name: str = "a") -> Learned:
        plan = make_plan({**LITTLE, **changes})
        data = data or sample(plan, 1)
        folder = tmp_path / name
        states, pairs = folder / "states.nc", folder / "pairs.nc"
        write_dataset(data["upsample"], states, {})
        write_dataset(data["evolve:ours"], pairs, {})
        sources = {"data": states, "pairs": pairs}
        asked = {role: sources[role] for role in plan["closure"].parents}
        trained = make_job(plan["closure"], folder / "closure", asked)
        closure(trained)
        inputs = {"pairs": pairs, "states": states, "closure": trained.outputs}
        encoding = make_job(plan["latents/ours"], folder / "encode", inputs)
        save_stage(encoding, encode(encoding))
        latents = encoding.outputs["data"]
        model = make_job(plan["model/ours"], folder / "dynamics", {"latents": latents})
        dynamics(model)
        inputs = {"model": model.outputs, "closure": trained.outputs}
        prediction = predict(make_job(plan[TRANSIENT], folder / "predict", inputs))
        return Learned(plan, folder, read_dataset(latents), prediction)

    return run


@pytest.fixture
def predicted(make_job: Callable[..., Job], tmp_path: Path) -> Callable[..., xr.Dataset]:
    """Predict with an ensemble and a closure at hand."""

    def run(plan: RunPlan, ensemble: Ensemble, autoencoder: PatchAutoencoder) -> xr.Dataset:
        model = tmp_path / "given" / "model.safetensors"
        closure_file = tmp_path / "given-closure" / "model.safetensors"
        ensemble.save(model)
        save_autoencoder(closure_file, autoencoder, {})
        inputs = {"model": {"model": model}, "closure": {"model": closure_file}}
        return predict(make_job(plan[TRANSIENT], tmp_path / "predicted", inputs))

    return run


def test_conditions_reach_the_model(learn):
    learned = learn(CONDITIONS)
    latents = learned.latents
    assert list(latents.condition.values) == ["temperature"]
    assert set(np.unique(latents.condition_values)) == {2.3, 2.8}
    ensemble = Ensemble.load(learned.folder / "dynamics" / "model.safetensors")
    with torch.inference_mode():
        cold, warm = (
            ensemble.drift(torch.zeros(1, 3), torch.tensor([[value]])).numpy()
            for value in (2.3, 2.8)
        )
    assert not np.array_equal(cold, warm)
    assert np.isfinite(learned.prediction.z).all()


def test_prediction_is_under_the_systems_own_conditions(learn, sample, make_plan):
    """The same data and model, but evaluated at another temperature."""
    data = sample(make_plan({**LITTLE, **CONDITIONS}), 1)
    one = learn(CONDITIONS, data, "one")
    warmer = {**CONDITIONS, "system": {"parameters": {"temperature": 2.8}}}
    other = learn(warmer, data, "other")
    assert one.digest("dynamics") == other.digest("dynamics")
    # Initial states of given magnetisation do not know the temperature; what follows does.
    np.testing.assert_array_equal(one.prediction.z[..., 0, :], other.prediction.z[..., 0, :])
    assert not np.array_equal(one.prediction.z[..., 1, :], other.prediction.z[..., 1, :])


@pytest.mark.parametrize("encoder", ["pooled", "strided"])
def test_a_closure_by_prediction_reaches_the_prediction(learn, encoder):
    """It is trained on pairs, and from there all is as with any other closure."""
    closure = {**LITTLE["closure"], "objective": "prediction", "encoder": encoder, "dimension": 2}
    learned = learn({"closure": closure, "evolve": {"lags": [1, 2]}})
    assert set(learned.plan["closure"].parents) == {"data", "pairs"}
    assert list(learned.latents.variable.values)[2:] == ["closure_0", "closure_1"]
    spread = learned.latents.z.values[:, 2:].std(axis=0)
    np.testing.assert_allclose(spread, 1.0, rtol=1e-3)
    told = learned.training("closure")
    assert told["objective"] == "prediction" and len(told["history"]["best_loss"]) == 1
    assert np.isfinite(learned.prediction.z).all()
    again = learn({"closure": closure, "evolve": {"lags": [1, 2]}}, name="again")
    assert again.digest("closure") == learned.digest("closure")


def test_closure_variables_do_not_run_away(learn, predicted):
    """Of a drift that goes on rising outside of the data, the range of the data is the end."""
    learned = learn({})
    ensemble = Ensemble.load(learned.folder / "dynamics" / "model.safetensors")
    autoencoder, _ = load_autoencoder(learned.folder / "closure" / "model.safetensors")
    seen = learned.latents.z.values.astype(np.float32)
    domain = ensemble.domain
    np.testing.assert_array_equal([domain.low, domain.high], [seen.min(axis=0), seen.max(axis=0)])
    with torch.no_grad():
        ensemble.parameters_by_name()["linear.bias"] += 1e4
    # As of a latent model that goes on by itself outside of the data.
    ensemble.continuation.low.fill_(-math.inf)
    ensemble.continuation.high.fill_(math.inf)
    prediction = predicted(learned.plan, ensemble, autoencoder)
    z = prediction.z.values
    assert np.isfinite(z).all()
    margin = 0.5 * np.ptp(seen[:, 2])
    low, high = seen[:, 2].min() - margin, seen[:, 2].max() + margin
    later = z[..., 1:, 2]
    assert later.min() >= low - 1e-5 and later.max() <= high + 1e-5
    # The push was felt: everything stands at an end, beyond the data.
    assert ((later > seen[:, 2].max()) | (later < seen[:, 2].min())).all()
    assert prediction.attrs["outside"] >= 0.75 and prediction.attrs["initial_outside"] < 0.5
    assert prediction.outside.values[2] >= 0.75


def little_ensemble(conditions: int = 0, linear_drift: torch.Tensor | None = None) -> Ensemble:
    """Magnetisation and domain-wall density without a drift, or a linear one, and hardly noise."""
    ensemble = Ensemble(
        variables=2,
        conditions=conditions,
        members=2,
        options={"hidden": [4], "covariance": "constant"},
        scalers=replace(Scalers.identity(2, conditions), diffusion_scale=1e-6 * torch.eye(2)),
        linear_drift=linear_drift,
    )
    with torch.no_grad():
        ensemble.parameters_by_name()["drift.out.weight"].zero_()
    return ensemble


WITHOUT = PatchAutoencoder(
    ClosureArchitecture(kind="spin", patch=(10, 6), state_channels=1, observables=2, closure_dim=0)
)


def test_unbounded_observables_do_not_run_away(make_plan, predicted, monkeypatch, caplog):
    """Pushed out at unit speed for 60 units of time from [-0.6, 0.6], two initial states of it."""
    monkeypatch.setattr(Ising, "bounds", ((-math.inf, math.inf), (0.0, math.inf)))
    changes = {"evaluate": {"horizons": {"transient": {"spacing": 20}}}}
    plan = make_plan(changes)
    ensemble = little_ensemble()
    ensemble.domain = Domain(low=(-0.6, 0.0), high=(0.6, 0.6))
    with torch.no_grad():
        ensemble.parameters_by_name()["linear.bias"][:, 0] = -1.0
    made = predicted(plan, ensemble, WITHOUT)
    # It is reflected at the limit, by a step at most.
    later = made.z.values[..., 1:, 0]
    assert ((later >= -1.2001) & (later <= -0.9499)).all()
    # Of four record times all but the initial one.
    assert made.attrs == {"outside": 0.75, "initial_outside": 0.0}
    np.testing.assert_array_equal(made.outside, [0.75, 0.0])
    np.testing.assert_allclose([made.range_low, made.range_high], [[-0.6, 0.0], [0.6, 0.6]])
    assert "75.00% of the predicted points and 0.00% of the initial states" in caplog.text
    assert "magnetisation 75.00%" in caplog.text


def test_initial_states_outside_are_counted(make_plan, predicted, caplog):
    plan = make_plan()
    ensemble = little_ensemble()
    # Half of the initial states have a magnetisation near 0.5.
    ensemble.domain = Domain(low=(-1.0, 0.0), high=(0.0, 1.0))
    made = predicted(plan, ensemble, WITHOUT)
    assert made.attrs == {"outside": 0.5, "initial_outside": 0.5}
    assert "50.00% of the initial states" in caplog.text
    caplog.clear()
    ensemble.domain = Domain(low=(-1.0, 0.0), high=(1.0, 1.0))
    made = predicted(plan, ensemble, WITHOUT)
    assert made.attrs == {"outside": 0.0, "initial_outside": 0.0}
    assert not caplog.text


def test_a_condition_outside_of_the_sampled_values_is_told(make_plan, predicted, caplog):
    plan = make_plan({**CONDITIONS, "system": {"parameters": {"temperature": 3.5}}})
    ensemble = little_ensemble(conditions=1)
    ensemble.domain = Domain(
        low=(-1.0, 0.0), high=(1.0, 1.0), condition_low=(2.3,), condition_high=(2.8,)
    )
    predicted(plan, ensemble, WITHOUT)
    message = "temperature = 3.5 lies outside of the sampled values, 2.3 to 2.8 (conditions.temp"
    assert message in caplog.text
    system, sampled = described_system(plan[TRANSIENT].config), {"temperature": [2.3, 2.8]}
    found = conditions_outside(ensemble, system, sampled, {})
    assert found == {"temperature": {"value": 3.5, "low": 2.3, "high": 2.8}}
    inside = Ising(Ising.Parameters(temperature=2.8))
    assert conditions_outside(ensemble, inside, sampled, {}) == {}
    # Of several values that are asked for, the one that is farthest from what was sampled.
    for values, outside in (([2.3, 2.5], {}), ([2.5, 2.9, 1.5, 3.4], {"temperature": 1.5})):
        found = conditions_outside(ensemble, system, sampled, {"temperature": values})
        assert {name: told["value"] for name, told in found.items()} == outside


def test_validation_is_on_groups_that_training_has_not_seen(learn, monkeypatch):
    """As many groups as initial macrostates, in the data set that encoding wrote."""
    seen = []

    def recorded(train, validation, *args, **kwargs):
        seen.extend(set(part.group.tolist()) for part in (train, validation))
        return train_ensemble(train, validation, *args, **kwargs)

    monkeypatch.setattr("macrodyn.methods.partial_evolution.learn.train_ensemble", recorded)
    learned = learn({})
    assert seen[0] and seen[1] and not seen[0] & seen[1]
    assert seen[0] | seen[1] == set(range(learned.plan.config.groups))


def test_learning_twice_gives_the_same_bits(learn, sample, make_plan):
    data = sample(make_plan(LITTLE), 1)
    one, other = learn({}, data, "one"), learn({}, data, "other")
    for name in ("closure", "dynamics"):
        assert one.digest(name) == other.digest(name)
    xr.testing.assert_equal(one.latents, other.latents)
    xr.testing.assert_equal(one.prediction, other.prediction)


def test_seed_changes_the_models(learn, sample, make_plan):
    data = sample(make_plan(LITTLE), 1)
    one, other = learn({}, data, "one"), learn({"seed": 6}, data, "other")
    for name in ("closure", "dynamics"):
        assert one.digest(name) != other.digest(name)


def test_no_stream_is_used_twice(learn, calls):
    """In a whole run: from small systems to the initial states of predictions."""
    learn({"baselines": ["naive", "full"]})
    keys = [key for _, arguments in calls for key in arguments["seeds"]]
    assert {name for name, _ in calls} == {"initial_states", "evolve", "evolve_patch", "generator"}
    twice = Counter(keys) - Counter(set(keys))
    assert not twice, [name for name, given in calls if twice.keys() & set(given["seeds"])]


@pytest.mark.parametrize("step", [0.25, 0.05])
def test_prediction_takes_the_steps_of_its_configuration(make_plan, predicted, step):
    """Of dz/dt = -z with hardly any noise: each step takes off its length's part."""
    changes = {"evaluate": {"horizons": {"transient": {"step": step}}}}
    plan = make_plan(changes)
    ensemble = little_ensemble(linear_drift=torch.cat([torch.zeros(1, 2), -torch.eye(2)]))
    ensemble.domain = Domain(low=(-1, 0), high=(1, 1))
    made = predicted(plan, ensemble, WITHOUT)
    z = made.z.values
    left = (1 - step) ** (made.time.values / step)
    np.testing.assert_allclose(z, z[..., :1, :] * left[:, None], atol=2e-5)


def test_without_closure_variables(learn):
    learned = learn({"closure": {**LITTLE["closure"], "dimension": 0}})
    assert list(learned.latents.variable.values) == ["magnetisation", "domain_wall_density"]
    assert learned.prediction.z.shape == (2, 2, 3, 4, 2)


@pytest.mark.parametrize(
    ("encoder", "evolve"),
    [("pooled", {}), ("pooled", {"buffer": 1}), ("strided", {}), ("dense", {})],
    ids=["pooled", "pooled with a buffer", "strided", "dense"],
)
def test_increments_are_k_times_what_a_patch_changes(learn, sample, make_plan, encoder, evolve):
    """Increments of closure variables, again by hand from the states and the pairs (eq. 3)."""
    changes = {"closure": {**LITTLE["closure"], "encoder": encoder}, "evolve": evolve}
    data = sample(make_plan({**LITTLE, **changes}), 1)
    learned = learn(changes, data)
    autoencoder, _ = load_autoencoder(learned.folder / "closure" / "model.safetensors")
    (share,) = learned.training("closure")["origin_share"]
    assert share < 1e-6 if encoder == "pooled" else share > 0.01
    pairs, states = data["evolve:ours"], data["upsample"].states.values
    found = learned.latents.increment.values[4, 1, 1]
    np.testing.assert_array_equal(found[:2], pairs.increments.values[4, 1, 1])
    before, after = pairs.before.values[4, 1][None], pairs.after.values[4, 1, 1][None]
    z = encode_states(autoencoder, states[[4]], periodic=True)
    np.testing.assert_allclose(learned.latents.z.values[4, 2:], z[0], atol=1e-5)
    if encoder != "pooled":
        old, new = (encode_states(autoencoder, x, periodic=True) for x in (before, after))
        expected = new - old
    else:
        moved = states[[4]].copy()
        scatter(moved, pairs.origin.values[4, 1][None], after[:, None])
        expected = 12 * (encode_states(autoencoder, moved, periodic=True) - z)
    if evolve:
        # The buffer has moved as well, which the terms at the edge have seen half of the time.
        assert not np.allclose(found[2:], expected[0], atol=1e-3)
        assert abs(found[2:] - expected[0]).max() < 0.5
    else:
        np.testing.assert_allclose(found[2:], expected[0], atol=1e-4)


def test_initial_states_have_the_magnetisation_asked_for(learn):
    learned = learn({})
    config = learned.plan[TRANSIENT].config
    model = MacroModel(
        ensemble=Ensemble.load(learned.folder / "dynamics" / "model.safetensors"),
        closure=load_autoencoder(learned.folder / "closure" / "model.safetensors")[0],
        system=described_system(config),
        large=tuple(config["large"]),
        patch=tuple(config["patch"]),
    )
    z = model.sample_initial(config["initial"], 200).reshape(2, 200, 3)
    sites = 30 * 24
    for m, values in zip(config["initial"], z[..., 0], strict=True):
        assert abs(values.mean() - m) < 5 * np.sqrt((1 - m * m) / sites / 200)
        assert values.std() == pytest.approx(np.sqrt((1 - m * m) / sites), rel=0.25)


def test_training_reports_its_cost_and_factor(learn):
    learned = learn({})
    assert learned.training("closure")["cost"]["core_seconds"] > 0
    report = learned.training("dynamics")
    assert report["factor_used"] == report["factor"]["theory"] == 12 / 3
    assert len(report["history"]["steps"]) >= 2


def test_relations_of_the_observables_reach_the_model_and_its_predictions(learn, monkeypatch):
    """Shares of spins that point up and down; the closure variable has no relation."""

    def shares(magnetisation):
        return np.stack([(1 + magnetisation) / 2, (1 - magnetisation) / 2], axis=1)

    def observe(self, states):
        return shares(states.mean(axis=(1, 2, 3)))

    density = ising_system._patch_density
    monkeypatch.setattr(
        ising_system, "_patch_density", lambda windows, patch: shares(density(windows, patch)[:, 0])
    )
    monkeypatch.setattr(Ising, "observe", observe)
    monkeypatch.setattr(Ising, "observe_patch", observe)
    up_and_down = (Observable("up", (0.0, 1.0)), Observable("down", (0.0, 1.0)))
    monkeypatch.setattr(Ising, "observables", up_and_down)
    monkeypatch.setattr(Ising, "relations", lambda self: (np.ones((1, 2)), np.ones(1)))
    learned = learn({})
    ensemble = Ensemble.load(learned.folder / "dynamics" / "model.safetensors")
    assert ensemble.constraint is not None and ensemble.constraint.free == 2
    np.testing.assert_allclose(
        np.array([1, 1, 0]) @ ensemble.constraint.basis.numpy(), 0, atol=1e-12
    )
    z = torch.as_tensor(learned.latents.z.values[:20], dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_allclose(ensemble.drift(z)[..., :2].sum(-1), 0.0, atol=1e-6)
    found = learned.prediction.z.values
    np.testing.assert_allclose(found[..., :2].sum(-1), 1.0, atol=1e-6)
    assert found[..., :2].min() > -1e-6 and np.ptp(found[..., 0]) > 0.1


def test_relations_that_the_data_miss_are_refused(learn, monkeypatch):
    monkeypatch.setattr(Ising, "relations", lambda self: (np.ones((1, 2)), np.ones(1)))
    with pytest.raises(ValueError, match=r"states miss the linear relations .* relations\(\)"):
        learn({})


FEATURES = ["generator:magnetisation", "correlation-2", "moment-2:magnetisation"]
WITH_FEATURES = {
    "closure": {
        **LITTLE["closure"],
        "dimension": 1,
        "features": FEATURES,
        "candidates": ["moment-3"],
    }
}
OBSERVABLES = ("magnetisation", "domain_wall_density")
NAMES = ["generator_magnetisation", "correlation_2", "moment_2_magnetisation", "closure_0"]


@pytest.mark.parametrize("buffer", [0, 1])
def test_features_stand_between_observables_and_the_autoencoders_variables(learn, buffer):
    evolve = {"evolve": {"dt": 0.5, "buffer": buffer, "patches": 2}}
    learned = learn(WITH_FEATURES | CONDITIONS | evolve)
    latents, prediction = learned.latents, learned.prediction
    assert latents.variable.values.tolist()[2:] == NAMES
    assert prediction.variable.values.tolist() == latents.variable.values.tolist()
    states = read_dataset(learned.folder / "states.nc")
    patch = tuple(read_dataset(learned.folder / "pairs.nc").after.shape[4:])
    cold = latents.condition_values.values[:, 0] < 2.5
    assert 0 < cold.sum() < len(cold)
    for rows, temperature in ((cold, 2.3), (~cold, 2.8)):
        system = described_system(learned.plan["latents/ours"].config)
        system = system.with_parameters(temperature=temperature)
        expected = Features(system, FEATURES, patch).values(states.states.values[rows])
        np.testing.assert_allclose(latents.z.values[rows, 2:5], expected)
        candidates = Features(system, ["moment-3"], patch).values(states.states.values[rows])
        np.testing.assert_allclose(latents.candidates.values[rows], candidates)
    assert latents.candidate.values.tolist() == [f"moment_3_{n}" for n in OBSERVABLES]
    # What the features change by is of the size of what their values differ by between patches.
    changes = latents.increment.isel(lag=0).values[..., 2:5]
    assert (np.abs(changes).max(axis=(0, 1)) > 1e-4).all()
    low, high = prediction.z.values[..., 3].min(), prediction.z.values[..., 3].max()
    assert -1 <= low < high <= 1 and prediction.z.values[..., 4].min() >= 0


def test_features_need_no_new_training_of_the_closure(make_plan):
    one, other = make_plan(LITTLE), make_plan({**LITTLE, **WITH_FEATURES})
    assert other["closure"].key == one["closure"].key
    assert other["latents/ours"].key != one["latents/ours"].key


def test_a_feature_that_is_a_combination_of_observables_is_refused(learn):
    """The correlation at distance 1 is 1 - 2 rho."""
    closure = {**LITTLE["closure"], "features": ["correlation-1"]}
    with pytest.raises(ValueError, match="correlation_1 is a linear combination of domain_wall_"):
        learn({"closure": closure})


def test_polynomials_go_through_the_same_stages(learn):
    learned = learn({"dynamics": {"model": "polynomial"}, "simulate": {"groups": 8}})
    ensemble = Ensemble.load(learned.folder / "dynamics" / "model.safetensors")
    assert ensemble.kind == "polynomial"
    training = learned.training("dynamics")
    selection, history = training["selection"], training["history"]
    assert selection["degree"] in selection["degrees"] == history["steps"]
    assert np.shape(selection["scores"]) == (len(history["steps"]), len(selection["ridges"]))
    assert np.isfinite(history["best_loss"]).all()
    assert np.isfinite(learned.prediction.z).all()
