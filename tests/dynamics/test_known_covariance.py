"""A covariance that is known of every snapshot, in place of the increments' squares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from macrodyn.dynamics import TransitionData
from macrodyn.dynamics.latents import latents_dataset
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.dynamics.scaling import covariance_ratio
from macrodyn.dynamics.scatter import roots
from macrodyn.dynamics.settings import DynamicsSettings
from macrodyn.dynamics.union import join

from .conftest import changed
from .test_noise_layer import noise_error, sigma
from .test_output_layer import error, trained, truth


def known(
    *, samples: int = 2000, patches: int = 2, sites: int = 100, loud: float = 1.0, seed: int = 0
):
    """Latents whose increments are `loud` times as noisy as the covariance rates say."""
    rng = np.random.default_rng(seed)
    z = torch.as_tensor(rng.uniform(-1, 1, (samples, 2)))
    elapsed = np.where(np.arange(samples) % 2, 1.0, 0.25)
    rate = sigma(z).numpy() * 100 / sites
    root = np.linalg.cholesky(rate)
    unit = rng.normal(size=(samples, patches, 2)) * elapsed[:, None, None] ** 0.5
    chance = loud * np.einsum("nij,nmj->nmi", root, unit) * 4**0.5
    increment = chance + truth(z).numpy()[:, None] * elapsed[:, None, None]
    return latents_dataset(
        z=z.numpy(),
        increment=increment[:, :, None],
        elapsed=np.broadcast_to(elapsed[:, None, None], (samples, patches, 1)),
        condition_values=np.zeros((samples, 0)),
        group=np.arange(samples) % 50,
        time=np.zeros(samples),
        variables=["a", "b"],
        lags=[1],
        conditions=[],
        n_observables=2,
        patches_total=4,
        sites=sites,
        dt=0.25,
        time_unit="s",
        covariance_rate=rate,
    )


def read(latents, **options) -> TransitionData:
    return TransitionData.from_latents(latents, known=True, **options)


def test_roots_of_singular_covariances():
    rows = np.random.default_rng(1).normal(size=(20, 3, 2))
    covariance = rows @ rows.transpose(0, 2, 1)
    found = roots(covariance)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), covariance, atol=1e-12)


def test_networks_learn_what_is_known_whatever_the_increments_do():
    data = read(known(loud=3.0))
    model = trained(data, steps=600, hidden=(32,))
    assert noise_error(model) < 0.02
    as_increments = TransitionData.from_latents(known(loud=3.0))
    assert noise_error(trained(as_increments, steps=600, hidden=(32,))) > 3.0


def test_the_drift_is_learned_from_increments_as_ever():
    quiet = read(known(loud=0.02, samples=4000))
    assert error(trained(quiet, steps=600, hidden=(32,))) < 0.05


def test_polynomials_learn_it_too():
    data = read(known(loud=3.0))
    settings = changed(DynamicsSettings(members=2), model="polynomial")
    model, _, _ = fit_polynomials(*data.split(0.2, seed=1), settings, seed=0)
    assert noise_error(model) < 0.06


def test_sizes_together_make_one_covariance():
    """Sigma is that of 100 sites: what 25 sites say counts a quarter."""
    parts = [
        read(known(samples=1000), within=1.0),
        read(known(samples=1000, sites=25, seed=1), within=4.0, factor=8.0),
    ]
    data = join(parts)
    assert data.known and isinstance(data.within, torch.Tensor)
    assert noise_error(trained(data, steps=600, hidden=(32,))) < 0.02
    with pytest.raises(ValueError, match="of others it is not"):
        join([parts[0], TransitionData.from_latents(known(samples=1000))])


@pytest.mark.parametrize("loud", [1.0, 1.5])
def test_the_ratio_tells_whether_increments_agree(loud):
    ratio, deviation = covariance_ratio(read(known(loud=loud, samples=6000)))
    np.testing.assert_allclose(ratio, loud**2, atol=5 * deviation.max())
    assert deviation.max() < 0.1


def test_each_patch_that_evolves_for_its_own_time_has_the_snapshot_s_covariance():
    latents = known(samples=100)
    elapsed = latents.elapsed.values * np.array([1.0, 2.0])[:, None]
    data = read(latents.assign(elapsed=(latents.elapsed.dims, elapsed)))
    assert len(data) == 200
    first = data.scatter.double()
    expected = np.repeat(latents.covariance_rate.values, 2, axis=0)
    np.testing.assert_allclose(first @ first.mT, expected, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    latents = known(samples=100)
    with pytest.raises(ValueError, match="no expected covariance rates: make it again"):
        read(latents.drop_vars("covariance_rate"))
    data = read(latents)
    with pytest.raises(ValueError, match="scatter of one patch"):
        replace(data, scatter=None)
    with pytest.raises(ValueError, match="scatter of one patch"):
        replace(data, patches=2)
