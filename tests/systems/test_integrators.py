"""Orders of the integrators, in float64, against closed forms and common Brownian paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial

from macrodyn.systems.shared.integrators import (
    SCHEMES,
    Workspace,
    euler_maruyama_step,
    runge_kutta_step,
)

NAMES = list(SCHEMES)
RATE, NOISE = 1.3, 0.5


def relax(x, out):
    """Ornstein-Uhlenbeck drift."""
    torch.mul(x, -RATE, out=out)


def grow(x, out):
    """Logistic drift x (1 - x)."""
    torch.mul(x, 1.0 - x, out=out)


def integrate(step_function, drift, x, step, kicks):
    """End state after one step for each of the kicks (None: no noise)."""
    x = x.clone()
    work = Workspace.like(x)
    for kick in kicks:
        step_function(x, drift, step, kick, work)
    return x


def slope(steps, errors):
    return np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("drift", [relax, grow], ids=["OU", "logistic"])
@pytest.mark.parametrize("name", NAMES)
def test_strong_order_is_one(name, drift):
    # Mean absolute difference from the same paths with steps 16 times finer than the finest. From
    # 0.8 and with this noise no path comes near the negative values from which it would run away.
    rng = torch.Generator().manual_seed(5)
    paths, finest, time, noise = 2000, 2048, 1.0, 0.3
    h = time / finest
    fine = noise * math.sqrt(h) * torch.randn(finest, paths, generator=rng, dtype=torch.float64)
    start = torch.full((paths,), 0.8, dtype=torch.float64)
    exact = integrate(runge_kutta_step, drift, start, h, fine)
    counts = np.array([8, 16, 32, 64, 128])
    errors = []
    for count in counts:
        kicks = fine.reshape(count, -1, paths).sum(dim=1)
        end = integrate(SCHEMES[name], drift, start, time / count, kicks)
        errors.append(float((end - exact).abs().mean()))
    assert slope(time / counts, errors) == pytest.approx(1.0, abs=0.15)


def test_weak_errors_of_ou_are_of_order_one_and_two():
    # For a linear drift a step is x -> R x + G kick: its moments are propagated exactly.
    time, x0 = 1.0, 2.0
    mean = x0 * math.exp(-RATE * time)
    variance = NOISE**2 * (1 - math.exp(-2 * RATE * time)) / (2 * RATE)
    counts = np.array([8, 16, 32, 64])
    errors = {name: [] for name in NAMES}
    for name in NAMES:
        for count in counts:
            h = time / count
            one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
            r = float(integrate(SCHEMES[name], relax, one, h, [zero]))
            g = float(integrate(SCHEMES[name], relax, zero, h, [one]))
            m, v = x0, 0.0
            for _ in range(count):
                m, v = r * m, r * r * v + g * g * NOISE**2 * h
            errors[name].append((abs(m - mean), abs(v - variance)))
    euler, runge = (np.array(errors[name]) for name in ("euler-maruyama", "runge-kutta"))
    assert slope(1 / counts, euler[:, 0]) == pytest.approx(1.0, abs=0.15)
    assert slope(1 / counts, euler[:, 1]) == pytest.approx(1.0, abs=0.15)
    assert slope(1 / counts, runge[:, 0]) == pytest.approx(4.0, abs=0.15)
    assert slope(1 / counts, runge[:, 1]) == pytest.approx(2.0, abs=0.15)


def logistic_moment(power, x, step):
    """E x(step)^power of the logistic SDE: series of its generator, all polynomials exact."""
    drift = Polynomial([0, 1, -1])
    g = Polynomial([0] * power + [1])
    total, factor = g(x), 1.0
    for order in range(1, 13):
        g = drift * g.deriv() + 0.5 * NOISE**2 * g.deriv(2)
        factor *= step / order
        total += factor * g(x)
    return total


def one_step_moment(step_function, power, x, step):
    """E x^power after one step, by Gauss-Hermite quadrature, exact for these polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    start = torch.full((len(nodes),), x, dtype=torch.float64)
    kick = NOISE * math.sqrt(step) * torch.from_numpy(nodes)
    end = integrate(step_function, grow, start, step, [kick]).numpy()
    return weights @ end**power / weights.sum()


def constant_force_step(x, drift, step, kick, work):
    """Runge-Kutta with the noise as a constant force during the step."""

    def forced(state, out):
        drift(state, out)
        out.add_(kick / step)

    runge_kutta_step(x, forced, step, None, work)


@pytest.mark.parametrize(
    ("step_function", "orders"),
    [(euler_maruyama_step, (1, 1)), (runge_kutta_step, (3, 2)), (constant_force_step, (1, 1))],
    ids=["euler-maruyama", "runge-kutta", "constant force"],
)
def test_weak_order_for_a_nonlinear_drift(step_function, orders):
    # Of the first two moments; for this drift the mean happens to be better by one order. The
    # error of one step is of one order more than that of many.
    steps, x = np.array([0.04, 0.02, 0.01, 0.005]), 0.1
    for power, order in enumerate(orders, start=1):
        errors = [
            abs(one_step_moment(step_function, power, x, h) - logistic_moment(power, x, h))
            for h in steps
        ]
        assert slope(steps, errors) == pytest.approx(order + 1, abs=0.15)


def test_a_constant_force_has_the_weak_error_that_the_docstring_gives():
    h, curvature = 1e-3, -2.0
    error = one_step_moment(constant_force_step, 1, 0.3, h) - logistic_moment(1, 0.3, h)
    assert error / h**2 == pytest.approx(-curvature * NOISE**2 / 12, rel=0.02)


@pytest.mark.parametrize(("name", "order"), [("euler-maruyama", 1), ("runge-kutta", 4)])
def test_order_without_noise(name, order):
    time, x0 = 2.0, 0.1
    exact = x0 * math.exp(time) / (1 + x0 * (math.exp(time) - 1))
    counts = np.array([16, 32, 64, 128])
    start = torch.tensor([x0], dtype=torch.float64)
    errors = [
        abs(float(integrate(SCHEMES[name], grow, start, time / n, [None] * n)) - exact)
        for n in counts
    ]
    assert slope(time / counts, errors) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_no_noise_is_noise_of_zero(name):
    start = torch.linspace(0.1, 2.0, 37)
    silent = integrate(SCHEMES[name], grow, start, 0.1, [None] * 5)
    zero = integrate(SCHEMES[name], grow, start, 0.1, [torch.zeros(37)] * 5)
    torch.testing.assert_close(silent, zero, rtol=0, atol=0)
