"""Output layers of drift and noise, solved for by ridge regression and by scoring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from macrodyn.dynamics import DynamicsSettings, Ensemble, TransitionData, train_ensemble
from macrodyn.dynamics import output_layer as module
from macrodyn.dynamics.output_layer import solve_noise_layer, solve_output_layer
from macrodyn.dynamics.partial_likelihood import Whitened
from macrodyn.dynamics.scatter import scatter_factor
from macrodyn.dynamics.union import join

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


def sigma(z: torch.Tensor) -> torch.Tensor:
    """A covariance rate whose variances vary fivefold and whose correlation changes its sign."""
    first, second = (0.6 * z[:, 0]).exp(), (0.5 + 0.3 * z[:, 1] ** 2)
    cross = 0.4 * z[:, 0] * z[:, 1] * (first * second).sqrt()
    return torch.stack([first, cross, cross, second], dim=1).reshape(-1, 2, 2)


def noisy(*, samples: int = 3000, patches: int = 12, seed: int = 0) -> TransitionData:
    """Increments of many patches, whose covariance is `sigma`."""
    rng = np.random.default_rng(seed)
    z = torch.as_tensor(rng.uniform(-1, 1, (samples, 2)))
    elapsed = np.where(np.arange(samples) % 2, 1.0, 0.25)
    root = torch.linalg.cholesky(sigma(z)).numpy()
    unit = rng.normal(size=(samples, patches, 2)) * elapsed[:, None, None] ** 0.5
    increments = np.einsum("nij,nmj->nmi", root, unit)
    increments = increments + truth(z).numpy()[:, None] * elapsed[:, None, None]
    made = {
        "z": z,
        "increment": increments.mean(1),
        "elapsed": elapsed,
        "conditions": np.zeros((samples, 0)),
        "scatter": scatter_factor(increments, elapsed),
    }
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in made.items()}
    group = torch.arange(samples) % 50
    return TransitionData(**tensors, group=group, factor=1.0 / patches, patches=patches)


def halves(data: TransitionData, model: Ensemble) -> list[TransitionData]:
    """Training and validation data as the members see them."""
    parts = data.split(0.2, seed=1)
    return list(parts) if model.axes is None else [part.along(model.axes) for part in parts]


def noise_error(model: Ensemble) -> float:
    """Root mean square of L^-1 Sigma_model L^-T - 1, on a grid."""
    axis = torch.linspace(-0.9, 0.9, 15)
    z = torch.cartesian_prod(axis, axis)
    inverse = torch.linalg.inv(torch.linalg.cholesky(sigma(z)))
    with torch.no_grad():
        ratio = inverse @ model.covariance(z) @ inverse.mT
    return float((ratio - torch.eye(2)).square().mean().sqrt())


def test_a_noise_of_few_steps_becomes_as_good_as_its_features():
    data = noisy()
    model = trained(data, output_ridge=None)
    z = torch.rand(20, 2)
    before, drift = noise_error(model), model.drift(z)
    assert solve_noise_layer(model, *halves(data, model)) in module.RIDGES
    assert noise_error(model) < 0.08
    assert noise_error(model) < 0.7 * before
    torch.testing.assert_close(model.drift(z), drift, rtol=0, atol=0)


def test_training_solves_for_both_layers():
    data = noisy()
    as_trained, solved = (trained(data, output_ridge=ridge) for ridge in (None, 1e-4))
    assert noise_error(solved) < 0.5 * noise_error(as_trained)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "constant"])
def test_the_likelihood_is_stationary_in_the_noise_s_output_layer(monkeypatch, covariance):
    monkeypatch.setattr(module, "RIDGES", (1e-9,))
    monkeypatch.setattr(module, "_SETTLED", 1e-6)
    monkeypatch.setattr(module, "_SCORING_STEPS", 60)
    monkeypatch.setattr(module, "CHUNK", 700)
    data = noisy()
    model = trained(data, output_ridge=None, covariance=covariance, hidden=(6,), steps=30)
    training, validation = halves(data, model)
    whitened = Whitened(model, join([training, validation]))
    rows, _ = whitened.rows(join([training, validation]))
    inputs = whitened.inputs(rows).expand(model.members, -1, -1)

    def slopes() -> dict[str, torch.Tensor]:
        own = {name: value.detach().clone() for name, value in model.parameters_by_name().items()}
        layer = ["noise_bias", *(["noise.out.weight"] if covariance != "constant" else [])]
        for name in layer:
            own[name].requires_grad_()
        drift, triangle = model.evaluate(own, inputs)
        loss = whitened.nll(rows, drift, triangle).sum()
        found = torch.autograd.grad(loss, [own[name] for name in layer])
        return {name: value.norm() for name, value in zip(layer, found, strict=True)}

    before = slopes()
    assert solve_noise_layer(model, training, validation) == 1e-9
    for name, slope in slopes().items():
        assert slope < 0.02 * before[name], name


def test_the_information_is_the_mean_square_of_the_likelihood_s_slopes():
    data = noisy(samples=1)
    model = Ensemble(variables=2, members=1)
    triangle = torch.tensor([1.3, -0.4, 0.7])
    lower = torch.tensor([[1.3, 0.0], [-0.4, 0.7]])
    unit = torch.randn(400_000, 2, generator=torch.Generator().manual_seed(3))
    one = replace(data, scatter=None, patches=1)
    whitened = Whitened(model, one)
    rows = torch.cat([torch.zeros(len(unit), 2), unit @ lower.T, torch.zeros(len(unit), 2)], dim=1)
    entries = triangle.expand(1, len(unit), -1).clone().requires_grad_()
    nll = whitened.noise_nll(rows[None], torch.zeros(1, len(unit), 2), entries)
    (slopes,) = torch.autograd.grad(nll.sum(), entries)
    found = whitened.information(rows[None, :1], triangle.expand(1, 1, -1))[0, 0]
    torch.testing.assert_close(found, slopes[0].square().mean(0), rtol=0.02, atol=0.0)


def test_where_no_change_gains_the_noise_stays_as_it_was_trained(monkeypatch):
    monkeypatch.setattr(module, "RIDGES", (1e9,))
    data = noisy()
    model = trained(data, output_ridge=None, steps=400)
    z = torch.rand(20, 2)
    before = model.covariance(z)
    assert solve_noise_layer(model, *halves(data, model)) is None
    torch.testing.assert_close(model.covariance(z), before, rtol=0, atol=0)


def test_where_the_data_say_nothing_of_it_the_noise_is_the_same_everywhere():
    """One mean increment each, and features enough to fit their noise."""
    few = replace(noisy(samples=300), scatter=None, patches=1)
    model = trained(few, output_ridge=None, steps=400, hidden=(64,))
    z = torch.rand(20, 2)
    assert float(model.covariance(z).std(dim=1).max()) > 0.05
    assert solve_noise_layer(model, *halves(few, model)) == "constant"
    assert float(model.covariance(z).std(dim=1).max()) < 1e-6


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_a_noise_that_is_the_same_everywhere_is_found_to_be(covariance):
    made = noisy(samples=1500)
    # The same noise, without what depends on z.
    rng = np.random.default_rng(3)
    root = np.array([[0.8, 0.0], [0.3 * (covariance == "full"), 0.5]])
    elapsed = made.elapsed.double().numpy()
    unit = rng.normal(size=(len(made), 12, 2)) * elapsed[:, None, None] ** 0.5
    increments = unit @ root.T + truth(made.z).double().numpy()[:, None] * elapsed[:, None, None]
    data = replace(
        made,
        increment=torch.as_tensor(increments.mean(1), dtype=torch.float32),
        scatter=torch.as_tensor(scatter_factor(increments, elapsed), dtype=torch.float32),
    )
    model = trained(data, output_ridge=None, steps=300, covariance=covariance)
    z = torch.rand(20, 2)
    assert float(model.covariance(z).std(dim=1).max()) > 0.002
    assert solve_noise_layer(model, *halves(data, model)) == "constant"
    found = model.covariance(z)
    assert float(found.std(dim=1).max()) < 1e-6
    # The statistical error of a variance from 12 x 1,500 increments is one per cent.
    np.testing.assert_allclose(found[:, 0].detach(), np.tile(root @ root.T, (3, 1, 1)), atol=0.03)


def test_a_noise_without_an_output_layer_is_left_alone():
    model = Ensemble("polynomial", variables=2, members=2, options={"degree": 2})
    assert solve_noise_layer(model, *noisy(samples=200).split(0.2, seed=1)) is None
