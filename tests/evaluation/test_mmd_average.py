"""The averaged squared MMD against the estimate of one time, and its behaviour under the null."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binomtest

from macrodyn.evaluation.mmd import standardised
from macrodyn.evaluation.mmd_average import mmd_over_times, spread_indices
from macrodyn.evaluation.mmd_estimate import mmd_squared, rbf_bandwidths


def _trajectories(seed: int, members: int = 0, replicas: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (members,) if members else ()
    return rng.normal(size=(*shape, 2, replicas, 12, 2)) * np.array([1.0, 1e-3])


def test_is_the_mean_of_the_estimates_at_each_time_and_initial_state() -> None:
    reference, prediction = _trajectories(0, replicas=30), _trajectories(1, members=3)
    prediction[1] += 0.3
    indices = [2, 5, 11]
    result = mmd_over_times(prediction, reference, indices, splits=5)
    ours, direct = standardised(prediction, reference)
    members, pooled = np.zeros(3), 0.0
    for i in range(2):
        for t in indices:
            y = direct[i, :, t]
            widths = rbf_bandwidths(y, (0.5, 1.0, 2.0))
            members += [mmd_squared(ours[e, i, :, t], y, widths) for e in range(3)]
            pooled += mmd_squared(ours[:, i, :, t].reshape(-1, 2), y, widths)
    np.testing.assert_allclose(result.members, members / 6, atol=1e-12)
    assert result.pooled == pytest.approx(pooled / 6, abs=1e-12)
    summary = result.summary()
    assert summary["mean"] == result.pooled and len(summary["members"]) == 3
    assert summary["bandwidth_factors"] == [0.5, 1.0, 2.0]


def test_null_is_that_of_halves_split_by_trajectory() -> None:
    """Values that do not change in time: averaging over times must not narrow the null."""
    reference = np.repeat(_trajectories(0)[:, :, :1], 12, axis=2)
    one = mmd_over_times(reference[None], reference, [3], splits=200)
    many = mmd_over_times(reference[None], reference, [1, 3, 5, 7, 9], splits=200)
    np.testing.assert_allclose(one.null, many.null, atol=1e-12)
    free = mmd_over_times(_trajectories(0)[None], _trajectories(0), range(1, 12), splits=200)
    assert free.null.std() < 0.5 * many.null.std()


def test_null_is_centred_and_tells_a_shift() -> None:
    reference = _trajectories(0, replicas=100)
    right = mmd_over_times(_trajectories(1, members=2, replicas=100), reference, range(1, 12))
    # The mean over random splits is 0 but for what sampling without replacement leaves, and the
    # scatter of single splits over the root of their number.
    assert abs(right.null.mean()) < 5 * right.null.std() / np.sqrt(50)
    assert abs(right.members).max() < 3 * np.quantile(right.null, 0.95)
    moved = _trajectories(1, members=2, replicas=100) + np.array([0.0, 5e-4])
    wrong = mmd_over_times(moved, reference, range(1, 12))
    assert wrong.members.min() > 5 * np.quantile(wrong.null, 0.95)


def test_an_exact_model_is_beyond_the_null_in_a_twentieth_of_all_cases() -> None:
    """Four times as many trajectories as the reference: the null is that of these sizes."""
    beyond, times = 0, 400
    for seed in range(times):
        rng = np.random.default_rng(seed)
        reference, ours = (rng.normal(size=(1, n, 1, 1)).repeat(3, axis=2) for n in (20, 80))
        found = mmd_over_times(ours[None], reference, [1], splits=200)
        beyond += found.members[0] > np.quantile(found.null, 0.95)
    assert binomtest(beyond, times, 0.05).pvalue > 1e-3, beyond / times


def test_diverged_member_is_infinitely_far_and_leaves_the_others() -> None:
    reference, prediction = _trajectories(0), _trajectories(1, members=3)
    whole = mmd_over_times(prediction, reference, [4, 8])
    prediction[1, 0, 3, 8, 1] = np.nan
    prediction[2, 0, 3, 7, 1] = np.nan
    result = mmd_over_times(prediction, reference, [4, 8])
    assert result.pooled == result.members[1] == np.inf
    np.testing.assert_allclose(result.members[[0, 2]], whole.members[[0, 2]], atol=1e-12)
    prediction[:] = np.nan
    assert np.isinf(mmd_over_times(prediction, reference, [4]).members).all()


def test_same_seed_same_value_and_few_points() -> None:
    reference, prediction = _trajectories(0), _trajectories(1, members=2)
    first, second = (
        mmd_over_times(prediction, reference, [4], max_points=10, seed=3) for _ in range(2)
    )
    np.testing.assert_array_equal(first.null, second.null)
    np.testing.assert_array_equal(first.members, second.members)
    other = mmd_over_times(prediction, reference, [4], max_points=10, seed=4)
    assert not np.array_equal(first.members, other.members)


@pytest.mark.parametrize(
    ("points", "expected"),
    [(2, [1]), (5, [1, 2, 3, 4]), (11, list(range(1, 11))), (301, list(range(30, 301, 30)))],
    ids=str,
)
def test_indices_are_even_and_leave_out_the_beginning(points: int, expected: list[int]) -> None:
    assert spread_indices(points) == expected


def test_too_little_is_refused() -> None:
    reference, prediction = _trajectories(0), _trajectories(1, members=2)
    with pytest.raises(ValueError, match="at least one time"):
        mmd_over_times(prediction, reference, [])
    with pytest.raises(ValueError, match="got 3"):
        mmd_over_times(prediction, reference[:, :3], [1])
    with pytest.raises(ValueError, match="got 1"):
        mmd_over_times(prediction[:, :, :1], reference, [1])


def test_nine_initial_states_of_five_members_are_fast() -> None:
    rng = np.random.default_rng(0)
    reference, prediction = rng.normal(size=(9, 200, 11, 2)), rng.normal(size=(5, 9, 200, 11, 2))
    start = time.process_time()
    mmd_over_times(prediction, reference, spread_indices(11))
    assert time.process_time() - start < 20
