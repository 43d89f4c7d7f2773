"""The squared MMD against brute force, a closed form, and its behaviour under the null."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from macrodyn.evaluation.mmd import mmd_at_equilibrium, mmd_at_times
from macrodyn.evaluation.mmd_estimate import mmd_squared, null_distribution, rbf_bandwidths


def _brute_force(x: np.ndarray, y: np.ndarray, bandwidths: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return sum(float(np.exp(-((a - b) ** 2).sum() / (2 * s**2))) for s in bandwidths)

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(a, b) for a in x for b in y) / (n * m)
    return xx + yy - 2 * xy


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_equals_double_loop(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    x, y = rng.normal(size=(17, dimension)), rng.normal(0.3, 1.2, size=(23, dimension))
    bandwidths = np.array([0.4, 0.9, 2.0])
    assert mmd_squared(x, y, bandwidths) == pytest.approx(_brute_force(x, y, bandwidths), abs=1e-12)


def _brute_force_of_groups(
    x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray, width: float
) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-np.square(a[:, None] - b[None]).sum(axis=2) / (2 * width**2))

    xx, yy = (
        kernel(v, v)[labels[:, None] != labels].mean() for v, labels in ((x, of_x), (y, of_y))
    )
    return float(xx + yy - 2 * kernel(x, y).mean())


def test_pairs_of_one_group_do_not_count() -> None:
    """Groups of unequal sizes, out of order, with the same labels in both samples."""
    rng = np.random.default_rng(9)
    of_x, of_y = rng.integers(0, 4, 17), rng.integers(0, 6, 23)
    x, y = rng.normal(size=(17, 2)) + of_x[:, None], rng.normal(size=(23, 2)) - of_y[:, None]
    found = mmd_squared(x, y, [1.3], groups=(of_x, of_y))
    assert found == pytest.approx(_brute_force_of_groups(x, y, of_x, of_y, 1.3), abs=1e-12)
    assert found != pytest.approx(mmd_squared(x, y, [1.3]), abs=0.01)


def test_null_is_the_same_statistic_of_halves() -> None:
    """Four groups divide in two halves in three ways."""
    rng = np.random.default_rng(2)
    groups = np.array([3, 0, 1, 1, 2, 3, 0, 2, 2, 1, 0, 3])
    points = rng.normal(size=(12, 1)) + groups[:, None]
    values, sizes = null_distribution(points, [0.9], groups=groups, splits=40)
    expected = []
    for partner in (1, 2, 3):
        half = np.isin(groups, [0, partner])
        expected.append(
            _brute_force_of_groups(points[half], points[~half], groups[half], groups[~half], 0.9)
        )
    assert sizes == (6, 6)
    np.testing.assert_allclose(np.unique(values.round(10)), np.sort(expected), atol=1e-9)


def test_blocks_do_not_change_the_value() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(700, 1)), rng.normal(0.5, 1, size=(600, 1))

    def mean_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * (a - b.T) ** 2)

    xx, yy = mean_kernel(x, x), mean_kernel(y, y)
    expected = (
        (xx.sum() - 700) / (700 * 699)
        + (yy.sum() - 600) / (600 * 599)
        - 2 * mean_kernel(x, y).mean()
    )
    assert mmd_squared(x, y, [1.0]) == pytest.approx(expected, abs=1e-12)


def test_zero_mean_under_the_null_and_closed_form_for_a_shift() -> None:
    rng = np.random.default_rng(5)
    shift, width, trials = 1.0, 1.0, 400
    same = np.empty(trials)
    moved = np.empty(trials)
    for t in range(trials):
        x, y = rng.normal(size=(40, 1)), rng.normal(size=(50, 1))
        same[t] = mmd_squared(x, y, [width])
        moved[t] = mmd_squared(x, y + shift, [width])
    assert abs(same.mean()) < 4 * same.std() / np.sqrt(trials)
    # E k of a difference N(d, 2) with an RBF kernel of width 1.
    scale = 1 / np.sqrt(3)
    exact = 2 * scale * (1 - np.exp(-(shift**2) / 6))
    assert moved.mean() == pytest.approx(exact, abs=4 * moved.std() / np.sqrt(trials))


def test_bandwidths_follow_the_median() -> None:
    np.testing.assert_allclose(rbf_bandwidths([[0.0], [1.0], [3.0]]), [1.0, 2.0, 4.0])
    assert (rbf_bandwidths(np.zeros((4, 2))) > 0).all()


def test_null_of_dependent_points_is_wider_when_split_by_group() -> None:
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(30), 20)
    points = rng.normal(size=(30, 1))[groups] + 0.05 * rng.normal(size=(600, 1))
    bandwidths = rbf_bandwidths(points)
    grouped, sizes = null_distribution(points, bandwidths, groups=groups, splits=100)
    pooled, _ = null_distribution(points, bandwidths, splits=100)
    assert sizes == (300, 300)
    assert grouped.std() > 5 * pooled.std()


def _trajectories(seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return shift + rng.normal(size=(2, 60, 20, 2)) * np.array([1.0, 1e-3])


def test_equilibrium_separates_right_from_wrong() -> None:
    reference = _trajectories(0)
    right = mmd_at_equilibrium(_trajectories(1)[None], reference, fraction=0.5, max_points=600)
    moved = np.stack([_trajectories(2)])
    moved[..., 1] += 5e-4  # half a standard deviation of the small observable
    wrong = mmd_at_equilibrium(moved, reference, fraction=0.5, max_points=600)
    assert right.points == (600, 600)
    assert abs(right.value) < 3 * right.null_q95
    assert wrong.value > 5 * wrong.null_q95
    assert right.summary()["bandwidths"] == list(right.bandwidths)


def _autoregressive(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Stationary trajectories, [*shape, time, 1], whose correlation in time decays as 0.98^t."""
    values = np.empty((100, *shape))
    values[0] = rng.normal(size=shape)
    for before, after in pairwise(values):
        after[:] = 0.98 * before + np.sqrt(1 - 0.98**2) * rng.normal(size=shape)
    return np.moveaxis(values, 0, -1)[..., None]


def test_equilibrium_of_an_exact_model_of_correlated_trajectories() -> None:
    """The value is 0 on average, and beyond the null's 95 % quantile in 5 % of all cases."""
    rng = np.random.default_rng(12)
    runs = 300
    found = [
        mmd_at_equilibrium(
            _autoregressive(rng, 2, 1, 50),
            _autoregressive(rng, 1, 50),
            fraction=0.5,
            splits=200,
            max_points=600,
            seed=run,
        )
        for run in range(runs)
    ]
    assert found[0].points == (600, 300)
    for values in (np.array([d.value for d in found]), np.array([d.null_mean for d in found])):
        assert abs(values.mean()) < 5 * values.std() / np.sqrt(runs)
    beyond = sum(d.value > d.null_q95 for d in found)
    assert binomtest(beyond, runs, 0.05).pvalue > 1e-3, beyond / runs


def test_equilibrium_takes_points_of_all_late_times_and_only_these() -> None:
    """A trajectory that is wrong at a single late time, or only before, is told or not."""
    reference = _trajectories(0)
    for time, wrong in ((9, False), (10, True), (15, True), (19, True)):
        prediction = _trajectories(0)[None]
        prediction[..., time, 0] += 100.0
        found = mmd_at_equilibrium(prediction, reference, fraction=0.5, max_points=600)
        assert (found.value > 2 * found.null_q95) == wrong, time


def test_at_times_gives_one_number_each() -> None:
    reference = _trajectories(0)
    prediction = _trajectories(1)[None].copy()
    prediction[:, 1, :, 7, 0] += 3.0
    table = mmd_at_times(prediction, reference, [3, 7])
    assert [len(row) for row in table] == [2, 2]
    assert table[1][1].value > 10 * table[1][1].null_q95
    assert table[0][1].value < table[1][1].value / 10


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="two points"):
        mmd_squared([[0.0]], [[0.0], [1.0]], [1.0])
    with pytest.raises(ValueError, match="two trajectories"):
        mmd_squared(np.zeros((3, 1)), np.zeros((3, 1)), [1.0], groups=([0, 1, 2], [4, 4, 4]))
    with pytest.raises(ValueError, match="four independent points or trajectories, got 3"):
        null_distribution(np.zeros((6, 1)), [1.0], groups=[0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match="fraction"):
        mmd_at_equilibrium(_trajectories(0)[None], _trajectories(0), fraction=1.5)


def test_a_diverged_prediction_is_infinitely_far() -> None:
    prediction = _trajectories(1)[None].copy()
    prediction[0, 0, 0, -1, 0] = np.nan
    assert mmd_at_equilibrium(prediction, _trajectories(0), max_points=200).value == np.inf
