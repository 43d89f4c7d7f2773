"""The noise's output layer, solved for by scoring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from macrodyn.dynamics import Ensemble, TransitionData
from macrodyn.dynamics import noise_layer as module
from macrodyn.dynamics.noise_layer import NoiseChoice, solve_noise_layer
from macrodyn.dynamics.partial_likelihood import Whitened
from macrodyn.dynamics.scatter import scatter_factor
from macrodyn.dynamics.union import join

from .test_output_layer import trained, truth


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
    assert solve_noise_layer(model, *halves(data, model)).ridge in module.RIDGES
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
    assert solve_noise_layer(model, training, validation).ridge == 1e-9
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
    nll = whitened.noise_nll_by_row(rows[None], torch.zeros(1, len(unit), 2), entries)
    (slopes,) = torch.autograd.grad(nll.sum(), entries)
    found = whitened.information(rows[None, :1], triangle.expand(1, 1, -1))[0, 0]
    torch.testing.assert_close(found, slopes[0].square().mean(0), rtol=0.02, atol=0.0)


def test_where_no_change_gains_the_noise_stays_as_it_was_trained(monkeypatch):
    monkeypatch.setattr(module, "RIDGES", (1e9,))
    data = noisy()
    model = trained(data, output_ridge=None, steps=400)
    z = torch.rand(20, 2)
    before = model.covariance(z)
    assert solve_noise_layer(model, *halves(data, model)) == NoiseChoice()
    torch.testing.assert_close(model.covariance(z), before, rtol=0, atol=0)


def test_where_the_data_say_nothing_of_it_the_noise_is_the_same_everywhere():
    """One mean increment each, and features enough to fit their noise."""
    few = replace(noisy(samples=100), scatter=None, patches=1)
    model = trained(few, output_ridge=None, steps=400, hidden=(64,))
    z = torch.rand(20, 2)
    assert float(model.covariance(z).std(dim=1).max()) > 0.05
    assert solve_noise_layer(model, *halves(few, model)).constant == (0, 1)
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
    assert solve_noise_layer(model, *halves(data, model)).constant == (0, 1)
    found = model.covariance(z)
    assert float(found.std(dim=1).max()) < 1e-6
    # The statistical error of a variance from 12 x 1,500 increments is one per cent.
    np.testing.assert_allclose(found[:, 0].detach(), np.tile(root @ root.T, (3, 1, 1)), atol=0.03)


def test_a_noise_without_an_output_layer_is_left_alone():
    model = Ensemble("polynomial", variables=2, members=2, options={"degree": 2})
    assert solve_noise_layer(model, *noisy(samples=200).split(0.2, seed=1)) == NoiseChoice()


def halved(data: TransitionData) -> TransitionData:
    """The first variable has the same noise everywhere; the second has not, nor what both share."""
    rng = np.random.default_rng(5)
    z = data.z.double().numpy()
    elapsed = data.elapsed.double().numpy()
    root = np.zeros((len(z), 2, 2))
    root[:, 0, 0] = 0.8
    root[:, 1, 0] = 0.4 * z[:, 0]
    root[:, 1, 1] = np.exp(0.6 * z[:, 1])
    unit = rng.normal(size=(len(z), 12, 2)) * elapsed[:, None, None] ** 0.5
    increments = np.einsum("nij,nmj->nmi", root, unit)
    return replace(
        data,
        increment=torch.as_tensor(increments.mean(1), dtype=torch.float32),
        scatter=torch.as_tensor(scatter_factor(increments, elapsed), dtype=torch.float32),
    )


def test_a_row_is_constant_where_others_are_not():
    """Correlated variables: along their principal axes no row would be."""
    data = halved(noisy())
    mixed = data.z.clone()
    mixed[:, 1] += 1.5 * mixed[:, 0]
    data = replace(data, z=mixed)
    model = trained(data, output_ridge=None, steps=300)
    assert solve_noise_layer(model, *halves(data, model)).constant == (0,)
    with torch.no_grad():
        found = model.covariance(data.z[:200])
    assert float(found[..., 0, 0].std(dim=1).max()) < 1e-5
    np.testing.assert_allclose(found[:, 0, 0, 0], 0.64, atol=0.02)
    assert float(found[..., 1, 1].std(dim=1).min()) > 0.3
    factor = model.cholesky(data.z[:200]).detach()
    # In the variables' own order: the first row of the triangle, to rounding.
    np.testing.assert_allclose(factor[..., 0, 0], 0.8, atol=0.02)
    slope = np.polyfit(data.z[:200, 0], factor[0, :, 1, 0], 1)[0]
    assert slope == pytest.approx(0.4, abs=0.1)


def test_rows_that_stay_as_trained_do_not_move_where_one_is_constant(monkeypatch):
    data = halved(noisy())
    model = trained(data, output_ridge=None, steps=300)
    choice = NoiseChoice(None, (0,))
    none = torch.zeros(model.members, 25, 3, dtype=torch.float64)
    monkeypatch.setattr(module, "_choose", lambda *_: (choice, none))
    before = {name: value.clone() for name, value in model.parameters_by_name().items()}
    solve_noise_layer(model, *halves(data, model))
    after = model.parameters_by_name()
    weights = "noise.out.weight"
    assert not torch.equal(after[weights][:, 0], before[weights][:, 0])
    assert float(after[weights][:, 0].abs().max()) < 1e-6
    assert torch.equal(after[weights][:, 1:], before[weights][:, 1:])
    assert torch.equal(after["noise_bias"][:, 1:], before["noise_bias"][:, 1:])
