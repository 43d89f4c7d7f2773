"""Laws of thermodynamics that hold whatever the parameters are, with noise or without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.scalers import Scalers
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.structured import CONFINEMENT, GFINN, OnsagerNet, Potential
from macrodyn.dynamics.train import train_ensemble
from macrodyn.dynamics.trajectories import integrate

KINDS = {"onsagernet": OnsagerNet, "gfinn": GFINN}


def inputs(d=5, conditions=0, batch=64):
    return torch.randn(batch, d + conditions, generator=torch.Generator().manual_seed(3)).double()


def made(kind, d=5, conditions=0, **options):
    torch.manual_seed(1)
    model = KINDS[kind](d, conditions, (16, 16), **options)
    with torch.no_grad():  # far from what it begins as
        for value in model.parameters():
            value.add_(0.5 * torch.randn_like(value))
    return model.double()


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("conditions", [0, 2])
def test_gradient_of_a_potential_is_its_derivative(squared, conditions):
    torch.manual_seed(2)
    potential = Potential(3, conditions, (8, 8), squared=squared).double()
    x = inputs(3, conditions).requires_grad_(True)
    (expected,) = torch.autograd.grad(potential(x).sum(), x)
    torch.testing.assert_close(potential.gradient(x), expected[:, :3])


@pytest.mark.parametrize("conditions", [0, 1])
def test_onsagernet_dissipates_its_energy(conditions):
    model, x = made("onsagernet", conditions=conditions), inputs(conditions=conditions)
    drift, slope = model(x)[0], model.slope(x)
    rate = (slope * drift).sum(-1)
    assert (rate < 0).all()
    # What turns along the level sets does no work: it is there, and the rate is that of L alone.
    both = model.operators(x).unflatten(-1, (5, 5)) + model.constant
    force = both.tril().mT @ slope.unsqueeze(-1)
    friction = 0.01 * slope.square().sum(-1)
    torch.testing.assert_close(rate, -force.square().sum((-2, -1)) - friction, rtol=1e-12, atol=0)
    assert (drift + 0.01 * slope).norm() > (both.tril() @ force).norm() * 0.1


def test_slope_of_an_onsagernet_is_the_derivative_of_its_energy():
    model, x = made("onsagernet"), inputs().requires_grad_(True)
    (expected,) = torch.autograd.grad(model.energy(x).sum(), x)
    torch.testing.assert_close(model.slope(x), expected)
    far = 1e4 * inputs().detach()
    assert (model.energy(far) >= 0.5 * CONFINEMENT * far.square().sum(-1)).all()


@pytest.mark.parametrize("conditions", [0, 1])
def test_gfinn_is_degenerate_to_machine_precision(conditions):
    model, x = made("gfinn", conditions=conditions), inputs(conditions=conditions)
    grad_e, grad_s = model.gradients(x)
    nothing = torch.zeros_like(grad_e)
    size = model(x)[0].abs().max()
    # L grad S = 0 and M grad E = 0, as vectors.
    assert model.applied(x, grad_s, nothing).abs().max() < 1e-12 * size
    assert model.applied(x, nothing, grad_e).abs().max() < 1e-12 * size
    # L is skew and M is positive: E is kept, and S does not fall.
    drift = model(x)[0]
    assert ((grad_e * drift).sum(-1).abs() < 1e-12 * size * grad_e.norm(dim=-1)).all()
    assert (grad_s * drift).sum(-1).min() > 0
    assert model.applied(x, grad_e, nothing).norm() > 0.01
    assert model.applied(x, nothing, grad_s).norm() > 0.01


def test_gradients_of_a_gfinn_are_the_derivatives_of_its_functions():
    model, x = made("gfinn"), inputs().requires_grad_(True)
    for function, found in zip((model.energy, model.entropy), model.gradients(x), strict=True):
        (expected,) = torch.autograd.grad(function(x).sum(), x)
        torch.testing.assert_close(found, expected)


def test_gfinn_needs_two_variables():
    with pytest.raises(ValueError, match="two macroscopic variables or more, got 1"):
        GFINN(1, 0)


def scalers(d):
    scale = torch.linspace(0.3, 2.0, d)
    return replace(
        Scalers.identity(d, 0),
        z_mean=torch.linspace(-1, 1, d),
        z_scale=scale,
        drift_scale=torch.linspace(5.0, 1.0, d),
    )


def along(name, ensemble, z):
    """A member's function of states in their own units."""
    x = (z.double() - ensemble.z_mean.double()) / ensemble.z_scale.double()
    member = KINDS[ensemble.kind](ensemble.variables, 0, **ensemble.options).double()
    member.load_state_dict(
        {k: v[0] for k, v in ensemble.parameters_by_name().items()}, strict=False
    )
    return getattr(member, name)(x).detach().numpy()


@pytest.mark.parametrize(
    ("kind", "name"), [("onsagernet", "energy"), ("gfinn", "energy"), ("gfinn", "entropy")]
)
def test_laws_hold_along_predicted_trajectories_in_the_units_of_z(kind, name):
    """Whatever the scalers are: their rates become one."""
    ensemble = Ensemble(
        kind, variables=4, members=1, options={"hidden": [16, 16]}, scalers=scalers(4), seed=2
    )
    rate = ensemble.drift_scale / ensemble.z_scale
    torch.testing.assert_close(rate, rate[:1].expand(4))
    z0 = ensemble.z_mean + ensemble.z_scale * inputs(4, batch=8).float()
    z = integrate(ensemble, z0, np.linspace(0, 0.02, 11), step=0.001)[0]
    values = along(name, ensemble, z)
    change = np.diff(values, axis=1)
    if (kind, name) == ("gfinn", "energy"):
        assert np.abs(values - values[:, :1]).max() < 1e-4 * np.ptp(values)
        assert np.abs(np.diff(z, axis=1)).max() > 1e-4
    elif name == "entropy":
        assert change.min() > 0
    else:
        assert change.max() < 0


@pytest.mark.parametrize("kind", KINDS)
def test_with_noise_they_serve_stochastic_systems(kind):
    ensemble = Ensemble(
        kind, variables=3, members=2, options={"hidden": [8], "covariance": "full"}, seed=2
    )
    quiet = Ensemble(kind, variables=3, members=2, options={"hidden": [8]}, seed=2)
    z = inputs(3).float()
    assert ensemble.noisy and not quiet.noisy
    torch.testing.assert_close(ensemble.drift(z), quiet.drift(z))
    covariance = ensemble.covariance(z)
    assert torch.linalg.eigvalsh(covariance).min() > 0
    with pytest.raises(ValueError, match="has no noise"):
        quiet.covariance(z)
    still = ensemble(z)[1]
    assert still.shape == (2, 64, 3, 3)


FRICTION, NOISE = 0.4, 0.05


def heating(z):
    """A damped oscillator and the heat that it makes; q^2 / 2 + p^2 / 2 + heat is kept."""
    q, p, _ = z.T
    return np.stack([p, -q - FRICTION * p, FRICTION * p**2], axis=1)


def settling(z):
    """A spiral towards the origin, and a third variable that relaxes on its own."""
    q, p, heat = z.T
    return np.stack([-0.3 * q + p, -q - 0.3 * p, -0.5 * heat], axis=1)


# The product of many small matrices of a GFINN takes longer, and longer to train.
@pytest.mark.parametrize(
    ("kind", "law", "limit"), [("onsagernet", settling, 0.1), ("gfinn", heating, 0.45)]
)
def test_drift_and_noise_are_learned_from_increments(kind, law, limit):
    rng = np.random.default_rng(4)
    n, dt = 8000, 0.02
    z = rng.uniform(-1, 1, size=(n, 3))
    kick = NOISE * np.sqrt(dt) * rng.normal(size=z.shape)
    data = TransitionData(
        z=torch.from_numpy(z).float(),
        increment=torch.from_numpy(law(z) * dt + kick).float(),
        elapsed=torch.full((n,), dt),
        conditions=torch.zeros(n, 0),
        group=torch.arange(n) % 100,
    )
    settings = DynamicsSettings(
        model=kind, members=2, hidden=(24,), steps=400, batch=128, learning_rate=5e-3
    )
    model, _ = train_ensemble(*data.split(0.15, seed=0), settings, seed=1)
    assert model.kind == kind and model.options["hidden"] == [24]
    with torch.no_grad():
        drift, covariance = model.drift(data.z).numpy(), model.covariance(data.z).numpy()
    off = np.square(drift - law(z)).sum(-1).mean(-1) / np.square(law(z)).sum(-1).mean()
    assert np.sqrt(off).max() < limit
    exact = NOISE**2 * np.eye(3)
    assert np.abs(covariance - exact).mean((0, 1)).max() < limit * NOISE**2


def test_what_is_no_network_is_not_trained():
    none = torch.zeros(4, 0)
    data = TransitionData(
        z=torch.zeros(4, 1),
        increment=torch.zeros(4, 1),
        elapsed=torch.ones(4),
        conditions=none,
        group=torch.arange(4),
    )
    with pytest.raises(ValueError, match="polynomial is not trained: fit_polynomials fits it"):
        train_ensemble(data, data, DynamicsSettings(model="polynomial"))


@pytest.mark.parametrize("kind", KINDS)
def test_an_ensemble_with_laws_is_saved_and_loaded(kind, tmp_path):
    ensemble = Ensemble(
        kind, variables=3, members=2, options={"hidden": [8]}, scalers=scalers(3), seed=2
    )
    ensemble.save(tmp_path / "model.safetensors")
    z = inputs(3).float()
    loaded = Ensemble.load(tmp_path / "model.safetensors")
    assert torch.equal(loaded.drift(z), ensemble.drift(z))
