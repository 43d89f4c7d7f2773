"""What the configuration of a sampling stage means."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize(("up_to_age", "total"), [(True, 0 + 1 + 2), (False, 2 + 2 + 2)])
def test_snapshots_are_relaxed_up_to_their_age(make_plan, sample, up_to_age, total):
    """Of ages 0, 1 and 3, for a duration of 2."""
    relaxation = {"duration": 2, "up_to_age": up_to_age}
    upsampled = sample(make_plan({"upsample": {"relaxation": relaxation}}), 1)["upsample"]
    # In each of 7 groups 4 snapshots of the first level and 2 of the last.
    sites = 7 * (4 * 30 * 12 + 2 * 30 * 24)
    assert upsampled.site_updates == sites * total


@pytest.mark.parametrize(("patch", "sites"), [([10, 6], 60), ([5, 6], 30)], ids=["10x6", "5x6"])
def test_pairs_that_stop_by_events_have_one_for_each_site(make_plan, sample, calls, patch, sites):
    changes = {"sizes": {"patch": patch}, "evolve": {"stop": "events"}, "baselines": []}
    sample(make_plan(changes), 1)
    # None where patches are relaxed.
    assert {given.get("events") for name, given in calls if name == "evolve_patch"} == {None, sites}


@pytest.mark.parametrize(("replicas", "taken"), [(8, 2 * 3), (4, 4)], ids=["enough", "too few"])
def test_naive_takes_as_many_small_systems_as_ours_patches(make_plan, sample, replicas, taken):
    """As 3 patches of 2 snapshots, as far as there are so many."""
    data = sample(make_plan({"simulate": {"replicas": replicas}}), 1)
    small, before = data["simulate"].states.values, data["evolve:naive"].before.values
    np.testing.assert_array_equal(before[:, 0], small[:, :, :taken].reshape(-1, 1, 10, 6))
