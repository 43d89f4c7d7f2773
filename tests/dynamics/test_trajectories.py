"""Trajectories against exact Ornstein-Uhlenbeck statistics."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
import torch

from macrodyn.dynamics import Ensemble, Scalers, integrate, trajectories
from macrodyn.dynamics.trajectories import substep_count
from macrodyn.storage.checkpoints import Checkpoints, Interrupted


def _linear(rate: torch.Tensor, noise: torch.Tensor, members: int = 2) -> Ensemble:
    """dz = -rate z dt + noise dW as a model: a linear drift and a constant covariance."""
    d = len(rate)
    model = Ensemble(
        variables=d,
        members=members,
        options={"hidden": [4], "covariance": "constant"},
        scalers=replace(Scalers.identity(d, 0), diffusion_scale=noise),
        linear_drift=torch.cat([torch.zeros(1, d), -torch.diag(rate)]),
    )
    with torch.no_grad():
        model.parameters_by_name()["drift.out.weight"].zero_()
    return model


NOISE = torch.tensor([[0.8, 0.0], [0.3, 0.5]])


@pytest.fixture
def chunks_of_256(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectories, "_CHUNK", 256)


def test_stationary_covariance_is_exact() -> None:
    """Euler-Maruyama of OU has the covariance sum_k A^k h S A^k, A = 1 - a h, exactly."""
    a, h, replicas = 0.7, 0.05, 4000
    model = _linear(torch.full((2,), a), NOISE)
    path = integrate(model, torch.zeros(replicas, 2), [0.0, 12.0], step=h, seed=1)
    final = path[:, :, -1].reshape(-1, 2).double()
    exact = (NOISE @ NOISE.T).double() * h / (1 - (1 - a * h) ** 2)
    samples = len(final)
    assert bool((final.mean(0).abs() < 4 * (exact.diagonal() / samples).sqrt()).all())
    found = final.T @ final / samples
    variance = exact.diagonal()[:, None] * exact.diagonal()[None] + exact**2
    assert bool(((found - exact).abs() < 4 * (variance / samples).sqrt()).all())


def test_the_mean_converges_with_first_order() -> None:
    model = _linear(torch.ones(1), torch.full((1, 1), 1e-6), members=1)
    errors = []
    for step in (0.2, 0.1, 0.05, 0.025):
        path = integrate(model, torch.ones(1, 1), [0.0, 1.0], step=step)
        errors.append(abs(float(path[0, 0, -1, 0]) - math.exp(-1.0)))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(abs(order - 1.0) < 0.15 for order in orders), orders


def test_recording_times_may_be_uneven() -> None:
    model = _linear(torch.ones(1), torch.full((1, 1), 1e-7), members=1)
    times = [1.0, 1.004, 1.5, 3.0]
    path = integrate(model, torch.ones(1, 1), times, step=0.01)[0, 0, :, 0]
    exact = torch.tensor([0.996, 0.996 * 0.99**49.6, 0.996 * 0.99**199.6])
    assert path[0] == 1.0
    torch.testing.assert_close(path[1:], exact, rtol=2e-4, atol=0.0)


@pytest.mark.parametrize(
    ("interval", "steps"),
    [(0.25, 1), (0.3333, 2), (0.5, 2), (0.26, 2), (0.1, 1), (0.25 + 1e-10, 1), (300.0, 1200)],
)
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_no_step_is_longer_than_asked(interval: float, steps: int, unit: float) -> None:
    assert substep_count(interval * unit, 0.25 * unit) == steps


def test_a_step_that_does_not_divide_the_interval_is_shortened() -> None:
    """Of dz/dt = -z, recorded every third: two steps of a sixth, not one of a third."""
    model = _linear(torch.ones(1), torch.full((1, 1), 1e-7), members=1)
    path = integrate(model, torch.ones(1, 1), [0.0, 1 / 3], step=0.25)[0, 0, :, 0]
    assert float(path[1]) == pytest.approx((1 - 1 / 6) ** 2, rel=1e-4)


def test_one_recording_time_gives_the_initial_states() -> None:
    z0 = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    path = integrate(_linear(torch.ones(2), NOISE), z0, [7.0], step=0.1)
    assert torch.equal(path, z0[None, :, None].expand(2, 3, 1, 2))


def test_bounds_are_kept() -> None:
    model = _linear(torch.full((2,), 0.1), 3.0 * NOISE)
    bounds = [(-1.0, 1.0), (0.0, math.inf)]
    z0 = torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    path = integrate(model, z0, torch.arange(50.0), step=0.5, bounds=bounds)
    assert bool((path[..., 0].abs() <= 1.0).all())
    assert bool((path[..., 1] >= 0.0).all())
    assert float(path[..., 1].max()) > 2.0
    open_path = integrate(model, z0, torch.arange(50.0), step=0.5)
    assert float(open_path[..., 0].abs().max()) > 1.0


@pytest.mark.parametrize(
    ("start", "expected"),
    [(0.9, 0.65), (-0.9, -0.65), (0.6, 0.9), (3.0, -1.0)],
    ids=["above", "below", "inside", "beyond-both"],
)
def test_an_overshoot_comes_back_by_as_much(start: float, expected: float) -> None:
    """One noiseless step of dz = z dt takes z to 1.5 z; the bounds are -1 and 1."""
    model = _linear(torch.tensor([-1.0]), torch.full((1, 1), 1e-7), members=1)
    path = integrate(model, torch.full((1, 1), start), [0.0, 0.5], step=0.5, bounds=[(-1.0, 1.0)])
    assert float(path[0, 0, -1, 0]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("form", ["full", "diagonal", "constant"])
@pytest.mark.parametrize("activation", ["silu", "tanh"])
@pytest.mark.usefixtures("chunks_of_256")
def test_one_step_is_that_of_the_model(form: str, activation: str) -> None:
    """A step is that of the drift and the noise that the model gives."""
    generator = torch.Generator().manual_seed(5)
    scalers = Scalers(
        z_mean=torch.tensor([0.3, -2.0]),
        z_scale=torch.tensor([0.5, 3.0]),
        condition_mean=torch.tensor([2.5]),
        condition_scale=torch.tensor([0.2]),
        drift_scale=torch.tensor([0.1, 4.0]),
        diffusion_scale=torch.tensor([[0.1, 0.0], [0.3, 0.2]]),
    )
    model = Ensemble(
        variables=2,
        conditions=1,
        members=3,
        options={"hidden": [8, 8], "activation": activation, "covariance": form},
        scalers=scalers,
        linear_drift=torch.randn(4, 2, generator=generator),
        seed=2,
    )
    z0 = torch.randn(300, 2, generator=generator)
    c = 2.5 + 0.2 * torch.randn(300, 1, generator=generator)
    h = 0.25
    path = integrate(model, z0, [0.0, h], step=h, seed=11, conditions=c)
    with torch.no_grad():
        drift, cholesky = model(z0, c)
    noise_of = torch.Generator().manual_seed(11)
    noise = torch.cat([torch.randn(3, n, 2, generator=noise_of) for n in (256, 44)], dim=1)
    expected = z0 + h * drift + math.sqrt(h) * (cholesky @ noise[..., None])[..., 0]
    torch.testing.assert_close(path[:, :, 1], expected, rtol=1e-4, atol=1e-5)


def test_scaled_noise_is_that_of_a_scaled_covariance() -> None:
    """To rounding, step by step; and the drift stays as it is."""
    z0, times = torch.linspace(-1, 1, 12).reshape(6, 2), [0.0, 0.5, 2.0]
    usual, half = (_linear(torch.ones(2), noise) for noise in (NOISE, NOISE / 2))
    scaled = integrate(usual, z0, times, step=0.25, seed=3, noise=0.5)
    torch.testing.assert_close(scaled, integrate(half, z0, times, step=0.25, seed=3))
    still = integrate(usual, z0, times, step=0.25, noise=0.0)
    decay = torch.tensor([1.0, 0.75**2, 0.75**8])
    torch.testing.assert_close(still[0], z0[:, None] * decay[:, None])


def test_the_scale_of_another_size_is_the_root_of_the_sites() -> None:
    model = _linear(torch.ones(2), NOISE)
    with pytest.raises(ValueError, match="does not say how many sites"):
        model.noise_scale(64)
    model.metadata = {"sites": 1024}
    assert [model.noise_scale(sites) for sites in (256, 1024, 4096)] == [2.0, 1.0, 0.5]


def test_noise_is_seeded_and_differs_between_members() -> None:
    model = _linear(torch.ones(2), NOISE)
    first, again, other = (
        integrate(model, torch.zeros(5, 2), [0.0, 1.0], step=0.1, seed=s) for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_divergence_is_told() -> None:
    model = _linear(torch.full((2,), -50.0), NOISE)
    arguments = (model, torch.ones(3, 2), [0.0, 100.0])
    with pytest.raises(FloatingPointError, match="6 of 6 trajectories diverged"):
        integrate(*arguments, step=0.1)
    assert not bool(torch.isfinite(integrate(*arguments, step=0.1, on_divergence="nan")).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"step": 0.0}, "step", id="step"),
        pytest.param({"times": [0.0, 0.0]}, "increase", id="times"),
        pytest.param({"bounds": [(0.0, 1.0)]}, "Need bounds", id="bounds-number"),
        pytest.param({"bounds": [(1.0, 0.0)] * 2}, "low < high", id="bounds-order"),
        pytest.param({"z0": torch.zeros(3, 1)}, "z0 must be", id="z0"),
    ],
)
def test_wrong_arguments_are_named(change: dict, message: str) -> None:
    arguments = {"z0": torch.zeros(3, 2), "times": [0.0, 1.0], "step": 0.1}
    with pytest.raises(ValueError, match=message):
        integrate(_linear(torch.ones(2), NOISE), **{**arguments, **change})


@pytest.mark.parametrize("stops", [(1,), (4,), (5, 7), (3, 1, 6), (15,)], ids=str)
@pytest.mark.usefixtures("chunks_of_256")
def test_an_interrupted_integration_ends_in_the_same_bits(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """Three chunks of replicas, five intervals each; also between two chunks, and at the end."""
    model = _linear(torch.full((2,), 0.7), NOISE)
    z0 = torch.linspace(-1, 1, 2 * 600).reshape(600, 2)
    times = [0.0, 0.5, 1.0, 1.5, 3.0, 3.5]
    whole = integrate(model, z0, times, step=0.25, seed=4)
    for steps in stops:
        calls = count(1)
        checkpoints = Checkpoints(tmp_path, stop=lambda c=calls, n=steps: next(c) >= n)
        with pytest.raises(Interrupted):
            integrate(model, z0, times, step=0.25, seed=4, checkpoints=checkpoints)
    done: list[int] = []
    resumed = integrate(
        model,
        z0,
        times,
        step=0.25,
        seed=4,
        checkpoints=Checkpoints(tmp_path),
        progress=lambda now, total: done.append(now),
    )
    assert done == list(range(sum(stops) + 1, 16))
    assert torch.equal(resumed, whole)
    other = integrate(model, z0, times, step=0.25, seed=5, checkpoints=Checkpoints(tmp_path))
    assert not torch.equal(other, whole)
