"""Groups of small simulations, their shards, and direct simulation for reference."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from macrodyn.sampling.cost import Cost
from macrodyn.sampling.groups import (
    by_condition,
    initial_ranges,
    initial_values,
    make_groups,
)
from macrodyn.sampling.simulate import simulate_reference, simulate_small
from macrodyn.sampling.work import Work
from macrodyn.systems import Component

TIMES = (0.0, 0.5, 2.0)


def small(system, groups, **changes):
    settings = {"replicas": 3, "times": TIMES, "seed": 5, "work": Work()}
    return simulate_small(system, groups, (6, 4), **{**settings, **changes})


def test_groups_cover_the_range_evenly():
    groups = make_groups(40, {"m": (-0.8, 0.6)}, {}, seed=1)
    parts = np.floor((groups.macrostate[:, 0] + 0.8) / 1.4 * 40).astype(int)
    np.testing.assert_array_equal(parts, np.arange(40))
    assert groups.condition_values.shape == (40, 0)
    np.testing.assert_array_equal(groups.index, np.arange(40))
    jitter = (groups.macrostate[:, 0] + 0.8) / 1.4 * 40 - np.arange(40)
    assert jitter.std() > 0.2


def test_groups_are_made_for_every_combination_of_conditions():
    conditions = {"temperature": (2.0, 2.5, 3.0), "field": (0.0, 0.1)}
    groups = make_groups(5, {"m": (-1, 1)}, conditions, seed=1)
    assert len(groups) == 30
    assert groups.condition_names == ("field", "temperature")
    rows, counts = np.unique(groups.condition_values, axis=0, return_counts=True)
    assert {tuple(r) for r in rows} == {(f, t) for f in (0.0, 0.1) for t in (2.0, 2.5, 3.0)}
    assert (counts == 5).all()
    assert len(np.unique(groups.macrostate)) == 30


def test_groups_cover_the_ranges_of_all_components():
    groups = make_groups(50, {"a": (0.0, 1.0), "b": (5.0, 6.0), "c": (-1.0, 0.0)}, {}, seed=1)
    assert groups.components == ("a", "b", "c")
    strata = np.floor((groups.macrostate - [0, 5, -1]) * 50).astype(int)
    np.testing.assert_array_equal(strata[:, 0], np.arange(50))
    np.testing.assert_array_equal(np.sort(strata, axis=0), np.tile(np.arange(50)[:, None], 3))
    # Independent permutations: correlations of 50 ranks have a standard deviation of 1/7.
    assert (np.abs(np.corrcoef(strata.T)[np.triu_indices(3, 1)]) < 0.6).all()


def test_more_components_leave_the_first_as_it_is():
    one = make_groups(9, {"a": (0.0, 1.0)}, {"t": (1.0, 2.0)}, seed=4).macrostate
    two = make_groups(9, {"a": (0.0, 1.0), "b": (0.0, 1.0)}, {"t": (1.0, 2.0)}, seed=4).macrostate
    np.testing.assert_array_equal(one[:, 0], two[:, 0])


def test_initial_values_are_every_combination(make_clock):
    system = make_clock(1)
    np.testing.assert_array_equal(initial_values(system, [0.1, 0.2]), [[0.1], [0.2]])
    system.macrostate = (Component("k", 0, 1), Component("m", 0, 1))
    found = initial_values(system, {"m": [3, 4], "k": [1, 2]})
    np.testing.assert_array_equal(found, [[1, 3], [1, 4], [2, 3], [2, 4]])
    assert initial_ranges(system, {"m": [3, 4], "k": [1, 2]}) == {"k": (1, 2), "m": (3, 4)}
    with pytest.raises(ValueError, match="2 numbers: give each by name"):
        initial_values(system, [0.1])
    with pytest.raises(ValueError, match=r"names \['k'\], but an initial macrostate is"):
        initial_ranges(system, {"k": [0, 1]})


def test_groups_are_reproducible():
    same = [make_groups(9, {"m": (-1, 1)}, {}, seed=s).macrostate for s in (1, 1, 2)]
    np.testing.assert_array_equal(same[0], same[1])
    assert (same[0] != same[2]).all()


@pytest.mark.parametrize("total", [1, 2, 3, 7, 12])
def test_shards_are_a_partition(total):
    groups = make_groups(10, {"m": (-1, 1)}, {"field": (0.0, 0.2)}, seed=1)
    shards = [groups.shard(i, total) for i in range(total)]
    index = np.concatenate([s.index for s in shards])
    order = np.argsort(index)
    np.testing.assert_array_equal(index[order], groups.index)
    for name in ("macrostate", "condition_values"):
        joined = np.concatenate([getattr(s, name) for s in shards])
        np.testing.assert_array_equal(joined[order], getattr(groups, name))
    sizes = [len(s) for s in shards]
    assert max(sizes) - min(sizes) <= 1


def test_systems_under_conditions_have_their_parameters(make_ising):
    values = np.array([[0.1, 2.0], [0.0, 2.0], [0.1, 2.0], [0.1, 3.0]])
    parts = list(by_condition(make_ising(9.0, 0.7), ("field", "temperature"), values))
    assert sorted(np.concatenate([rows for _, rows in parts])) == [0, 1, 2, 3]
    for system, rows in parts:
        for row in rows:
            found = system.parameters.field, system.parameters.temperature
            assert found == tuple(values[row])
    (system, rows), *rest = by_condition(make_ising(9.0, 0.7), (), np.empty((3, 0)))
    assert not rest and system.parameters.temperature == 9.0 and list(rows) == [0, 1, 2]
    with pytest.raises(ValidationError):
        list(by_condition(make_ising(), ("temperature",), np.array([[-1.0]])))


@pytest.mark.parametrize("total", [2, 3, 5])
@pytest.mark.parametrize("conditions", [{}, {"field": (0.0, 0.3)}], ids=["none", "field"])
def test_shards_together_are_the_whole_bit_by_bit(make_ising, total, conditions):
    groups = make_groups(7, {"m": (-0.9, 0.9)}, conditions, seed=3)
    whole = small(make_ising(), groups)
    parts = [small(make_ising(), groups.shard(i, total)) for i in range(total)]
    joined = xr.concat(parts, "group", data_vars="minimal").sortby("group")
    xr.testing.assert_identical(joined, whole)


def test_small_simulations_are_named_and_distinct(make_ising):
    work = Work()
    groups = make_groups(6, {"m": (-0.5, 0.5)}, {}, seed=3)
    data = small(make_ising(), groups, work=work)
    assert data.states.dims == ("group", "time", "replica", "channel", "x", "y")
    assert data.states.shape == (6, 3, 3, 1, 6, 4) and data.states.dtype == np.int8
    np.testing.assert_array_equal(data.time, TIMES)
    np.testing.assert_array_equal(data.macrostate, groups.macrostate)
    assert work.cost.site_updates == 6 * 3 * 24 * 2.0
    flat = data.states.values.reshape(18 * 3, -1)
    assert len(np.unique(flat, axis=0)) > 50
    other = small(make_ising(), groups, seed=6)
    assert (other.states != data.states).any()


def test_conditions_change_the_dynamics(make_ising):
    groups = make_groups(20, {"m": (-0.5, 0.5)}, {"field": (-2.0, 2.0)}, seed=3)
    data = small(make_ising(), groups, replicas=10, times=(0.0, 10.0))
    late = data.states.isel(time=1).mean(("replica", "channel", "x", "y")).values
    assert (np.sign(late) == np.sign(data.condition_values.values[:, 0])).all()


def test_first_snapshot_has_the_groups_magnetisation(make_ising):
    groups = make_groups(8, {"m": (-1, 1)}, {}, seed=3)
    data = small(make_ising(), groups, replicas=400, times=(0.0, 0.1))
    mean = data.states.isel(time=0).mean(("replica", "channel", "x", "y")).values
    wanted = groups.macrostate[:, 0]
    error = np.sqrt((1 - wanted**2) / (400 * 24))
    assert (np.abs(mean - wanted) < 5 * error).all()


def test_recorded_times_need_not_begin_with_zero(make_clock):
    data = small(make_clock(1), make_groups(2, {"m": (0, 0.1)}, {}, seed=1), times=(1.5, 1.5, 4.0))
    passed = data.states.mean(("replica", "channel", "x", "y"), keep_attrs=False)
    np.testing.assert_allclose(passed - data.macrostate.isel(component=0), [[1.5, 1.5, 4.0]] * 2)


def test_progress_counts_trajectories_and_times(make_clock):
    seen = []
    work = Work(progress=lambda done, total: seen.append((done, total)))
    small(make_clock(2), make_groups(2, {"m": (0, 1)}, {}, seed=1), work=work)
    assert seen[-1] == (2 * 3 * 3, 2 * 3 * 3)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_reference_does_not_depend_on_its_shards(make_ising):
    system, initial, numbers = make_ising(), np.repeat([-0.5, 0.5], 4), np.arange(8)

    def run(which, work=None):
        return simulate_reference(
            system,
            (12, 8),
            initial=initial[which],
            numbers=numbers[which],
            times=TIMES,
            seed=5,
            work=work or Work(),
            examples=[1, 5],
        )

    work = Work()
    whole = run(np.arange(8), work)
    assert whole.observables.shape == (8, 3, 2)
    assert whole.example_states.shape == (2, 3, 1, 12, 8)
    assert whole.example_number.values.tolist() == [1, 5]
    assert work.cost.site_updates == 8 * 96 * 2.0
    for part in ([0, 1, 2], [7, 5]):
        np.testing.assert_array_equal(run(part).observables, whole.observables[part])
    np.testing.assert_array_equal(run([7, 5]).example_states[0], whole.example_states[1])
    for moment, time in enumerate(whole.example_time.values):
        shown = system.observe(whole.example_states.values[:, moment])
        np.testing.assert_array_equal(shown, whole.observables.sel(time=time)[[1, 5]])
    np.testing.assert_array_equal(whole.observable, system.observable_names)


def test_states_of_examples_are_few_where_they_are_large(make_ising):
    times = np.arange(100) / 10

    def kept(states: float) -> list[float]:
        found = simulate_reference(
            make_ising(),
            (8, 4),
            initial=np.zeros((2, 1)),
            numbers=np.arange(2),
            times=times,
            seed=5,
            work=Work(),
            example_bytes=int(states * 32),
        )
        assert found.example_states.sizes["example_time"] == found.sizes["example_time"]
        return found.example_time.values.tolist()

    assert kept(100) == times.tolist()
    few = kept(12)
    assert 8 <= len(few) <= 12 and few[0] == 0 and few[-1] == times[-1]
    assert np.diff(few)[0] < 0.2 * np.diff(few)[-1]
    assert kept(0.5) == [0, times[-1]]


def small_run(system):
    return small(system, make_groups(4, {"m": (-1, 1)}, {}, seed=3))


def reference_run(system):
    return simulate_reference(
        system,
        (12, 8),
        initial=np.zeros((12, 1)),
        numbers=np.arange(12),
        times=TIMES,
        seed=5,
        work=Work(),
    )


@pytest.mark.parametrize("run", [small_run, reference_run])
def test_no_stream_is_used_twice(make_clock, run):
    """Each of 12 trajectories needs one to begin with, and one for each interval."""
    system = make_clock(2)
    run(system)
    assert len(system.keys) == 12 * 3
    assert len(set(system.keys)) == len(system.keys)


def test_cost_counts_site_updates():
    cost = Cost()
    cost.add(100, 2.5)
    cost.add(10, 0.5)
    cost.add(3, [0.5, 1.5, np.inf])
    assert cost.site_updates == 261.0


def test_cost_does_not_depend_on_how_the_work_is_cut():
    elapsed = np.random.default_rng(0).exponential(size=1000)
    whole, parts = Cost(), Cost()
    whole.add(7, elapsed)
    for part in np.array_split(elapsed[::-1], 13):
        parts.add(7, part)
    assert parts.site_updates == whole.site_updates == pytest.approx(7 * elapsed.sum())
