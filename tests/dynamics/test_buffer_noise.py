"""What the noise of a patch does beyond its edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from macrodyn.dynamics.buffer_noise import count_buffer
from macrodyn.dynamics.latents import LatentArrays

ROOT = np.array([[1.0, 0.0, 0.0], [-0.4, 0.6, 0.0], [0.2, 0.1, 0.5]])


def pairs(share=0.15, *, samples: int = 4000, patches: int = 3, seed: int = 0) -> LatentArrays:
    """Increments of which a share of the first two variables' goes on in the buffer."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(-1, 1, (samples, 3))
    elapsed = np.where(np.arange(samples) % 2, 1.0, 0.25)[:, None].repeat(patches, axis=1)
    own, other = rng.normal(size=(2, samples, patches, 3)) * elapsed[..., None] ** 0.5
    drift = np.stack([z[:, 0] ** 2, -z[:, 1], z[:, 0] * z[:, 1]], axis=1)[:, None]
    noise = own @ ROOT.T
    beyond = share * noise + 2.0 * other + 5.0 * drift * elapsed[..., None]
    beyond[..., 2] = np.nan
    return LatentArrays(
        z=z,
        increment=drift * elapsed[..., None] + noise,
        elapsed=elapsed,
        controls=np.empty((samples, patches, 0)),
        conditions=np.zeros((samples, 0)),
        group=np.arange(samples) % 40,
        patches_total=9,
        n_observables=2,
        beyond=beyond,
    )


def rate(increment, arrays):
    """Covariance of increments around the known drift, per unit time."""
    z = arrays.z
    drift = np.stack([z[:, 0] ** 2, -z[:, 1], z[:, 0] * z[:, 1]], axis=1)[:, None]
    left = (increment - drift * arrays.elapsed[..., None]) / arrays.elapsed[..., None] ** 0.5
    flat = left.reshape(-1, 3)
    return flat.T @ flat / len(flat)


def test_the_covariance_is_that_of_patch_and_buffer_together():
    arrays = pairs()
    found = count_buffer(arrays)
    before, after = rate(arrays.increment, arrays), rate(found.increment, arrays)
    # Of 12,000 products with a noise of 2 the error is two per cent.
    np.testing.assert_allclose(after[:2, :2], 1.15 * before[:2, :2], atol=0.05)
    np.testing.assert_allclose(found.variance[:2], 1.15, atol=0.05)
    assert list(found.known) == [True, True, False]
    # Of the third nothing is known: its own noise stays as it is.
    assert found.variance[2] == 1.0
    np.testing.assert_allclose(after[2, 2], before[2, 2], rtol=1e-12)
    assert abs(after[2, 0] / before[2, 0] - 1.15**0.5) < 0.05


def test_the_mean_and_the_order_of_the_variables_stay():
    arrays = pairs()
    found = count_buffer(arrays)
    np.testing.assert_allclose(
        found.increment.mean((0, 1)), arrays.increment.mean((0, 1)), atol=0.01
    )
    # The first variable's noise is its own still, times a number.
    z = arrays.z
    here, there = (
        v[..., 0] - z[:, :1] ** 2 * arrays.elapsed for v in (arrays.increment, found.increment)
    )
    assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.9999


def test_a_mean_with_less_noise_is_what_the_noise_is_taken_around():
    arrays = pairs(samples=400)
    z = arrays.z
    drift = np.stack([z[:, 0] ** 2, -z[:, 1], z[:, 0] * z[:, 1]], axis=1)
    known = count_buffer(arrays, drift * arrays.elapsed[:, :1])
    matrix = np.linalg.lstsq(
        (arrays.increment - drift[:, None] * arrays.elapsed[..., None]).reshape(-1, 3),
        (known.increment - drift[:, None] * arrays.elapsed[..., None]).reshape(-1, 3),
        rcond=None,
    )
    assert matrix[1].max() < 1e-12  # residuals: it is linear in what the drift leaves


def test_where_nothing_reaches_the_buffer_nothing_changes_beyond_chance():
    changes = [count_buffer(pairs(0.0, samples=500, seed=s)).variance[:2] - 1 for s in range(20)]
    assert np.abs(np.mean(changes)) < 0.02
    exact = replace(pairs(0.0), beyond=np.zeros_like(pairs(0.0).increment))
    np.testing.assert_allclose(count_buffer(exact).increment, exact.increment, atol=1e-12)


@pytest.mark.parametrize("share", [-0.99, 20.0])
def test_what_cannot_be_is_bounded(share):
    found = count_buffer(pairs(share))
    assert 0.24 < found.variance[:2].min() and found.variance[:2].max() < 4.3
    assert np.isfinite(found.increment).all()


def test_linear_relations_among_the_variables_stay():
    """A fourth variable is the sum of the first two, as counts of neighbours are."""
    arrays = pairs(samples=40_000)
    with_sum = [
        np.concatenate([v, v[..., :2].sum(-1, keepdims=True)], axis=-1)
        for v in (arrays.z, arrays.increment, arrays.beyond)
    ]
    z, increment, beyond = with_sum
    found = count_buffer(replace(arrays, z=z, increment=increment, beyond=beyond))
    np.testing.assert_allclose(found.increment[..., 3], found.increment[..., :2].sum(-1), atol=1e-9)
    np.testing.assert_allclose(found.variance[[0, 1, 3]], 1.15, atol=0.05)


def test_without_a_buffer_there_is_nothing_to_count():
    arrays = pairs(samples=100)
    assert count_buffer(replace(arrays, beyond=None)) is None
    assert count_buffer(replace(arrays, beyond=np.full_like(arrays.beyond, np.nan))) is None
    assert count_buffer(replace(arrays, group=np.zeros(100, dtype=np.int64))) is None
    times = arrays.elapsed * np.array([1.0, 2.0, 3.0])
    assert count_buffer(replace(arrays, elapsed=times)) is None
    still = replace(arrays, increment=np.zeros_like(arrays.increment))
    assert count_buffer(still) is None
