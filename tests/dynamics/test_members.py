"""Members that leave the others are named, and equal members hardly ever."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from macrodyn.dynamics import DynamicsSettings, Ensemble, LatentModel, TransitionData, integrate
from macrodyn.dynamics import latent as latent_module
from macrodyn.dynamics.constraints import LinearConstraint
from macrodyn.dynamics.mean_model import WithMean
from macrodyn.dynamics.members import FALSE_ALARM, distances, drift_distances, null_threshold
from macrodyn.dynamics.polynomial_fit import fit_polynomials

from .test_polynomial import DT, double_well

RATE, NOISE = 0.5, 0.2


class Hooked(LatentModel):
    """dz = -(1 + error) RATE z dt, each member's own error; one may hold a slow region at 1."""

    def __init__(self, variables: int, conditions: int) -> None:
        super().__init__(variables, conditions)
        self.error = torch.nn.Parameter(torch.zeros(variables))
        self.slow = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        well = self.slow * torch.exp(-((inputs - 1.0) ** 2).sum(-1, keepdim=True) / 0.1)
        drift = -RATE * (inputs + self.error) * (1 - well)
        rows, columns = torch.tril_indices(self.variables, self.variables)
        triangle = torch.where(rows == columns, NOISE, 0.0)
        return drift, triangle.expand(*inputs.shape[:-1], -1)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(latent_module.LATENT_MODELS, "hooked", Hooked)


def ensemble(seed: int, members: int = 5, scatter: float = 0.01, slow: float = 0.0) -> Ensemble:
    model = Ensemble("hooked", variables=2, members=members)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        model.stacked["error"].copy_(torch.tensor(scatter * rng.normal(size=(members, 2))))
        model.stacked["slow"][-1] = slow
    return model.requires_grad_(False)


def transitions(seed: int = 0, samples: int = 6000) -> TransitionData:
    rng = np.random.default_rng(seed)
    z = rng.uniform(-2, 2, (samples, 2))
    increment = -RATE * z * DT + NOISE * np.sqrt(DT) * rng.normal(size=z.shape)
    return TransitionData(
        z=torch.tensor(z, dtype=torch.float32),
        increment=torch.tensor(increment, dtype=torch.float32),
        elapsed=torch.full((samples,), DT),
        conditions=torch.zeros(samples, 0),
        group=torch.arange(samples) % 50,
    )


def test_member_with_a_spurious_slow_region_is_named():
    """Only near (1, 1) is its drift another: nowhere else, and on average hardly."""
    found, places = drift_distances(ensemble(0, slow=1.5), transitions(samples=60_000))
    assert found.outliers == [4]
    np.testing.assert_allclose(places[found.place[4]], [1, 1], atol=0.6)
    without, _ = drift_distances(ensemble(0), transitions(samples=60_000))
    assert without.outliers == [] and without.distance.max() < without.threshold


def test_equal_members_are_hardly_ever_named():
    """By construction at most FALSE_ALARM: of 300 ensembles, more than 9 have p < 0.002."""
    data = transitions(samples=2000)
    named = sum(bool(drift_distances(ensemble(s), data)[0].outliers) for s in range(300))
    assert named <= 9


def test_resampled_polynomials_are_not_named():
    settings = DynamicsSettings(model="polynomial", members=5)
    named = 0
    for seed in range(12):
        data = double_well(seed, groups=16)
        fitted, _, _ = fit_polynomials(*data.split(0.15, seed=0), settings, seed=seed)
        named += bool(drift_distances(fitted, data)[0].outliers)
    assert named <= 1


@pytest.mark.parametrize("members", [3, 5, 8])
def test_threshold_is_the_quantile_of_equal_members(members):
    """Of other draws than those that it was made of."""
    rng = np.random.default_rng(1)
    consistency, threshold = null_threshold(members, 2, 8)
    alarms, scales = 0, []
    for _ in range(3000):
        values = rng.normal(size=(members, 8, 2, 1))
        alarms += bool(distances(values, np.zeros(8)).outliers)
        square = np.square(values - np.median(values, axis=0)).sum(axis=(2, 3))
        scales.append(np.median(square, axis=0).mean() / consistency / 2)
    assert 0.4 * FALSE_ALARM < alarms / 3000 < 1.8 * FALSE_ALARM
    assert np.mean(scales) == pytest.approx(1.0, rel=0.02)
    assert np.isfinite(threshold)


def test_two_outliers_of_five_hide_none():
    values = np.random.default_rng(0).normal(size=(5, 4, 2, 1))
    values[[1, 3]] += 500.0
    assert distances(values, np.zeros(4)).outliers == [1, 3]


def test_what_the_data_cannot_tell_is_no_distance():
    """Members far apart in units of their scatter, but within the standard error."""
    values = 1e-6 * np.random.default_rng(0).normal(size=(5, 4, 2, 1))
    values[2] += 0.5
    assert distances(values, np.zeros(4)).outliers == [2]
    assert distances(values, np.ones(4)).outliers == []


def test_few_members_and_lost_ones():
    values = np.zeros((2, 3, 1, 1))
    values[1] = 100.0
    assert distances(values, np.ones(3)).outliers == []
    assert distances(values, np.ones(3)).as_dict().keys() == {"distance", "outliers"}
    values[0] = np.nan
    assert distances(values, np.ones(3)).outliers == [0]
    lost = np.random.default_rng(0).normal(size=(5, 3, 2, 1))
    lost[3, 0] = np.nan
    found = distances(lost, np.ones(3))
    assert found.outliers == [3] and np.isinf(found.distance[3])


def test_linear_relations_have_no_distance_of_their_own():
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, (3000, 1))
    change = -0.5 * y * DT + 0.05 * np.sqrt(DT) * rng.normal(size=y.shape)
    constraint = LinearConstraint.of([[1.0, 1.0]], [1.0])
    data = TransitionData(
        z=torch.tensor(np.concatenate([y, 1 - y], 1), dtype=torch.float32),
        increment=torch.tensor(np.concatenate([change, -change], 1), dtype=torch.float32),
        elapsed=torch.full((3000,), DT),
        conditions=torch.zeros(3000, 0),
        group=torch.arange(3000) % 20,
    )
    settings = DynamicsSettings(model="polynomial", members=4)
    split = data.split(0.15, seed=0)
    fitted, _, _ = fit_polynomials(*split, settings, seed=0, constraint=constraint)
    found, _ = drift_distances(fitted, data)
    assert found.outliers == [] and np.isfinite(found.distance).all()
    mean = integrate(WithMean(fitted, [0, 1, 2, 3]), data.z[:50], [0.0, 1.0], step=DT)
    assert mean.shape == (5, 50, 2, 2)
    torch.testing.assert_close(mean.sum(-1), torch.ones(5, 50, 2))


def test_mean_model_has_the_mean_drift_and_covariance():
    members = ensemble(0, scatter=0.3)
    both = WithMean(members, [0, 2, 3])
    z = torch.randn(6, 40, 2)
    drift, factor = both(z)
    torch.testing.assert_close(drift[:5], members.drift(z[:5]))
    torch.testing.assert_close(drift[5], members.drift(z[5])[[0, 2, 3]].mean(0))
    expected = members.covariance(z[5])[[0, 2, 3]].mean(0)
    torch.testing.assert_close(factor[5] @ factor[5].mT, expected)
    with pytest.raises(ValueError, match="Keep some"):
        WithMean(members, [])


def test_mean_model_is_a_process_of_its_own():
    """Members relax to points of their own; the mean model to the mean of them, with its noise."""
    members = ensemble(3, members=3, scatter=1.0)
    start = torch.zeros(4000, 2)
    z = integrate(WithMean(members, [0, 1, 2]), start, [0.0, 20.0], step=0.05, seed=1)[:, :, 1]
    centres = -members.stacked["error"].detach()
    torch.testing.assert_close(z[:3].mean(1), centres, atol=0.02, rtol=0)
    torch.testing.assert_close(z[3].mean(0), centres.mean(0), atol=0.02, rtol=0)
    # Of an Ornstein-Uhlenbeck process with the members' rate, not wider by their scatter.
    width = NOISE / np.sqrt(2 * RATE * (1 - RATE * 0.05 / 2))
    torch.testing.assert_close(z[3].std(0), torch.full((2,), float(width)), rtol=0.05, atol=0)
