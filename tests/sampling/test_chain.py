"""Snapshots along a relaxation: each record as if it were the only one, and the true history."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.lattice import PatchGeometry
from macrodyn.sampling.chain import Chain
from macrodyn.sampling.cost import Cost
from macrodyn.sampling.relax import Relaxation, relax, relax_sweeps
from macrodyn.streams import seeds

SHAPE = (16, 16)


def records(chain, system, states, patch, keys, cost=None):
    """States at all records of a chain."""
    made, cost = [], Cost() if cost is None else cost
    for i in range(len(chain.after)):
        states, record = chain.advance(i, system, states, patch, keys, cost)
        made.append(record)
    return made


@pytest.fixture
def start(make_ising):
    keys = seeds(3, "start", index=6)
    return make_ising().initial_states(np.full((6, 1), 0.2), SHAPE, keys)


@pytest.mark.parametrize("patch", [(4, 4), (8, 16), SHAPE], ids=str)
@pytest.mark.parametrize("sweep", [0.5, 0.3])
def test_a_record_does_not_depend_on_the_others(make_ising, start, patch, sweep):
    """Neither where a record falls upon the end of a sweep nor where it falls between two."""
    system, geometry, keys = make_ising(), PatchGeometry(patch, 1), seeds(4, "chain", index=6)
    times = (0.0, 0.4, 0.5, 1.2, 1.3, 1.5, 3.0)
    chain = Chain(start=0.0, after=times, sweep=sweep)
    for time, record in zip(times, records(chain, system, start, geometry, keys), strict=True):
        alone = Chain(start=0.0, after=(time,), sweep=sweep)
        (expected,) = records(alone, system, start, geometry, keys)
        np.testing.assert_array_equal(record, expected)
        assert (time > 0) == bool((record != start).any())


def test_whole_sweeps_are_those_of_a_relaxation(make_ising, start):
    system, geometry, keys = make_ising(), PatchGeometry((4, 4), 1), seeds(4, "chain", index=6)
    chain = Chain(start=8.0, after=(0.5, 2.0), sweep=0.5)
    found = records(chain, system, start, geometry, keys)
    for time, record in zip(chain.after, found, strict=True):
        expected = relax(system, start, geometry, Relaxation(time, 0.5), keys, Cost())
        np.testing.assert_array_equal(record, expected)


@pytest.mark.parametrize("patch", [(4, 4), SHAPE], ids=["patches", "whole"])
def test_sweeps_in_parts_give_the_same_bits(make_ising, start, patch):
    system, geometry, keys = make_ising(), PatchGeometry(patch, 1), seeds(4, "chain", index=6)
    cost = Cost()
    whole = relax_sweeps(system, start, geometry, range(5), 0.5, keys, cost)
    assert cost.site_updates == 6 * 256 * 2.5
    states = start
    for part in (range(2), range(2, 2), range(2, 3), range(3, 5)):
        states = relax_sweeps(system, states, geometry, part, 0.5, keys, Cost())
    np.testing.assert_array_equal(states, whole)


@pytest.mark.parametrize(
    ("after", "spent"),
    [((1.0, 2.0), 2.0), ((0.0,), 0.0), ((0.7, 2.0), 2.2), ((0.1, 0.2, 0.3), 0.6)],
    ids=["on-the-grid", "nothing", "one-between", "all-between"],
)
def test_every_record_has_its_time_and_what_it_cost(make_clock, after, spent):
    """A record between two sweeps costs the part of a sweep that leads to it, besides."""
    system, cost, keys = make_clock(2), Cost(), seeds(1, "c", index=3)
    chain = Chain(start=1.0, after=after, sweep=0.5)
    found = records(chain, system, np.ones((3, 1, 8, 8)), PatchGeometry((4, 4), 1), keys, cost)
    for time, record in zip(after, found, strict=True):
        np.testing.assert_allclose(record, 1.0 + time, rtol=1e-12)
    assert cost.site_updates == pytest.approx(3 * 64 * spent)


def begin(system, chain, macrostates, number, *, groups=(0,), pools=None, shape=SHAPE):
    return chain.begin(
        system,
        np.empty(0) if pools is None else pools,
        np.array(macrostates),
        shape,
        method="tile",
        number=number,
        seed=2,
        groups=groups,
    )


def test_from_age_zero_are_initial_states_of_the_large_system(make_ising):
    """Mean and variance of m, and mean of neighbours' products, of independent spins."""
    system, n, number = make_ising(), 256, 20_000
    chain = Chain(start=0.0, after=(0.0,), sweep=0.5)
    states = begin(system, chain, [[0.3]], number)
    assert states.shape == (1, number, 1, *SHAPE) and states.dtype == system.dtype
    m = states[0].mean(axis=(1, 2, 3), dtype=float)
    variance = (1 - 0.3**2) / n
    assert abs(m.mean() - 0.3) < 4 * np.sqrt(variance / number)
    assert m.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / number))
    bonds = (states[0] * np.roll(states[0], 1, -1)).mean(axis=(1, 2, 3), dtype=float)
    assert abs(bonds.mean() - 0.3**2) < 4 * bonds.std() / np.sqrt(number)


def test_from_a_later_age_are_tiles_of_its_small_states(make_ising):
    system = make_ising()
    pools = system.initial_states(np.zeros((32, 1)), (4, 4), seeds(5, "small", index=32))[None]
    chain = Chain(start=8.0, after=(1.0,), sweep=0.5)
    (states,) = begin(system, chain, [[0.0]], 2, pools=pools)
    # Two states of sixteen tiles each: every small state once, up to a shift.
    tiles = states.reshape(2, 4, 4, 4, 4).transpose(0, 1, 3, 2, 4).reshape(32, 16)
    assert sorted(tiles.sum(axis=1)) == sorted(pools.reshape(32, 16).sum(axis=1))


def test_streams_are_those_of_the_group_and_of_where_the_chain_begins(make_ising):
    system = make_ising()
    early, late = (Chain(start=s, after=(1.0,), sweep=0.5) for s in (0.0, 8.0))
    keys = [chain.keys(7, (0, 1), 3) for chain in (early, late)]
    assert len(np.unique(np.concatenate(keys))) == 12
    np.testing.assert_array_equal(keys[0][3:], early.keys(7, (1,), 3))
    both = begin(system, early, [[0.1], [0.2]], 3, groups=(4, 9))
    (alone,) = begin(system, early, [[0.2]], 3, groups=(9,))
    np.testing.assert_array_equal(both[1], alone)


def test_a_chain_from_zero_is_the_history_of_the_system(make_ising):
    """Means and spreads of m and of the domain walls along it are those of direct simulation."""
    system, shape, number = make_ising(2.5, 0.1), (32, 32), 500
    chain = Chain(start=0.0, after=(0.5, 1.0, 2.0, 4.0, 8.0), sweep=0.5)
    (states,) = begin(system, chain, [[-0.3]], number, shape=shape)
    keys = chain.keys(1, (0,), number)
    along = records(chain, system, states, PatchGeometry((8, 8), 1), keys)
    keys = seeds(9, "initial", index=number)
    now = system.initial_states(np.full((number, 1), -0.3), shape, keys)
    before = 0.0
    for i, (time, record) in enumerate(zip(chain.after, along, strict=True)):
        now = system.evolve(now, time - before, seeds(9, "direct", i, index=number))
        before = time
        found, true = system.observe(record), system.observe(now)
        error = np.sqrt((found.var(axis=0) + true.var(axis=0)) / number)
        deviation = (found.mean(axis=0) - true.mean(axis=0)) / error
        assert (np.abs(deviation) < 4).all()
        np.testing.assert_allclose(found.std(axis=0), true.std(axis=0), rtol=0.15)
