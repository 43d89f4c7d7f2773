"""Encoders of coordinates: Jacobians, conditioning, principal modes, what is written and read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.closure import (
    Autoencoder,
    Descriptors,
    Modes,
    Network,
    load_encoder,
    principal_descriptors,
    principal_modes,
)
from macrodyn.closure.conditioning import condition_number, dense_gram, dense_jacobian, gram
from macrodyn.closure.coordinates import CoordinateClosureSettings, find_closure
from macrodyn.closure.encoders import jacobian, macrostates
from macrodyn.closure.layers import Architecture
from macrodyn.systems import Component, ForceSystem, Observable, Parameters, Particles

PARTICLES, COMPONENTS = 6, 2


class Cloud(ForceSystem):
    """Particles whose mean radius is observed; y is scaled to a radius of 1."""

    space = Particles(("x", "y"))
    observables = (Observable("square"),)
    macrostate = (Component("square"),)
    Parameters = Parameters

    def initial_states(self, macrostate, shape, seeds):
        raise NotImplementedError

    def trajectories(self, states, times, seeds):
        raise NotImplementedError

    def forces(self, states, coordinates):
        raise NotImplementedError

    def observe(self, states):
        return np.square(states).sum((1, 2))[:, None]

    def gradient(self, states):
        return 2 * states[:, None]

    def complement(self, states):
        return states / np.sqrt(self.observe(states))[..., None]

    def pull_back(self, states, modes):
        norm = np.sqrt(self.observe(states))[..., None, None]
        unit = states[:, None] / norm
        modes = np.broadcast_to(modes, (len(states), *modes.shape[-3:]))
        return (modes - unit * (modes * unit).sum((2, 3), keepdims=True)) / norm

    descriptor_names = ("stretch", "skew", "turn", "nothing")

    def descriptors(self, y):
        a, b = y[..., 0], y[..., 1]
        given = (np.square(a) - np.square(b), 3 * a**3, a * b, 0 * a)
        return np.stack([value.sum(1) for value in given], axis=1)

    def descriptor_rows(self, y):
        a, b = y[..., 0], y[..., 1]
        pairs = ((2 * a, -2 * b), (9 * a**2, 0 * b), (b, a), (0 * a, 0 * b))
        return np.stack([np.stack(pair, axis=-1) for pair in pairs], axis=1)


@pytest.fixture
def cloud():
    return Cloud(Parameters())


@pytest.fixture
def states():
    return np.random.default_rng(5).normal(size=(40, PARTICLES, COMPONENTS))


def autoencoder(channels=(5, 4), observables=1, closure=3):
    model = Autoencoder(
        Architecture(
            kind="coordinates",
            patch=(COMPONENTS,),
            state_channels=PARTICLES,
            observables=observables,
            closure_dim=closure,
            encoder="dense",
            channels=channels,
            hidden=8,
        ),
        seed=2,
    )
    model.field_scale.copy_(torch.linspace(0.5, 2.0, PARTICLES * COMPONENTS).view(PARTICLES, -1))
    model.closure_scale.copy_(torch.tensor([1.0, 2.0, 0.5])[:closure])
    return model.double()


@pytest.mark.parametrize("channels", [(5,), (5, 4), (6, 5, 4)])
def test_closed_form_of_a_dense_encoder_is_that_of_automatic_differentiation(channels, states):
    model, x = autoencoder(channels), torch.from_numpy(states)
    jac = torch.func.vmap(torch.func.jacrev(lambda s: model.encode(s[None])[0]))(x).flatten(2)
    torch.testing.assert_close(dense_jacobian(model, x), jac)
    torch.testing.assert_close(dense_gram(model, x), gram(model.encode, x))


def test_rows_of_observables_stand_first_in_the_closed_form(states):
    model, x = autoencoder(), torch.from_numpy(states)

    def both(s):
        return torch.cat([s.square().sum((1, 2))[:, None], model.encode(s)], dim=1)

    others = (2 * x).flatten(1)[:, None]
    torch.testing.assert_close(dense_gram(model, x, others), gram(both, x))


def test_condition_number_and_its_gradient(states):
    model, x = autoencoder(), torch.from_numpy(states)
    found = condition_number(dense_gram(model, x))
    expected = np.linalg.cond(dense_jacobian(model, x).detach().numpy()) ** 2
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-8)
    weight = model.first_layer.weight
    (slope,) = torch.autograd.grad(found.mean(), weight)
    step = torch.zeros_like(weight)
    step[1, 2] = 1e-6
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight.add_(sign * step)
            values.append(condition_number(dense_gram(model, x)).mean())
            weight.sub_(sign * step)
    np.testing.assert_allclose((values[0] - values[1]) / 2e-6, slope[1, 2], rtol=1e-5)


@pytest.mark.parametrize("number", [5, 40], ids=["fewer snapshots", "more snapshots"])
def test_principal_modes_are_orthonormal_and_by_variance(number, states):
    snapshots = states[:number] * np.linspace(1, 3, PARTICLES)[:, None]
    modes = principal_modes(snapshots, 3)
    flat = modes.modes.reshape(3, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(3), atol=1e-12)
    centred = (snapshots - snapshots.mean(0)).reshape(number, -1)
    expected = np.linalg.svd(centred, compute_uv=False)[:3]
    zhat = modes.encode(snapshots)
    np.testing.assert_allclose(np.sqrt(np.square(zhat).sum(0)), expected, rtol=1e-9)
    np.testing.assert_allclose(zhat.mean(0), 0, atol=1e-12)


def test_more_modes_than_directions_are_refused(states):
    with pytest.raises(ValueError, match=r"closure\.dimension is 4, but the snapshots span 3"):
        principal_modes(states[:4], 4)


@pytest.fixture(params=["modes", "dense", "descriptors"])
def encoder(request, states, cloud):
    if request.param == "modes":
        return principal_modes(cloud.complement(states), 3)
    if request.param == "descriptors":
        return principal_descriptors(cloud, cloud.complement(states), 3)
    return Network(autoencoder())


def test_jacobian_is_the_derivative_of_the_macrostate(encoder, states, cloud):
    found = jacobian(cloud, encoder, states)
    assert found.shape == (40, 4, PARTICLES * COMPONENTS)
    step = np.zeros_like(states)
    step[:, 3, 1] = 1e-6
    change = macrostates(cloud, encoder, states + step) - macrostates(cloud, encoder, states - step)
    np.testing.assert_allclose(found[:, :, 3 * COMPONENTS + 1], change / 2e-6, atol=1e-7)


def test_closure_rows_are_orthogonal_to_the_observables(encoder, states, cloud):
    found = jacobian(cloud, encoder, states)
    mixed = np.einsum("nj,nkj->nk", found[:, 0], found[:, 1:])
    np.testing.assert_allclose(mixed, 0, atol=1e-12)


def test_an_encoder_is_written_and_read(encoder, states, cloud, tmp_path):
    encoder.save(tmp_path / "model.safetensors", {"who": "test"})
    read = load_encoder(tmp_path / "model.safetensors", cloud)
    assert type(read) is type(encoder)
    expected = macrostates(cloud, encoder, states)
    np.testing.assert_allclose(macrostates(cloud, read, states), expected, rtol=1e-6, atol=1e-6)


def test_principal_descriptors_are_uncorrelated_and_in_units_of_the_coordinates(states, cloud):
    y = cloud.complement(states)
    encoder = principal_descriptors(cloud, y, 3)
    zhat = encoder.encode(y)
    covariance = np.cov(zhat.T, ddof=0)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-12)
    np.testing.assert_allclose(zhat.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(np.square(encoder.rows(y)).sum((2, 3)).mean(0), 1.0)
    # Exchanged particles are the same state.
    np.testing.assert_allclose(encoder.encode(y[:, ::-1]), zhat, atol=1e-12)
    settings = CoordinateClosureSettings(encoder="descriptors", dimension=3)
    found, history = find_closure(
        y, None, cloud.observe(states), settings, groups=np.arange(40), system=cloud
    )
    np.testing.assert_array_equal(found.encode(y), zhat)
    assert len(history.best_loss) == 0


def test_descriptors_that_are_not_there_are_refused(states, cloud, tmp_path):
    y = cloud.complement(states)
    with pytest.raises(ValueError, match=r"closure\.dimension is 4, but the descriptors span 3"):
        principal_descriptors(cloud, y, 4)
    settings = CoordinateClosureSettings(encoder="descriptors")
    with pytest.raises(ValueError, match="the system has none"):
        find_closure(y, None, cloud.observe(states), settings, groups=np.arange(40))
    principal_descriptors(cloud, y, 2).save(tmp_path / "model.safetensors", {})
    with pytest.raises(ValueError, match="give the system that it was made for"):
        load_encoder(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="do not fit 4 descriptors"):
        Descriptors(cloud, np.zeros((2, 3)), np.zeros(3))


def test_modes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Modes(np.zeros((2, 3, 2)), np.zeros((4, 2)))


def trained(states, cloud, rows=False, **changes):
    """An autoencoder of states on a surface of three dimensions."""
    settings = CoordinateClosureSettings(
        encoder="dense", dimension=2, channels=(16,), hidden=16, steps=400, batch=64, **changes
    )
    gradients = cloud.gradient(states) if rows else None
    y = states if rows else cloud.complement(states)
    groups = np.arange(len(states)) % 10
    return find_closure(y, gradients, cloud.observe(states), settings, groups=groups, seed=3)


@pytest.fixture(scope="module")
def surface():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(3, PARTICLES, COMPONENTS))
    return np.einsum("nk,kpc->npc", rng.normal(size=(600, 3)), base) + 0.5 * base[0]


@pytest.mark.parametrize("rows", [False, True], ids=["closure alone", "with the observable"])
def test_penalty_lowers_the_condition_number(rows, surface):
    cloud = Cloud(Parameters())
    numbers = {}
    for penalty in (0.0, 0.1):
        encoder, history = trained(surface, cloud, rows, condition_penalty=penalty)
        jac = encoder.rows(surface if rows else cloud.complement(surface)).reshape(600, 2, -1)
        if rows:
            own = cloud.gradient(surface).reshape(600, 1, -1)
            size = np.sqrt(np.square(own).sum(2).mean())
            jac = np.concatenate([own / size, jac], axis=1)
        numbers[penalty] = np.median(np.linalg.cond(jac) ** 2)
        assert penalty or history.best_loss[0] < 1.0
    assert numbers[0.1] < 0.7 * numbers[0.0]


def test_closure_variables_have_gradients_of_size_one(surface):
    encoder, _ = trained(surface, Cloud(Parameters()))
    rows = encoder.rows(Cloud(Parameters()).complement(surface))
    np.testing.assert_allclose(np.square(rows).sum((2, 3)).mean(), 1.0, rtol=0.1)


def test_weight_decay_arrives(surface):
    found = []
    for decay in (0.0, 10.0):
        encoder, _ = trained(surface[:100], Cloud(Parameters()), weight_decay=decay)
        found.append(float(encoder.model.first_layer.weight.square().sum()))
    assert found[1] < 0.9 * found[0]
