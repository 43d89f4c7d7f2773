"""The model of barriers that comes with the package."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from macrodyn.storage.models import load_model, save_model
from macrodyn.storage.sealed import write_sealed_json
from macrodyn.systems.nbmota import NbMoTa, NbMoTaParameters
from macrodyn.systems.nbmota import shipped as module
from macrodyn.systems.nbmota.shipped import MODEL, read_model, ship


def test_it_is_as_good_as_was_asked_for():
    _, description = load_model(MODEL)
    assert description["rmse"]["barriers"] <= 0.05
    assert description["rmse"]["changes"] <= 0.03
    assert description["converged"] >= 0.98 * description["bands"]
    assert description["bands"] >= 8 * 400


def test_its_source_and_what_it_was_made_of_stand_beside_it():
    _, description = load_model(MODEL)
    assert description["source"] == "EAM (Zhou and Johnson)"
    assert json.loads(description["stage_config"])["steps"] == 4000


def test_it_is_the_default_and_keeps_detailed_balance():
    alloy = NbMoTa(NbMoTaParameters())
    assert alloy.is_ready and alloy.knows_equilibrium
    model = alloy.barriers
    rng = np.random.default_rng(1)
    around = rng.integers(1, 4, (200, len(model.offsets)))
    barriers, changes = model.evaluate(around)
    # Of 249 atoms at random EAM gives 1.04 eV with a spread of 0.24.
    assert barriers.mean() == pytest.approx(1.04, abs=0.1)
    assert barriers.std() == pytest.approx(0.24, abs=0.08)
    assert abs(changes.mean()) < 0.1


def test_shipping_takes_the_model_and_its_errors(tmp_path, monkeypatch, model):
    folder = tmp_path / "study/stages/barrier_model/abc"
    folder.mkdir(parents=True)
    tensors = {name: torch.as_tensor(values) for name, values in model.arrays().items()}
    save_model(folder / "model.safetensors", tensors, {"kind": "barriers", "source": "here"})
    told = {"rmse": {"barriers": 0.1}, "bands": 8, "converged": 7, "history": {}}
    told |= {"computed": [1.0], "predicted": [1.1], "unlike": [3]}
    write_sealed_json(folder / "training.json", told)
    monkeypatch.setattr(module, "MODEL", tmp_path / "barriers.safetensors")
    ship(tmp_path / "study")
    _, description = load_model(tmp_path / "barriers.safetensors")
    assert description["rmse"] == {"barriers": 0.1} and description["bands"] == 8
    assert description["computed"] == [1.0] and description["unlike"] == [3]
    found = read_model(tmp_path / "barriers.safetensors")
    assert found.source == "here"
    np.testing.assert_array_equal(found.table, model.table)


def test_one_model_alone_is_shipped(tmp_path):
    with pytest.raises(ValueError, match="0 models of barriers"):
        ship(tmp_path)


def test_other_models_are_refused(tmp_path):
    save_model(tmp_path / "m.safetensors", {"a": torch.ones(1)}, {"kind": "modes"})
    with pytest.raises(ValueError, match="no model of barriers"):
        read_model(tmp_path / "m.safetensors")
