"""Chains of states that a vacancy flickers among: exact times and states of their exits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm

from macrodyn.streams import seeds
from macrodyn.systems.nbmota.barriers import BOLTZMANN
from macrodyn.systems.nbmota.flicker import leave
from macrodyn.systems.nbmota.kinetics import Kinetics
from macrodyn.systems.nbmota.walk import TIME

# Edges of trees, each from its parent to a child, of 2 to 4 states.
TREES = {
    "pair": [(0, 1)],
    "line": [(0, 1), (1, 2)],
    "middle": [(0, 1), (0, 2)],
    "four in a line": [(0, 1), (1, 2), (2, 3)],
    "star": [(0, 1), (0, 2), (0, 3)],
}


def chain(edges, seed, spread=3.0):
    """Rates that differ by orders of magnitude, on a tree."""
    rng = np.random.default_rng(seed)
    n = len(edges) + 1
    within = np.zeros((n, n))
    for a, b in edges:
        within[a, b], within[b, a] = np.exp(rng.normal(0, spread, 2))
    return within, np.exp(rng.normal(-4, spread, n))


def still_within(within, out, time):
    """What is in each state after a time, from the first."""
    return expm((within - np.diag(within.sum(1) + out)) * time)[0]


@pytest.mark.parametrize("edges", TREES.values(), ids=TREES)
@pytest.mark.parametrize("seed", range(4))
def test_times_and_states_are_those_of_the_exponential_of_the_rates(edges, seed):
    within, out = chain(edges, seed)
    for first in (1e-6, 0.03, 0.5, 0.9, 0.999):
        time, _, _, left = leave(within, out, 0, first, 0.5, math.inf)
        assert left
        share = still_within(within, out, time)
        assert share.sum() == pytest.approx(first, rel=1e-8)
        chances = share * out / (share @ out)
        seconds = (np.arange(2000) + 0.5) / 2000
        drawn = [leave(within, out, 0, first, s, math.inf) for s in seconds]
        found = np.bincount([state for _, state, _, _ in drawn], minlength=len(out))
        np.testing.assert_allclose(found / 2000, chances, atol=6e-4)
        # What is left of the number is spread evenly again.
        likely = int(np.argmax(chances))
        rest = np.array([r for _, state, r, _ in drawn if state == likely])
        assert stats.kstest(rest, "uniform").statistic < 0.01


@pytest.mark.parametrize("edges", TREES.values(), ids=TREES)
def test_before_the_limit_it_is_where_it_is_if_it_has_not_left(edges):
    within, out = chain(edges, 7)
    limit = leave(within, out, 0, 0.6, 0.5, math.inf)[0]
    assert leave(within, out, 0, 0.61, 0.5, limit)[3]
    seconds = (np.arange(2000) + 0.5) / 2000
    drawn = [leave(within, out, 0, 0.3, s, limit) for s in seconds]
    assert not any(left for *_, left in drawn)
    assert {time for time, *_ in drawn} == {limit}
    share = still_within(within, out, limit)
    found = np.bincount([state for _, state, _, _ in drawn], minlength=len(out))
    np.testing.assert_allclose(found / 2000, share / share.sum(), atol=6e-4)


def test_rare_exits_come_at_their_rate():
    """Nine orders of magnitude between the flicker and the exit."""
    within, out = np.array([[0.0, 1.0], [3.0, 0.0]]), np.array([1e-9, 0.0])
    time = leave(within, out, 0, math.exp(-1.0), 0.5, math.inf)[0]
    # Three quarters of the time it is where it can leave.
    assert time == pytest.approx(1 / 0.75e-9, rel=1e-6)


@pytest.fixture(scope="module")
def flickering(model):
    """A cold cell whose vacancy flickers, a time in which it leaves its chains, and the walks."""
    rng = np.random.default_rng(8)
    flat = np.resize([1, 2, 3], 54).astype(np.uint8)
    flat[0] = 0
    state = rng.permuted(flat).reshape(1, 2, 3, 3, 3)
    return state, 300.0


def ends(kinetics, state, temperature, duration, number, key):
    walk = kinetics.walk(
        np.repeat(state, number, axis=0),
        temperature,
        seeds(key, "flicker", index=number),
        duration=duration,
    )
    assert (walk.ended == TIME).all()
    return walk


@pytest.mark.parametrize("chain_of", [2, 3, 4])
def test_walks_with_chains_end_as_those_without(model, flickering, chain_of):
    state, temperature = flickering
    plain, quick = (Kinetics(model, 1.0, chain=c) for c in (0, chain_of))
    unit = math.exp(0.9 / (BOLTZMANN * temperature))
    for times in (1.0, 30.0, 1000.0):
        a = ends(plain, state, temperature, times * unit, 1500, 1)
        b = ends(quick, state, temperature, times * unit, 1500, 2)
        # Where the vacancy is, and the energy: what all the atoms have done.
        place_a, place_b = ((w.states.reshape(1500, -1) == 0).argmax(1) for w in (a, b))
        table = np.array([np.bincount(p, minlength=54) for p in (place_a, place_b)])
        often = table.sum(0) >= 10
        table = np.column_stack([table[:, often], table[:, ~often].sum(1)])
        table = table[:, table.sum(0) > 0]
        assert stats.chi2_contingency(table).pvalue > 1e-3
        energies = [model.energy(w.states) for w in (a, b)]
        assert stats.ks_2samp(*energies).pvalue > 1e-3
    assert b.chains.sum() > 100
    assert b.jumps.mean() < 0.5 * a.jumps.mean()


def test_several_vacancies_may_flicker(model, alloys):
    state = alloys(1, (4, 4, 4), 3, seed=2)
    plain, quick = (Kinetics(model, 1.0, chain=c) for c in (0, 3))
    duration = 300 * math.exp(1.0 / (BOLTZMANN * 500.0))
    a, b = (ends(k, state, 500.0, duration, 500, s) for k, s in ((plain, 3), (quick, 4)))
    assert b.chains.sum() > 100
    assert stats.ks_2samp(*(model.energy(w.states) for w in (a, b))).pvalue > 1e-3
    counts = [np.bincount(w.states[0].reshape(-1), minlength=4) for w in (a, b)]
    np.testing.assert_array_equal(*counts)


def test_chains_within_a_window_stay_inside(model, alloys):
    kinetics = Kinetics(model, 1.0, chain=3)
    margin = kinetics.margin
    states = alloys(6, 3 * (2 + 2 * margin,), 0)
    states[:, 0, margin, margin, margin] = 0
    inside = 3 * (slice(margin, margin + 2),)
    duration = 1e4 * math.exp(1.0 / (BOLTZMANN * 500.0))
    walk = kinetics.walk(
        states, 500.0, seeds(6, "window", index=6), duration=duration, inside=inside
    )
    assert walk.chains.sum() > 0
    changed = walk.states != states
    changed[(slice(None), slice(None), *inside)] = False
    assert not changed.any()


def test_they_repeat_bit_by_bit(model, flickering):
    state, temperature = flickering
    kinetics = Kinetics(model, 1.0, chain=4)
    duration = 1e3 * math.exp(1.0 / (BOLTZMANN * temperature))
    a, b = (ends(kinetics, state, temperature, duration, 5, 9) for _ in range(2))
    np.testing.assert_array_equal(a.states, b.states)
    np.testing.assert_array_equal(a.jumps, b.jumps)


def test_jumps_cannot_end_them(model, flickering):
    state, temperature = flickering
    with pytest.raises(ValueError, match="within chains are not counted"):
        Kinetics(model, 1.0, chain=2).walk(state, temperature, seeds(1, "w", index=1), events=5)


@pytest.mark.parametrize("length", [1, 5, -2])
def test_other_lengths_are_refused(model, length):
    with pytest.raises(ValueError, match="0 or 2 to 4 states"):
        Kinetics(model, 1.0, chain=length)
