"""Stationary densities of two variables against exact ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from macrodyn.dynamics import one_variable
from macrodyn.dynamics.two_variables import stationary_density


def cells(low, high, number):
    return low + (high - low) * (np.arange(number) + 0.5) / number


def moments(x, y, p):
    weight = p / p.sum()
    z = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    mean = np.einsum("xy,xyi->i", weight, z)
    return mean, np.einsum("xy,xyi,xyj->ij", weight, z - mean, z - mean)


def linear(matrix, noise, x, y):
    z = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    covariance = np.broadcast_to(noise, (len(x), len(y), 2, 2))
    return stationary_density(x, y, -z @ np.asarray(matrix).T, covariance)


@pytest.mark.parametrize(
    ("matrix", "noise"),
    [
        ([[1.0, 0.0], [0.0, 3.0]], [[2.0, 0.0], [0.0, 1.0]]),
        ([[1.0, 0.4], [0.2, 0.8]], [[1.0, 0.5], [0.5, 0.7]]),
        # Not reversible: it turns.
        ([[1.0, -2.0], [2.0, 1.0]], [[1.0, -0.3], [-0.3, 0.6]]),
    ],
    ids=["apart", "coupled", "turning"],
)
def test_ornstein_uhlenbeck_has_the_covariance_of_lyapunovs_equation(matrix, noise):
    exact = solve_continuous_lyapunov(np.array(matrix), np.array(noise))
    reach = 6 * np.sqrt(np.diag(exact))
    errors = []
    for number in (50, 100):
        x, y = (cells(-r, r, number) for r in reach)
        mean, found = moments(x, y, linear(matrix, np.array(noise), x, y))
        assert mean == pytest.approx(0.0, abs=1e-6)
        errors.append(np.abs(found - exact).max())
    assert errors[1] < 0.01 * np.abs(exact).max()
    # Of second order in the cells' width, but for what the box cuts off.
    assert errors[1] < max(0.35 * errors[0], 1e-6)


def test_density_is_one_over_the_cells():
    x, y = cells(-4, 4, 40), cells(-5, 5, 30)
    p = linear([[1.0, 0.0], [0.0, 1.0]], np.eye(2), x, y)
    assert p.sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1.0)


def test_two_wells_have_the_weights_of_the_potential():
    """Noise that depends on z, and a barrier of 12: one in 2e5 is on top of it."""
    x, y = cells(-1.8, 1.8, 200), cells(-1.5, 1.5, 60)
    first = np.broadcast_to(x[:, None], (200, 60))
    second = np.broadcast_to(y, (200, 60))
    d = 0.06 * (1.2 - 0.2 * first**2)
    mu = -1.4 * first**3 + 1.4 * first + 0.02
    covariance = np.zeros((200, 60, 2, 2))
    covariance[..., 0, 0], covariance[..., 1, 1] = d, 0.2
    p = stationary_density(x, y, np.stack([mu, -second], axis=-1), covariance)
    exact = one_variable.stationary_density(x, mu[:, 0], d[:, 0])
    found = p.sum(axis=1) * (y[1] - y[0])
    assert exact.min() < 1e-6 * exact.max()
    assert found == pytest.approx(exact, rel=0.02, abs=1e-4 * exact.max())
    weights = [part[x > 0].sum() / part.sum() for part in (found, exact)]
    assert 0.6 < weights[1] < 0.9
    assert weights[0] == pytest.approx(weights[1], abs=0.003)


@pytest.mark.parametrize(
    ("x", "drift", "told"),
    [
        (np.array([0.0, 1.0]), np.zeros((2, 3, 2)), "three middles"),
        (np.array([0.0, 1.0, 3.0]), np.zeros((3, 3, 2)), "evenly spaced"),
        (np.array([0.0, 1.0, 2.0]), np.zeros((3, 3)), "has the shape"),
    ],
)
def test_what_is_no_grid_is_refused(x, drift, told):
    covariance = np.broadcast_to(np.eye(2), (len(x), 3, 2, 2))
    with pytest.raises(ValueError, match=told):
        stationary_density(x, np.arange(3.0), drift, covariance)
