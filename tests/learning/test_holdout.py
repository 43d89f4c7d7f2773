"""Whole groups are held out."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.learning.holdout import hold_out


@pytest.mark.parametrize("groups", [2, 7, 100])
def test_no_group_is_on_both_sides(groups: int) -> None:
    group = np.random.default_rng(0).integers(groups, size=2000)
    train, validation = hold_out(group, 0.2, seed=3)
    assert not set(group[train].tolist()) & set(group[validation].tolist())
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(2000))
    if groups == 100:
        assert abs(len(validation) / 2000 - 0.2) < 0.01


def test_the_division_is_seeded() -> None:
    group = np.tile(np.arange(40), 5)
    first, again, other = (hold_out(group, 0.2, seed=s)[1] for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="two groups"):
        hold_out(np.zeros(10, int), 0.2, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out(np.arange(10), fraction, seed=0)
