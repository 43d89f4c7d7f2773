"""Late-time distributions against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.equilibrium import equilibrium, late_values


def test_equilibrium_of_a_shift() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(2.0, 0.5, (3, 40, 20, 2))
    prediction = np.stack([reference + 0.25, reference])
    result = equilibrium(prediction, reference, fraction=0.5, bins=30)
    assert result.samples == 3 * 40 * 10
    np.testing.assert_allclose(result.wasserstein, [[0.25, 0.25], [0, 0]], atol=1e-12)
    late = reference[:, :, 10:].reshape(-1, 2)
    np.testing.assert_allclose(result.reference_mean, late.mean(axis=0))
    np.testing.assert_allclose(result.mean_relative_error[0], 0.25 / late.mean(axis=0))
    np.testing.assert_allclose(result.std_relative_error, 0.0, atol=1e-12)
    np.testing.assert_allclose(result.wasserstein_relative[0], 0.25 / late.std(axis=0))
    widths = np.diff(result.edges, axis=1)
    np.testing.assert_allclose((result.prediction_density * widths).sum(axis=2), 1.0)
    np.testing.assert_allclose((result.reference_density * widths).sum(axis=1), 1.0)
    assert set(result.summary(["a", "b"])) == {"a", "b"}


def test_late_values_keep_the_end() -> None:
    values = np.arange(2 * 3 * 10 * 1.0).reshape(2, 3, 10, 1)
    np.testing.assert_array_equal(np.unique(late_values(values, 0.2)[:, 0] % 10), [8, 9])
    assert late_values(values, 0.01).shape == (6, 1)
    with pytest.raises(ValueError, match="fraction"):
        late_values(values, 0.0)


def test_equilibrium_of_a_diverged_member_leaves_the_others() -> None:
    reference = np.random.default_rng(1).normal(size=(2, 10, 8, 1))
    prediction = np.stack([reference, reference])
    prediction[1, 0, 0, -1] = np.nan
    result = equilibrium(prediction, reference, fraction=0.5)
    assert result.wasserstein[0, 0] == 0.0
    assert result.wasserstein[1, 0] == np.inf
    assert np.isnan(result.prediction_density[1]).all()
    with pytest.raises(ValueError, match="not finite"):
        equilibrium(reference[None], prediction[1])


@pytest.mark.parametrize("spread", [0.0, 1e-16, 1e-12], ids=str)
def test_equilibrium_of_values_that_hardly_vary(spread: float) -> None:
    rng = np.random.default_rng(2)
    reference = 0.4 + spread * rng.standard_normal((2, 5, 8, 1))
    result = equilibrium(reference[None], reference, fraction=0.5)
    widths = np.diff(result.edges, axis=1)
    assert (widths > 0).all()
    np.testing.assert_allclose((result.reference_density * widths).sum(axis=1), 1.0)
    assert result.wasserstein[0, 0] == 0.0
    assert result.mean_relative_error[0, 0] == pytest.approx(0.0, abs=1e-12)
    if spread == 0:
        assert np.isnan(result.std_relative_error[0, 0])
        assert np.isnan(result.wasserstein_relative[0, 0])


def test_nothing_is_relative_to_a_mean_of_zero() -> None:
    reference = np.zeros((1, 4, 4, 2))
    reference[:, ::2] = [1.0, 0.0]
    reference[:, 1::2] = [-1.0, 0.0]
    result = equilibrium(reference[None] + 0.5, reference, fraction=1.0)
    assert np.isnan(result.mean_relative_error).all()
    np.testing.assert_allclose(result.wasserstein, 0.5)
    np.testing.assert_allclose(result.wasserstein_relative[0, 0], 0.5)
    broken = reference[None].copy()
    broken[0, 0, 0, -1] = np.inf
    assert equilibrium(broken, reference).wasserstein_relative[0, 0] == np.inf
