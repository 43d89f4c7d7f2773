"""Polynomials: recover known functions, keep Sigma positive, and come back from outside."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from macrodyn.dynamics import DynamicsSettings, Ensemble, TransitionData, integrate
from macrodyn.dynamics.chebyshev import (
    chebyshev_exponents,
    chebyshev_features,
    feature_number,
    told_number,
)
from macrodyn.dynamics.constraints import LinearConstraint
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.dynamics.polynomial_noise import fit_noise, gamma_regression

POLYNOMIAL = DynamicsSettings(model="polynomial", members=5)
DT = 0.1


def drift(z: np.ndarray) -> np.ndarray:
    """A double well in m, and r that follows m^2; shape [..., 2]."""
    m, r = z[..., 0], z[..., 1]
    return np.stack([m - m**3 + 0.1 * (r - m * m), -0.5 * (r - m**2)], axis=-1)


def factor(z: np.ndarray) -> np.ndarray:
    """Cholesky factor of the covariance rate, shape [..., 2, 2]."""
    m = z[..., 0]
    found = np.zeros((*z.shape, 2))
    found[..., 0, 0] = 0.1 * np.sqrt(1.2 - 0.5 * np.tanh(m) ** 2)
    found[..., 1, 0], found[..., 1, 1] = 0.03 * m, 0.05 * (1 + 0.3 * np.tanh(m))
    return found


def double_well(seed: int = 0, groups: int = 48, patches: int = 1) -> TransitionData:
    """Transitions along trajectories of the two wells; the mean of `patches` independent ones."""
    rng = np.random.default_rng(seed)
    m = np.repeat(rng.uniform(-1.4, 1.4, groups), 16)
    z = np.stack([m, m**2 + 0.3 * rng.normal(size=m.size)], axis=-1)
    states, increments = [], []
    for _ in range(12):
        kick = rng.normal(size=(*z.shape, patches)).mean(axis=-1) * np.sqrt(DT)
        states.append(z)
        increments.append(drift(z) * DT + np.einsum("nij,nj->ni", factor(z), kick))
        for _ in range(4):
            kick = rng.normal(size=z.shape) * np.sqrt(DT)
            z = z + drift(z) * DT + np.einsum("nij,nj->ni", factor(z), kick)
    z, increment = np.concatenate(states), np.concatenate(increments)
    return TransitionData(
        z=torch.tensor(z, dtype=torch.float32),
        increment=torch.tensor(increment, dtype=torch.float32),
        elapsed=torch.full((len(z),), DT),
        conditions=torch.zeros(len(z), 0),
        group=torch.as_tensor(np.tile(np.repeat(np.arange(groups), 16), 12)),
        factor=1.0 / patches,
    )


def fitted(data: TransitionData, settings: DynamicsSettings = POLYNOMIAL, seed: int = 1, **more):
    return fit_polynomials(*data.split(0.15, seed=0), settings, seed=seed, **more)


@pytest.fixture(scope="module")
def wells():
    return fitted(double_well(patches=16))


def states(data: TransitionData) -> torch.Tensor:
    """Some of the states that were fitted to: not those of the groups that were held out."""
    return data.split(0.15, seed=0)[0].z[::11]


def relative(found: np.ndarray, true: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - true).sum() / np.square(true).sum()))


def test_features_are_products_of_chebyshev_polynomials():
    u = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    exponents = chebyshev_exponents(3, 5)
    assert len(exponents) == feature_number(3, 5) == len({tuple(e) for e in exponents})
    assert list(exponents.sum(axis=1)) == sorted(exponents.sum(axis=1))
    expected = np.prod(np.cos(exponents * np.arccos(u)[:, None]), axis=2)
    found = chebyshev_features(torch.from_numpy(u), exponents).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_drift_and_covariance_are_recovered(wells):
    ensemble, _, selection = wells
    z = states(double_well(patches=16))
    true = z.double().numpy()
    found = ensemble.drift(z).double().numpy()
    assert selection.degree == 3
    assert relative(found.mean(axis=0), drift(true)) < 0.04
    sigma = factor(true) @ factor(true).transpose(0, 2, 1)
    assert relative(ensemble.covariance(z).double().numpy().mean(axis=0), sigma) < 0.06


def test_members_spread_as_much_as_they_err(wells):
    """Resamples of the groups scatter as fits to other data do."""
    ensemble, _, _ = wells
    z = states(double_well(patches=16))
    members = ensemble.drift(z).double().numpy()
    mean = members.mean(axis=0)
    spread = np.sqrt(np.square(members - mean).sum() / (len(members) - 1))
    error = np.linalg.norm(mean - drift(z.double().numpy()))
    assert 0.4 < spread / error < 2.5


def test_noise_of_the_increments_is_no_reason_for_a_high_degree():
    """Of a linear drift, cross-validation chooses the line."""
    rng = np.random.default_rng(3)
    z = rng.uniform(-1, 1, (20_000, 1))
    increment = -0.5 * z * DT + 0.3 * np.sqrt(DT) * rng.normal(size=z.shape)
    data = TransitionData(
        z=torch.tensor(z, dtype=torch.float32),
        increment=torch.tensor(increment, dtype=torch.float32),
        elapsed=torch.full((len(z),), DT),
        conditions=torch.zeros(len(z), 0),
        group=torch.arange(len(z)) % 50,
    )
    ensemble, history, selection = fitted(data)
    assert selection.degree == 1 and selection.noise_degree <= 1
    assert history.steps == list(selection.drift.degrees) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(history.best_loss) == ensemble.members


def test_drift_is_fitted_to_what_is_compensated():
    data = double_well(groups=12)
    exact = torch.tensor(drift(data.z.double().numpy()) * DT, dtype=torch.float32)
    z = states(data)
    true, triangle = drift(z.double().numpy()), factor(z.double().numpy())
    plain = fitted(data)[0].drift(z).mean(0).numpy()
    ensemble = fitted(replace(data, compensated=exact))[0]
    assert relative(ensemble.drift(z).mean(0).numpy(), true) < 1e-3 < 0.02 < relative(plain, true)
    # The covariance is still that of the increments.
    sigma = triangle @ triangle.transpose(0, 2, 1)
    assert relative(ensemble.covariance(z).mean(0).numpy(), sigma) < 0.15


def test_covariance_counts_the_factor():
    """The mean of four patches has a quarter of the covariance, which the factor takes out."""
    data = double_well(patches=4)
    z = states(data)
    true = factor(z.double().numpy())
    true = true @ true.transpose(0, 2, 1)
    assert relative(fitted(data)[0].covariance(z).mean(0).numpy(), true) < 0.06


@pytest.mark.parametrize("form", ["full", "diagonal", "constant"])
def test_covariance_is_positive_definite_everywhere(form):
    settings = DynamicsSettings(model="polynomial", members=2, covariance=form)
    ensemble, _, _ = fitted(double_well(groups=8), settings)
    far = torch.tensor(list(itertools.product(np.linspace(-30, 30, 13), repeat=2))).float()
    near = torch.tensor(list(itertools.product(np.linspace(-2, 2, 21), repeat=2))).float()
    covariance = ensemble.covariance(torch.cat([near, far])).double()
    assert float(torch.linalg.eigvalsh(covariance).min()) > 1e-6
    assert float(covariance.abs().max()) < 1.0
    off = covariance[..., 0, 1].abs().max()
    assert (float(off) == 0.0) == (form == "diagonal")


def test_trajectories_come_back_from_outside(wells):
    """Also from parts of the range's box without data, where plain polynomials lead away."""
    ensemble, _, _ = wells
    starts = torch.tensor(
        [[3.0, 0], [-3, 5], [0, -2], [1, -1], [-1.2, 3], [2, 4], [0.5, 2.5], [1.4, -1]]
    ).repeat_interleave(10, 0)
    z = integrate(ensemble, starts, [0.0, 100.0, 200.0], step=DT, seed=0)
    assert float((z[:, :, 1:, 0].abs() - 1).abs().max()) < 0.5
    assert float((z[:, :, 1:, 1] - 1).abs().max()) < 0.6


def test_edge_of_an_outward_drift_holds_no_trajectory():
    """A drift that leads out at the data's edge is not believed beyond it."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (20_000, 1))
    # Inward but for the last tenth of the range.
    true = np.where(z < 0.9, -z, 3.0 * (z - 0.9) - 0.9 + 12 * (z - 0.9))
    increment = true * DT + 0.05 * np.sqrt(DT) * rng.normal(size=z.shape)
    data = TransitionData(
        z=torch.tensor(z, dtype=torch.float32),
        increment=torch.tensor(increment, dtype=torch.float32),
        elapsed=torch.full((len(z),), DT),
        conditions=torch.zeros(len(z), 0),
        group=torch.arange(len(z)) % 50,
    )
    ensemble, _, _ = fitted(data)
    assert float(ensemble.drift(torch.tensor([[1.0]])).max()) > 0.1
    beyond = ensemble.drift(torch.linspace(1.2, 5.0, 40)[:, None])
    assert float(beyond.max()) < 0
    inside = integrate(ensemble, torch.full((20, 1), 3.0), [0.0, 20.0], step=0.01, seed=0)
    assert float(inside[:, :, -1].max()) < 1.2


def test_saved_and_loaded(wells, tmp_path):
    ensemble, _, _ = wells
    ensemble.save(tmp_path / "model.safetensors", {"dt": DT})
    loaded = Ensemble.load(tmp_path / "model.safetensors")
    z = torch.randn(20, 2)
    assert torch.equal(loaded.drift(z), ensemble.drift(z))
    assert torch.equal(loaded.covariance(z), ensemble.covariance(z))
    assert loaded.domain == ensemble.domain


def test_same_seed_same_members_and_a_single_one_sees_everything():
    data = double_well(groups=8)
    one, other = (fitted(data)[0].drift(data.z) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, fitted(data, seed=2)[0].drift(data.z))
    alone = DynamicsSettings(model="polynomial", members=1)
    first, second = (fitted(data, alone, seed=s)[0].drift(data.z) for s in (1, 2))
    # Folds and blocks differ, the data do not.
    assert relative(first.numpy(), second.numpy()) < 0.05


def test_conditions_are_inputs():
    rng = np.random.default_rng(0)
    n = 8000
    z, rate = rng.uniform(-1, 1, (n, 1)), rng.choice([0.5, 1.0, 1.5], (n, 1))
    increment = -rate * z * DT + 0.05 * np.sqrt(DT) * rng.normal(size=z.shape)
    data = TransitionData(
        z=torch.tensor(z, dtype=torch.float32),
        increment=torch.tensor(increment, dtype=torch.float32),
        elapsed=torch.full((n,), DT),
        conditions=torch.tensor(rate, dtype=torch.float32),
        group=torch.arange(n) % 40,
    )
    ensemble, _, _ = fitted(data)
    for value in (0.5, 1.25):
        found = ensemble.drift(torch.tensor([[0.8]]), torch.tensor([[value]])).mean()
        assert float(found) == pytest.approx(-value * 0.8, rel=0.1)


def test_linear_relations_hold():
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, (4000, 1))
    change = -0.5 * y * DT + 0.05 * np.sqrt(DT) * rng.normal(size=y.shape)
    constraint = LinearConstraint.of([[1.0, 1.0]], [1.0])
    data = TransitionData(
        z=torch.tensor(np.concatenate([y, 1 - y], 1), dtype=torch.float32),
        increment=torch.tensor(np.concatenate([change, -change], 1), dtype=torch.float32),
        elapsed=torch.full((4000,), DT),
        conditions=torch.zeros(4000, 0),
        group=torch.arange(4000) % 20,
    )
    ensemble, _, _ = fitted(data, constraint=constraint)
    found = ensemble.drift(data.z)
    assert float(found.sum(-1).abs().max()) < 1e-6
    assert relative(found.mean(0)[:, :1].numpy(), -0.5 * y) < 0.1


def test_few_samples_and_few_groups():
    data = double_well(groups=4)
    little = data.select(torch.arange(0, len(data), 25))
    ensemble, _, selection = fitted(little)
    assert feature_number(2, selection.degree) * 10 <= len(little)
    assert bool(torch.isfinite(ensemble.drift(little.z)).all())
    with pytest.raises(ValueError, match="two groups"):
        fit_polynomials(*double_well(groups=2).split(0.5, seed=0), POLYNOMIAL)


def test_gamma_regression_is_the_maximum_of_the_likelihood():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 50_000)
    features = np.stack([np.ones_like(x), x], axis=1)
    squares = np.exp(0.3 + 1.5 * x) * rng.normal(size=x.size) ** 2
    found = gamma_regression(features, squares, np.ones_like(x))
    np.testing.assert_allclose(found, [0.3, 1.5], atol=0.04)
    score = features.T @ (squares * np.exp(-features @ found) - 1) / x.size
    assert np.abs(score).max() < 1e-4


def test_noise_of_several_patches_is_their_joint_likelihood():
    """m vectors that depend on each other through Sigma alone."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 20_000)
    triangle = np.zeros((x.size, 2, 2))
    triangle[:, 0, 0], triangle[:, 1, 0], triangle[:, 1, 1] = 1 + 0.3 * x, 0.8 * x, 0.5
    vectors = np.einsum("nij,nmj->nmi", triangle, rng.normal(size=(x.size, 3, 2)))
    squares = np.einsum("nmi,nmj->nij", vectors, vectors)
    features = np.stack([np.ones_like(x), x, 2 * x * x - 1], axis=1)
    fit = fit_noise(features, squares, 3, np.ones_like(x))
    phi, eta = (features @ fit.coefficients[:, i] for i in (1, 2))
    np.testing.assert_allclose(phi, triangle[:, 1, 0] / triangle[:, 0, 0], atol=0.06)
    np.testing.assert_allclose(np.exp(eta), 0.25, rtol=0.04)


def test_powers_of_a_condition_that_its_values_do_not_tell_apart_are_left_out():
    """Of two temperatures a line is known, not what lies between in other ways."""
    rng = np.random.default_rng(8)
    n, dt = 3000, 0.1
    z = rng.uniform(-1, 1, (n, 1))
    t = rng.choice([1.0, 2.0], n)
    drift = -t[:, None] * z**3
    data = TransitionData(
        z=torch.tensor(z, dtype=torch.float32),
        increment=torch.tensor(drift * dt + 0.003 * rng.normal(size=z.shape), dtype=torch.float32),
        elapsed=torch.full((n,), dt),
        conditions=torch.tensor(t[:, None], dtype=torch.float32),
        group=torch.arange(n) % 30,
    )
    settings = DynamicsSettings(
        model="polynomial", members=2, polynomial={"degrees": (6,), "ridges": (1e-8,)}
    )
    ensemble, _, _ = fit_polynomials(*data.split(0.2, seed=1), settings, seed=0)
    at = torch.linspace(-0.9, 0.9, 9)[:, None]
    for temperature in (1.0, 1.5, 2.0):
        found, _ = ensemble(at.expand(2, -1, -1), torch.full((9, 1), temperature))
        exact = (-temperature * at**3).expand(2, -1, -1)
        torch.testing.assert_close(found.detach(), exact, atol=0.02, rtol=0.0)


@pytest.mark.parametrize(
    ("variables", "values"), [(2, [3]), (2, []), (1, [2, 4]), (3, [1]), (2, [50])]
)
def test_number_of_features_that_are_told(variables, values):
    for degree in (0, 1, 4, 7):
        exponents = chebyshev_exponents(variables + len(values), degree)
        told = (exponents[:, variables:] < np.array(values, int)).all(axis=1)
        assert told_number(variables, values, degree) == told.sum()


def test_powers_that_are_left_out_do_not_count_against_a_degree():
    """Degree 9 of two variables and three temperatures: 145 features that are told, 220 in all."""
    rng = np.random.default_rng(3)
    n = 1500
    z = torch.tensor(rng.uniform(-1, 1, (n, 2)), dtype=torch.float32)
    data = TransitionData(
        z=z,
        increment=-0.1 * z + 0.01 * torch.tensor(rng.normal(size=(n, 2)), dtype=torch.float32),
        elapsed=torch.full((n,), 0.1),
        conditions=torch.tensor(rng.choice([1.0, 2.0, 3.0], (n, 1)), dtype=torch.float32),
        group=torch.arange(n) % 30,
    )
    settings = DynamicsSettings(
        model="polynomial", members=1, polynomial={"degrees": (5, 9), "ridges": (1e-4,)}
    )
    _, _, selection = fit_polynomials(data, data, settings, seed=0)
    assert selection.drift.degrees == (5, 9)
