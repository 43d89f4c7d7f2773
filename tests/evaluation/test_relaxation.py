"""Snapshots that relaxed for too short are found out, and honest ones are not accused."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.relaxation import LEVEL, MATTERS, compare_relaxations

DURATIONS = (1.0, 2.0, 4.0, 8.0)


def snapshots(seed, trace=0.0, groups=12, each=20):
    """Increments of dz = -z dt + noise; a trace, gone after a time of 3, changes the drift."""
    rng = np.random.default_rng(seed)
    shape = (groups, len(DURATIONS), each)
    duration = np.broadcast_to(np.array(DURATIONS)[:, None], shape).ravel()
    group = np.broadcast_to(np.arange(groups)[:, None, None], shape).ravel()
    z = rng.normal(size=(group.size, 2))
    # What all snapshots of a group share does not count.
    shared = 0.3 * rng.normal(size=(groups, 2))[group]
    drift = -z
    elapsed = np.full((group.size, 3), 0.1)
    true = drift + shared + trace * (duration < 3)[:, None] * np.array([1.0, 0.0])
    noise = 0.3 * np.sqrt(0.1) * rng.normal(size=(group.size, 3, 2))
    increment = true[:, None] * elapsed[..., None] + noise
    return {
        "increment": increment, "elapsed": elapsed, "drift": drift, "duration": duration,
        "group": group,
    }  # fmt: skip


def test_a_trace_is_found_where_it_is():
    found = compare_relaxations(**snapshots(1, trace=0.5))
    assert found.enough == 4.0
    np.testing.assert_allclose(found.difference[:, 0], [0.5, 0.5, 0], atol=0.1)
    np.testing.assert_allclose(found.difference[:, 1], 0, atol=0.1)
    assert found.chances[:2].max() < 1e-4 < found.chances[2]
    told = found.summary(["m", "rho"])
    assert told["durations"] == list(DURATIONS) and told["enough"] == 4.0
    assert set(told["difference"]) == {"m", "rho"} and len(told["chance"]) == 3


def test_honest_snapshots_are_hardly_ever_accused():
    found = [compare_relaxations(**snapshots(seed)) for seed in range(200)]
    accused = sum((f.chances < LEVEL / 3).any() for f in found)
    # 1 % of 200, and three standard deviations.
    assert accused <= 7
    # The chances are those of a test: 5 % of them are below 0.05 (of the smaller of two, halved).
    low = np.mean([f.chances[0] < 0.05 for f in found])
    assert 0.01 < low < 0.11


def test_all_but_the_longest_may_be_too_short():
    data = snapshots(2)
    data["increment"] = data["increment"] + 0.05 * (data["duration"] < 8)[:, None, None]
    found = compare_relaxations(**data)
    assert found.enough is None and found.summary(["m", "rho"])["enough"] is None


def test_a_difference_that_does_not_matter_is_none():
    data = snapshots(3)
    data["increment"] = np.repeat((data["drift"] * 0.1)[:, None], 3, axis=1)
    small = 0.5 * MATTERS * data["drift"].std(axis=0)
    rng = np.random.default_rng(1)
    data["increment"] += 0.1 * small * (data["duration"] < 3)[:, None, None]
    data["increment"] += 1e-6 * rng.normal(size=data["increment"].shape)
    found = compare_relaxations(**data)
    assert found.chances[0] < 1e-6 and found.enough == 1.0


def test_one_duration_and_few_groups_tell_nothing():
    data = snapshots(4)
    rows = data["duration"] == 1.0
    with pytest.raises(Unavailable, match=r"relaxed for the same time: only several durations"):
        compare_relaxations(**{name: value[rows] for name, value in data.items()})
    with pytest.raises(Unavailable, match=r"need 4 groups .* there are 3"):
        compare_relaxations(**snapshots(5, groups=3))
