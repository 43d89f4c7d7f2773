"""The trained model of partial forces: written by a run, read anywhere, asked in Python."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import xarray as xr

import macrodyn
from macrodyn.cli import main
from macrodyn.closure.encoders import load_encoder, macrostates
from macrodyn.methods.partial_forces.model import ForceModel
from macrodyn.model import ModelError
from macrodyn.storage.sealed import read_sealed_json


@pytest.fixture
def folder(bench, tmp_path):
    """The folder that a run's stage has written, moved elsewhere."""
    plan = bench.plan()
    written = bench.path(plan.trained) / "model"
    assert read_sealed_json(written / "model.json")["identity"] == plan.trained.key
    return shutil.copytree(written, tmp_path / "mailed")


@pytest.fixture
def model(folder):
    found = macrodyn.load(folder)
    assert isinstance(found, ForceModel)
    return found


def test_it_predicts_what_the_study_has_predicted(bench, model):
    held_out, forecast = bench.made("held-out"), bench.made("forecast")
    states = held_out.states.values[:, 0]
    times = held_out.time.values
    predicted = model.predict(states, times - times[0])
    np.testing.assert_array_equal(predicted.z.values[:, :, 0], forecast.z.values)
    assert list(predicted.variable.values) == ["prey", "predator", "closure_1", "closure_2"]
    z = predicted.z.values[:, :, 0].astype(float)
    np.testing.assert_allclose(predicted["mean"], z.mean(0))
    np.testing.assert_allclose(predicted.member_std, z.std(0))
    # From z, at later times alone, and in between: the same trajectory.
    later = model.predict(forecast.encoded.values[:, 0], (times - times[0])[2:])
    np.testing.assert_allclose(later.z.values[:, :, 0], forecast.z.values[:, :, 2:], rtol=1e-5)


def test_encoding_and_initial_states_are_those_of_the_system(bench, model):
    system = model.system
    encoder = load_encoder(bench.path(bench.plan()["encoder"]) / "model.safetensors", system)
    states = system.initial_states(np.array([[0.5, 0.1]]), (10,), np.zeros(1, np.uint64))
    expected = macrostates(system, encoder, states)
    np.testing.assert_allclose(model.encode(states), expected)
    drawn = model.sample_initial({"mean": 0.5, "amplitude": [0.1, 0.12]}, 2)
    assert drawn.shape == (4, 4)
    np.testing.assert_allclose(drawn[0], expected[0], rtol=1e-6)
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_the_drift_is_the_slope_of_trajectories(model):
    z = model.sample_initial({"mean": 0.5, "amplitude": 0.1})[0]
    small = 1e-3
    found = model.predict(z, [0.0, small], step=small).z.values[:, 0, 0].mean(0)
    slope = (found[1].astype(float) - found[0]) / small
    np.testing.assert_allclose(slope, model.drift(z), rtol=2e-2, atol=2e-3)


def test_what_lies_outside_is_told(model):
    inside = np.array([model.ensemble.domain.low, model.ensemble.domain.high]).mean(0)
    assert model.predict(inside, [0.0]).attrs["outside"] == 0
    far = model.predict(inside + 100, [0.0])
    assert far.attrs["outside"] == far.attrs["initial_outside"] == 1


WRONG = {
    "states": (lambda m: m.encode(np.zeros((1, 10, 3))), r"states are \[batch, particle, 2\]"),
    "particles": (lambda m: m.encode(np.zeros((1, 7, 2))), "7 particles"),
    "z": (lambda m: m.predict([1.0], [0.0]), r"z is \[\.\.\., 4\]"),
    "times": (lambda m: m.predict(np.zeros(4), [1.0, 0.5]), "times must grow"),
    "step": (lambda m: m.predict(np.zeros(4), [1.0], step=0.0), "step is 0"),
    "size": (lambda m: m.predict(np.zeros(4), [1.0], size=(20,)), "train another"),
    "replicas": (lambda m: m.predict(np.zeros(4), [1.0], replicas=0), "replicas is 0"),
    "conditions": (lambda m: m.predict(np.zeros(4), [1.0], conditions={"a": 1}), "no conditions"),
    "macrostate": (lambda m: m.sample_initial({"mean": 0.5}), "the initial macrostate .*amplitude"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_asked_says_why(model, case):
    ask, message = WRONG[case]
    with pytest.raises(ModelError, match=message):
        ask(model)


def test_card_and_copy_tell_how_good_it_was(bench, model, tmp_path):
    error = bench.made("evaluation")["error"]["mean"]
    copy = model.save(tmp_path / "copy")
    card = (copy / "README.md").read_text(encoding="utf-8")
    assert card == model.card() == macrodyn.load(copy).card()
    assert f"relative error of held-out trajectories: {error:.1e}" in card
    assert "the forces on 4 of each of 30 configurations" in card
    assert "an ensemble of 2 (mlp), stepped by 0.2" in card
    assert "predator-prey-pde" in card and "interpolation" in card
    for role in ("model", "encoder"):
        assert bench.plan()[role].key[:12] in card


def test_commands_and_figure(folder, model, tmp_path, capsys):
    assert main(["info", str(folder), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described == json.loads(json.dumps(model.described()))
    assert described["members"] == 2 and described["step"] == model.step
    out = tmp_path / "out.nc"
    given = ["--initial", "mean=0.5", "--initial", "amplitude=0.1,0.12", "--until", "1"]
    assert main(["predict", str(folder), *given, "-o", str(out)]) == 0
    with xr.open_dataset(out) as predicted:
        assert dict(predicted.sizes) == {
            "member": 2, "initial": 2, "replica": 1, "time": 101, "variable": 4,
        }  # fmt: skip
        figure = model.plot.trajectories(predicted.load())
    assert len(figure.axes) == 2
    assert len(model.plot.trajectories(predicted, ["closure_1"]).axes) == 1
