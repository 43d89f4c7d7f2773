"""Deviations from exact drift and diffusion against values worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from macrodyn.evaluation.exact import GRID_POINTS, compare_with_exact, exact_moments

RNG = np.random.default_rng(7)
Z = RNG.uniform(-1, 1, (4000, 1))


def _exact(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return -2.0 * points[:, :1], (1 + points[:, :1, None] ** 2) * 1e-3


def _learned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Member 0: drift off by 0.1, diffusion 1.2 D. Member 1: drift exact, diffusion 0.9 D."""
    drift, covariance = _exact(points)
    return np.stack([drift + 0.1, drift]), np.stack([1.2 * covariance, 0.9 * covariance])


def test_deviations_by_hand_on_the_grid() -> None:
    comparison = compare_with_exact(Z, ["m"], _learned, _exact)
    assert comparison is not None and comparison.on_grid
    summary = comparison.summary()
    low, high = np.quantile(Z, (0.005, 0.995))
    assert comparison.first[[0, -1]] == pytest.approx([low, high])
    assert summary["where"] == "grid" and summary["points"] == GRID_POINTS
    assert summary["quantiles"] == [0.005, 0.995]
    drift, diffusion = summary["drift"]["m"], summary["diffusion"]["m"]
    largest = 2 * max(-low, high)
    assert drift["max"]["members"] == pytest.approx([0.1 / largest, 0.0])
    assert drift["max"]["mean"] == pytest.approx(0.05 / largest)
    assert drift["max"]["ensemble"] == pytest.approx(0.05 / largest)
    grid = np.linspace(low, high, GRID_POINTS)
    assert drift["rms"]["members"][0] == pytest.approx(0.1 / np.sqrt(np.mean(4 * grid**2)))
    for kind in ("max", "rms"):
        assert diffusion[kind]["members"] == pytest.approx([0.2, 0.1])
        assert diffusion[kind]["mean"] == pytest.approx(0.15)
        assert diffusion[kind]["ensemble"] == pytest.approx(0.05)


def test_samples_beyond_the_quantiles_do_not_count() -> None:
    """Far out the learned functions are wrong, with a closure variable far out as well."""
    z = np.concatenate([Z, RNG.normal(size=Z.shape)], axis=1)
    z[:3, 0], z[3:6, 1] = 50.0, 50.0

    def learned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        drift, covariance = _exact(points)
        wrong = 1e6 * (np.abs(points) > 40).any(axis=1)[:, None]
        full = np.zeros((len(points), 2, 2))
        full[:, :1, :1] = covariance
        return np.concatenate([drift + wrong, drift], axis=1)[None], full[None]

    comparison = compare_with_exact(z, ["m"], learned, _exact)
    assert comparison is not None and not comparison.on_grid
    summary = comparison.summary()
    assert summary["where"] == "samples" and 0.97 * len(z) < summary["points"] < 0.99 * len(z)
    assert summary["drift"]["m"]["max"]["ensemble"] == 0.0
    assert summary["diffusion"]["m"]["max"]["ensemble"] == 0.0


def test_maximum_is_taken_at_samples_and_the_rms_weighs_them() -> None:
    z = np.repeat([[0.1, 0.0], [0.2, 0.0], [0.3, 0.0]], 100, axis=0)

    def learned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        drift, covariance = _exact(points)
        off = drift + 0.06 * (points[:, :1] == 0.3)
        return off[None], covariance[None]

    comparison = compare_with_exact(z, ["m"], learned, _exact)
    assert comparison is not None
    drift = comparison.summary()["drift"]["m"]
    assert drift["max"]["members"] == pytest.approx([0.1])
    rms = 0.06 / np.sqrt(3) / np.sqrt(4 * (0.01 + 0.04 + 0.09) / 3)
    assert drift["rms"]["members"] == pytest.approx([rms])


def test_what_is_unknown_is_left_out() -> None:
    z = RNG.normal(size=(500, 2))

    def exact(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unknown = np.full((len(points), 2), np.nan)
        return unknown, np.broadcast_to(2e-6 * np.eye(2), (len(points), 2, 2))

    def learned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return points[None], np.broadcast_to(np.diag([2.2e-6, 1e-6]), (1, len(points), 2, 2))

    comparison = compare_with_exact(z, ["prey", "predator"], learned, exact)
    assert comparison is not None
    summary = comparison.summary()
    assert summary["drift"] == {}
    assert summary["diffusion"]["prey"]["max"]["members"] == pytest.approx([0.1])
    assert summary["diffusion"]["predator"]["rms"]["members"] == pytest.approx([0.5])
    assert compare_with_exact(z, ["a", "b"], learned, lambda points: None) is None


def test_grid_of_several_variables_is_refused() -> None:
    with pytest.raises(ValueError, match="there are 2"):
        compare_with_exact(np.zeros((9, 2)), ["m"], _learned, _exact, grid=True)


def _system(rate: float, known: bool = True, partly: bool = False) -> SimpleNamespace:
    def moments(values: np.ndarray, shape: tuple[int, ...]):
        if not known:
            return None
        drift = -rate * values
        if partly:
            drift = np.where(values > 0.5, np.nan, drift)
        sites = float(np.prod(shape))
        return drift, np.broadcast_to(np.eye(2) / sites, (len(values), 2, 2))

    return SimpleNamespace(
        exact_moments=moments, with_parameters=lambda rate: _system(rate, known, partly)
    )


def test_each_sample_has_its_own_condition() -> None:
    values = RNG.uniform(0, 1, (6, 2))
    rates = np.array([[1.0], [2.0], [1.0], [3.0], [2.0], [1.0]])
    moments = exact_moments(
        _system(9.0), values, (8, 4), conditions=rates, condition_names=["rate"]
    )
    assert moments is not None
    np.testing.assert_allclose(moments[0], -rates * values)
    np.testing.assert_allclose(moments[1], np.broadcast_to(np.eye(2) / 32, (6, 2, 2)))
    plain = exact_moments(_system(9.0), values, (8, 4))
    assert plain is not None
    np.testing.assert_allclose(plain[0], -9.0 * values)


def test_drift_that_is_unknown_somewhere_is_unknown() -> None:
    values = np.array([[0.1, 0.1], [0.9, 0.1]])
    moments = exact_moments(_system(1.0, partly=True), values, (8,))
    assert moments is not None
    assert np.isnan(moments[0][:, 0]).all() and np.isfinite(moments[0][:, 1]).all()
    assert exact_moments(_system(1.0, known=False), values, (8,)) is None
