"""Control variates: the mean stays, the noise goes, and C knows nothing of what it multiplies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.dynamics.compensation import compensate, compensate_by_rates, control_variates
from macrodyn.dynamics.data import TransitionData
from macrodyn.dynamics.latents import LatentArrays, latents_dataset
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.train import train_ensemble

DT = 0.5


def make_arrays(groups=40, each=50, patches=4, share=0.9, seed=0, controls=True, unequal=False):
    """Increments of the drift -z and (z0 z1), of whose noise the controls know a share."""
    rng = np.random.default_rng(seed)
    n = groups * each
    z = rng.uniform(-1, 1, (n, 2))
    drift = np.stack([-z[:, 0], z[:, 0] * z[:, 1]], axis=1) * DT
    known, unknown = rng.normal(size=(2, n, patches, 2))
    noise = (
        np.sqrt(share) * known @ np.array([[1.0, 0.5], [0.0, 2.0]]) + np.sqrt(1 - share) * unknown
    )
    elapsed = np.full((n, patches), DT)
    if unequal:
        elapsed *= rng.uniform(0.5, 1.5, elapsed.shape)
    return LatentArrays(
        z=z,
        increment=drift[:, None] + 0.3 * noise,
        elapsed=elapsed,
        controls=known if controls else np.empty((n, patches, 0)),
        conditions=np.empty((n, 0)),
        group=np.repeat(np.arange(groups), each),
        patches_total=16,
        n_observables=2,
    ), drift


def test_noise_that_the_controls_know_goes():
    arrays, drift = make_arrays()
    found = compensate(arrays)
    expected = 0.3 * np.sqrt(0.9) * np.array([[1.0, 0.0], [0.5, 2.0]])
    np.testing.assert_allclose(found.coefficients, expected, atol=0.02)
    residual = found.increment - drift
    raw = arrays.increment.mean(axis=1) - drift
    np.testing.assert_allclose(residual.var(axis=0), 0.1 * 0.09 / 4, rtol=0.1)
    np.testing.assert_allclose(found.gain, raw.var(axis=0) / residual.var(axis=0), rtol=0.05)


def test_the_mean_stays_where_there_are_few_groups():
    """With C fitted on the very samples, chance would be taken for knowledge."""
    residuals = []
    for seed in range(300):
        arrays, drift = make_arrays(groups=6, each=10, patches=1, share=0.0, seed=seed)
        residuals.append((compensate(arrays).increment - drift) * arrays.controls[:, 0])
    mean = np.concatenate(residuals).mean(axis=0)
    error = np.array([r.mean(axis=0) for r in residuals]).std(axis=0) / np.sqrt(len(residuals))
    # The regression's own samples would show a correlation with the controls of -1 / samples.
    assert (np.abs(mean) < 4 * error).all()


def test_nothing_to_go_by():
    assert compensate(make_arrays(controls=False)[0]) is None
    assert compensate(make_arrays(unequal=True)[0]) is None
    assert compensate(make_arrays(groups=1)[0]) is None


def test_a_control_that_never_varies_is_left_out():
    arrays, _ = make_arrays()
    silent = np.concatenate([arrays.controls, np.zeros((*arrays.controls.shape[:2], 1))], axis=-1)
    more = LatentArrays(**{**vars(arrays), "controls": silent})
    found = compensate(more)
    assert (found.coefficients[:, 2] == 0).all()
    np.testing.assert_allclose(found.increment, compensate(arrays).increment, atol=1e-12)


def test_a_variable_that_would_lose_keeps_its_increments():
    arrays, _ = make_arrays(groups=4, each=6, patches=1, share=0.0, seed=3)
    found = compensate(arrays)
    lost = found.gain == 1.0
    assert lost.any()
    np.testing.assert_array_equal(found.increment[:, lost], arrays.increment[:, 0, lost])
    assert (found.coefficients[lost] == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_linear_relations_among_variables_are_kept(share):
    """Where one of them would lose, and the others gain, all are treated alike."""
    made, mixed = 0, 0
    for seed in range(20):
        arrays, _ = make_arrays(groups=4, each=12, patches=1, share=share, seed=seed)
        total = -arrays.increment.sum(axis=-1, keepdims=True)
        linked = np.concatenate([arrays.increment, total], axis=-1)
        z = np.concatenate([arrays.z, -arrays.z.sum(axis=-1, keepdims=True)], axis=-1)
        found = compensate(LatentArrays(**{**vars(arrays), "increment": linked, "z": z}))
        np.testing.assert_allclose(found.increment.sum(axis=-1), 0.0, atol=1e-12)
        made += (found.coefficients != 0).any()
        alone = compensate(arrays).gain
        mixed += (alone == 1.0).any() and (alone > 1.0).any()
    assert (mixed > 0) == (share == 0.0)
    assert made == 20 if share else made < 20


def test_controls_are_martingales_and_excesses():
    increments = np.arange(24.0).reshape(2, 3, 2, 2)
    elapsed = np.full((2, 3, 2), 0.5)
    found = control_variates(elapsed, increments, np.ones((2, 3, 2)))
    np.testing.assert_array_equal(found[..., :2], increments)
    np.testing.assert_array_equal(found[..., 2:], 0.5)
    assert control_variates(elapsed, None, None).shape == (2, 3, 2, 0)


SPREAD, NOISE, TOTAL = 0.5, 0.2, 8


def scattered(evolved, *, seed=0, groups=40, each=50):
    """Patches whose rates scatter around the whole's; some of all K are drawn."""
    rng = np.random.default_rng(seed)
    n = groups * each
    z = rng.uniform(-1, 1, (n, 1))
    excess = rng.normal(0, SPREAD, (n, TOTAL, 1))
    # A third of it is over before the pair's time is: the mean rate is less than the first.
    excess -= excess.mean(axis=1, keepdims=True)
    noise = rng.normal(0, NOISE, (n, TOTAL, 1))
    increment = -z[:, None] * DT + 0.67 * excess * DT + noise * np.sqrt(DT)
    drawn = rng.permuted(np.tile(np.arange(TOTAL), (n, 1)), axis=1)[:, :evolved]
    rows = np.arange(n)[:, None]
    return latents_dataset(
        z=z,
        increment=increment[rows, drawn][:, :, None],
        elapsed=np.full((n, evolved, 1), DT),
        condition_values=np.empty((n, 0)),
        group=np.repeat(np.arange(groups), each),
        time=np.zeros(n),
        variables=["a"],
        lags=[1],
        conditions=[],
        n_observables=1,
        patches_total=TOTAL,
        sites=TOTAL,
        dt=DT,
        time_unit="1",
        controls=(excess * DT)[rows, drawn][:, :, None],
        control_names=["excess_a"],
    )


@pytest.mark.parametrize("evolved", [1, 2, 4, 8])
@pytest.mark.parametrize("likelihood", ["mean", "patches"])
def test_what_patches_have_of_their_own_is_no_noise_of_the_whole(evolved, likelihood):
    latents = scattered(evolved)
    arrays = LatentArrays.from_dataset(latents)
    assert arrays.excess == (0,)
    compensation = compensate(arrays)
    data = TransitionData.from_latents(latents, likelihood=likelihood, compensation=compensation)
    sigma = NOISE**2 / TOTAL
    if evolved < TOTAL:
        assert compensation.coefficients[0, 0] == pytest.approx(0.67, abs=0.03)
    left = data.increment + data.z * DT
    assert float(left.square().mean()) / data.factor / DT == pytest.approx(sigma, rel=0.07)
    if data.scatter is not None:
        scatter = data.scatter.square().mean() / (evolved - 1) / data.within
        assert float(scatter) == pytest.approx(sigma, rel=0.07)
    plain = TransitionData.from_latents(latents, likelihood=likelihood)
    left = plain.increment + plain.z * DT
    if evolved == 1:
        assert float(left.square().mean()) / plain.factor / DT > 1.5 * sigma


@pytest.fixture(scope="module")
def trained():
    """Ensembles trained on the increments as they are, and on the compensated ones."""
    arrays, _ = make_arrays(groups=40, each=40, share=0.98)
    latents = latents_dataset(
        z=arrays.z,
        increment=arrays.increment[:, :, None],
        elapsed=arrays.elapsed[:, :, None],
        condition_values=arrays.conditions,
        group=arrays.group,
        time=np.zeros(len(arrays.z)),
        variables=["a", "b"],
        lags=[1],
        conditions=[],
        n_observables=2,
        patches_total=16,
        sites=64,
        dt=DT,
        time_unit="1",
        controls=arrays.controls[:, :, None],
        control_names=["martingale_a", "martingale_b"],
    )
    settings = DynamicsSettings(members=2, steps=800, batch=512, learning_rate=3e-3, hidden=(32,))
    models = {}
    for name, compensation in {"plain": None, "compensated": compensate(arrays)}.items():
        data = TransitionData.from_latents(latents, compensation=compensation)
        models[name] = train_ensemble(*data.split(0.2, seed=1), settings, seed=3)[0]
    return models


def _errors(model):
    axis = torch.linspace(-0.9, 0.9, 13)
    z = torch.cartesian_prod(axis, axis)
    drift, covariance = model.drift(z).mean(0), model.covariance(z).mean(0)
    truth = torch.stack([-z[:, 0], z[:, 0] * z[:, 1]], dim=1)
    known = 0.98 * torch.tensor([[1.0, 0.5], [0.5, 4.25]]) + 0.02 * torch.eye(2)
    # Of m = 4 of K = 16 patches: the factor K/m = 4, and the mean of four patches' noise.
    sigma = 0.09 * known / 4 / DT / 4
    error = (drift - truth).square().mean().sqrt()
    # Of the average over z: the data show it to a few per cent, single places less sharply.
    size = sigma.diagonal().sqrt()
    return float(error), float(((covariance.mean(0) - sigma) / torch.outer(size, size)).abs().max())


def test_the_drift_is_learned_with_less_noise_and_the_covariance_as_before(trained):
    plain, compensated = (_errors(trained[name]) for name in ("plain", "compensated"))
    assert compensated[0] < 0.5 * plain[0]
    assert compensated[0] < 0.05
    assert compensated[1] < 0.1


@pytest.mark.parametrize("controls", [True, False])
def test_rates_take_the_place_of_increments_and_leave_their_noise(controls):
    arrays, drift = make_arrays(controls=controls)
    rates = drift / DT + 7.0
    noise = compensate(arrays)
    found = compensate_by_rates(arrays, rates, noise)
    np.testing.assert_allclose(found.increment, rates * DT)
    expected = arrays.increment if noise is None else noise.of_whole
    np.testing.assert_array_equal(found.of_whole, expected)
    assert found.coefficients.shape == (2, arrays.controls.shape[-1])
