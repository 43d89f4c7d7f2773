"""Equal steps between record times, and what is said of times that make no sense."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.systems.shared.steps import record_steps, step_count


@pytest.mark.parametrize(
    ("duration", "step", "expected"),
    [
        (0.0, 0.01, 0),
        (0.3, 0.01, 30),
        (0.07, 0.01, 7),
        (1e5, 0.01, 10**7),
        (0.305, 0.01, 31),
        (1e-5, 0.01, 1),
        (0.01, 0.01, 1),
        (0.010001, 0.01, 2),
    ],
)
def test_steps_are_the_fewest_that_are_short_enough(duration, step, expected):
    assert step_count(duration, step) == expected


def test_records_are_equal_steps_apart():
    counts, lengths = record_steps(np.array([0.0, 0.25, 0.3, 1.0]), 0.1)
    assert counts.tolist() == [0, 3, 1, 7] and counts.dtype == np.int64
    np.testing.assert_allclose(counts * lengths, [0.0, 0.25, 0.05, 0.7])
    assert record_steps(np.array([]), 0.1)[0].size == 0


@pytest.mark.parametrize(
    ("times", "number"),
    [([-1.0, 1.0], 0), ([0.0, 0.0], 1), ([1.0, 0.5], 1), ([1.0, np.inf], 1), ([np.nan, 1.0], 0)],
    ids=str,
)
def test_times_that_do_not_grow_are_named(times, number):
    with pytest.raises(ValueError, match=f"record time {number} is .*: times must be finite, grow"):
        record_steps(np.array(times), 0.1)


def test_one_list_of_times_is_asked_for():
    with pytest.raises(ValueError, match="give one list of record times"):
        record_steps(np.ones((2, 2)), 0.1)
