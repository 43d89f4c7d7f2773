"""The sampling stages: the same numbers, bit by bit, however the work is cut."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

RUNS = {
    "tiles": {},
    "published setting": {
        "upsample": {
            "method": "replicate",
            "relaxation": {"boundary": "periodic", "up_to_age": False},
        },
        "evolve": {
            "boundary": "periodic",
            "stop": "events",
            "patches": 1,
            "dt": 3,
            "lags": [1],
        },
    },
    "conditions": {"conditions": {"temperature": [2.3, 2.8], "field": [0.0, 0.2]}},
    "records of moves to equilibrium": {
        "upsample": {"snapshots": 6, "equilibrate": 4, "records": {"number": 3, "spacing": 2}},
        "evolve": {"patches": 1},
    },
    "smaller patches with a buffer": {
        "sizes": {"patch": [5, 6]},
        "evolve": {"buffer": 2},
        "baselines": [],
    },
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_results_do_not_depend_on_shards(make_plan, sample, changes):
    plan = make_plan(changes)
    one, many = sample(plan, 1), sample(plan, 3)
    assert one.keys() == many.keys()
    for name in one:
        xr.testing.assert_equal(one[name], many[name])
        for attribute in ("patches_total", "dt", "scope"):
            assert one[name].attrs.get(attribute) == many[name].attrs.get(attribute)
        # The cost is that of all shards.
        assert many[name].site_updates == one[name].site_updates


def test_most_shards_that_a_plan_allows(make_plan, sample):
    """One group in each shard."""
    plan = make_plan({"simulate": {"groups": 2}, "execution": {"shards": {"upsample": 9}}})
    one, many = sample(plan, 1), sample(plan, plan["snapshots"].shards)
    assert plan["snapshots"].shards == 2
    xr.testing.assert_equal(one["evolve:ours"], many["evolve:ours"])


def test_every_condition_has_its_groups(make_plan, sample):
    plan = make_plan(RUNS["conditions"])
    small = sample(plan, 2)["simulate"]
    values, counts = np.unique(small.condition_values.values, axis=0, return_counts=True)
    assert list(small.condition.values) == ["field", "temperature"]
    assert values.tolist() == [[0.0, 2.3], [0.0, 2.8], [0.2, 2.3], [0.2, 2.8]]
    assert set(counts) == {7}


def test_equal_sizes_take_the_small_snapshots(make_plan, sample):
    plan = make_plan({"sizes": {"small": [30, 24]}, "evolve": {"patches": 1}, "baselines": []})
    data = sample(plan, 2)
    small, large = data["simulate"].states, data["upsample"].states
    expected = small.values[:, :, :2].reshape(large.shape)
    np.testing.assert_array_equal(large.values, expected)
    assert data["evolve:ours"].attrs["patches_total"] == 1


def test_equal_sizes_with_too_few_replicas_name_the_keys(make_plan, sample):
    changes = {"sizes": {"small": [30, 24]}, "evolve": {"patches": 1}}
    plan = make_plan({**changes, "simulate": {"replicas": 1}})
    with pytest.raises(ValueError, match=r"simulate\.replicas \(1\).*upsample\.snapshots \(2\)"):
        sample(plan, 1)


def test_records_go_on_with_the_moves_to_equilibrium(make_plan, sample):
    """The first of each chain are the snapshots without records, and the others follow them."""
    alone = {"snapshots": 2, "equilibrate": 4}
    several = {"snapshots": 6, "equilibrate": 4, "records": {"number": 3, "spacing": 2}}
    few, many = (
        sample(make_plan({"upsample": upsample, "baselines": []}), 1)
        for upsample in (alone, several)
    )
    first, states = few["upsample"].states.values, many["upsample"].states.values
    chains = states.reshape(len(first), 3, *states.shape[1:])
    np.testing.assert_array_equal(chains[:, 0], first)
    moved = (chains[:, 1:] != chains[:, :-1]).mean(axis=(2, 3, 4))
    assert moved.shape == (len(first), 2) and (moved > 0.05).all()
    np.testing.assert_array_equal(many["upsample"].group, np.repeat(few["upsample"].group, 3))
    assert len(np.unique(many["upsample"].number)) == len(states)
    # Eight sweeps of a chain, four of a snapshot alone; each takes the same tiles.
    sites = first[0].size * len(first)
    extra = many["upsample"].site_updates - few["upsample"].site_updates
    assert extra == pytest.approx(4 * sites)


def test_records_spare_small_systems(make_plan, sample):
    """Where nothing is upsampled, one small system begins a chain of several snapshots."""
    plan = make_plan(
        {
            "sizes": {"small": [30, 24]},
            "simulate": {"replicas": 2},
            "upsample": {"snapshots": 6, "equilibrate": 2, "records": {"number": 3}},
            "evolve": {"patches": 1},
            "baselines": [],
        }
    )
    data = sample(plan, 1)
    assert data["upsample"].sizes["sample"] == 3 * data["simulate"].states[:, :, :2, 0, 0, 0].size
