"""The drift's output layer, solved for by ridge regression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from macrodyn.dynamics import DynamicsSettings, Ensemble, TransitionData, train_ensemble
from macrodyn.dynamics import output_layer as module
from macrodyn.dynamics.output_layer import solve_output_layer

from .conftest import changed

LITTLE = DynamicsSettings(members=3, steps=60, batch=256, hidden=(24,), activation="tanh")


def transitions(*, samples: int = 4000, noise: float = 0.02, seed: int = 0) -> TransitionData:
    """Increments of a curved drift over times of two lengths, with little noise left in them."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, (samples, 2))
    elapsed = np.where(np.arange(samples) % 2, 1.0, 0.25)
    drift = truth(torch.as_tensor(z)).numpy()
    own, common = rng.normal(size=(2, samples, 2)) * elapsed[:, None] ** 0.5
    made = {
        "z": z,
        "increment": drift * elapsed[:, None] + 0.3 * own,
        "compensated": drift * elapsed[:, None] + noise * common,
        "elapsed": elapsed,
        "conditions": np.zeros((samples, 0)),
    }
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in made.items()}
    return TransitionData(**tensors, group=torch.arange(samples) % 50, factor=2.0)


def truth(z: torch.Tensor) -> torch.Tensor:
    """The drift."""
    return torch.stack([z[:, 0] - z[:, 0] ** 3 + 0.3 * z[:, 1], -z[:, 1] + z[:, 0] ** 2], dim=1)


def error(model: Ensemble) -> float:
    axis = torch.linspace(-0.9, 0.9, 15)
    z = torch.cartesian_prod(axis, axis)
    return float((model.drift(z) - truth(z)).square().mean().sqrt())


def trained(data: TransitionData, **changes: object) -> Ensemble:
    return train_ensemble(*data.split(0.2, seed=1), changed(LITTLE, **changes), seed=2)[0]


def test_a_drift_of_few_steps_becomes_as_good_as_its_features():
    data = transitions()
    before, after = (error(trained(data, output_ridge=r)) for r in (None, 1e-6))
    assert after < 0.03
    assert after < 0.2 * before


@pytest.mark.parametrize("ridge", [1e-5, 1e-1])
def test_it_is_the_ridge_regression_of_what_the_drift_left(ridge):
    model = trained(transitions(), output_ridge=None)
    data = transitions(samples=700).along(model.axes)
    z = (data.z - model.z_mean) / model.z_scale
    was = {name: value.clone() for name, value in model.parameters_by_name().items()}
    moved = model.axes.reduce_change(model.drift(transitions(samples=700).z))
    left = data.compensated - moved * data.elapsed[:, None]
    assert solve_output_layer(model, data, ridge)
    for m in range(model.members):
        hidden = torch.tanh(z @ was["drift.layers.0.weight"][m].T + was["drift.layers.0.bias"][m])
        features = torch.cat([torch.ones(len(z), 1), z, hidden], dim=1).double().numpy()
        weight = data.elapsed.double().numpy()[:, None]
        # Rows of the features' own penalties below those of the data.
        penalty = np.sqrt(ridge * (weight * features**2).sum(0))
        rows = np.concatenate([np.sqrt(weight) * features, np.diag(penalty)])
        target = (left[m].double() / model.drift_scale).numpy() / np.sqrt(weight)
        target = np.concatenate([target, np.zeros((features.shape[1], 2))])
        change = np.linalg.lstsq(rows, target, rcond=None)[0]
        now = model.parameters_by_name()
        found = torch.cat(
            [
                (now["linear.bias"] - was["linear.bias"])[m][None],
                (now["linear.weight"] - was["linear.weight"])[m].T,
                (now["drift.out.weight"] - was["drift.out.weight"])[m].T,
            ]
        )
        np.testing.assert_allclose(found.numpy(), change, rtol=2e-3, atol=2e-4)


def test_a_strong_penalty_leaves_what_was_trained():
    model = trained(transitions(), output_ridge=None)
    z = torch.rand(20, 2)
    before = model.drift(z)
    assert solve_output_layer(model, transitions().along(model.axes), 1e8)
    torch.testing.assert_close(model.drift(z), before)


def test_chunks_add_up(monkeypatch):
    data = transitions(samples=900)
    whole, parts = (trained(transitions(), output_ridge=None) for _ in range(2))
    data = data.along(whole.axes)
    solve_output_layer(whole, data, 1e-4)
    monkeypatch.setattr(module, "CHUNK", 100)
    solve_output_layer(parts, data, 1e-4)
    z = torch.rand(20, 2)
    torch.testing.assert_close(parts.drift(z), whole.drift(z), rtol=1e-4, atol=1e-5)


def test_noise_is_as_it_was():
    data, z = transitions(), torch.rand(20, 2)
    model = trained(data, output_ridge=None)
    before = model.covariance(z)
    assert solve_output_layer(model, data.along(model.axes), 1e-4)
    torch.testing.assert_close(model.covariance(z), before, rtol=0, atol=0)


def test_for_increments_as_they_are_the_ridge_is_a_hundred_times_as_strong():
    plain = replace(transitions(), compensated=None)
    z = torch.rand(20, 2)
    as_trained, solved = (trained(plain, output_ridge=ridge) for ridge in (None, 1e-4))
    assert error(solved) < error(as_trained)
    assert solve_output_layer(as_trained, plain.along(as_trained.axes), 1e-2)
    torch.testing.assert_close(solved.drift(z), as_trained.drift(z), rtol=1e-4, atol=1e-5)


def test_a_model_without_an_output_layer_is_left_alone():
    model = Ensemble("polynomial", variables=2, members=2, options={"degree": 2})
    assert not solve_output_layer(model, transitions(), 1e-4)
