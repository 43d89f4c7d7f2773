"""Walks of vacancies against exact results."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from macrodyn.streams import seeds
from macrodyn.systems.nbmota.barriers import BOLTZMANN
from macrodyn.systems.nbmota.kinetics import Kinetics
from macrodyn.systems.nbmota.walk import EVENTS, STUCK, TIME
from tests.systems.nbmota.conftest import number_of_pair, pair_in_a_small_cell

HOT = 3000.0


def counted(states):
    return np.array([np.bincount(s.reshape(-1), minlength=4) for s in states])


def test_occupation_is_boltzmanns(model):
    # One odd atom and one vacancy among 54 sites: 53 distances, weighted by the energy alone.
    temperature = 1500.0
    states, weight = pair_in_a_small_cell(model, 0, temperature)
    kinetics = Kinetics(model, 1.0)
    # States at equal times: many walks, from every state, until memory of it is gone.
    walks, snapshots = 4, 30
    now = np.repeat(states, walks, axis=0)
    scale = np.exp(1.2 / (BOLTZMANN * temperature))
    counts = np.zeros(53)
    keys = seeds(7, "walks", index=len(now))
    for step in range(snapshots):
        walk = kinetics.walk(now, temperature, keys + np.uint64(step), duration=30.0 * scale)
        now = walk.states
        if step >= 5:
            for state in now:
                counts[number_of_pair(state, 0)] += 1
    assert walk.jumps.mean() > 20
    assert weight.max() / weight.min() > 1.5
    p = stats.chisquare(counts, weight * counts.sum()).pvalue
    assert p > 1e-3


def test_mean_residence_time_is_the_inverse_of_the_total_rate(model, alloys):
    state = alloys(1, (5, 5, 5))
    kinetics = Kinetics(model, 1e13)
    vacancy = np.argwhere(state[0] == 0)
    rate = (1e13 * np.exp(-kinetics.barriers(state, vacancy) / (BOLTZMANN * HOT))).sum()
    many = np.repeat(state, 4000, axis=0)
    walk = kinetics.walk(many, HOT, seeds(3, "one jump", index=4000), events=1)
    assert stats.kstest(walk.times * rate, "expon").pvalue > 1e-3
    assert (walk.jumps == 1).all() and (walk.ended == EVENTS).all()


def test_jumps_are_drawn_by_their_rates(model, alloys):
    state = alloys(1, (5, 5, 5))
    kinetics = Kinetics(model, 1.0)
    vacancy = np.argwhere(state[0] == 0)
    rates = np.exp(-kinetics.barriers(state, vacancy)[0] / (BOLTZMANN * HOT))
    walk = kinetics.walk(
        np.repeat(state, 8000, axis=0), HOT, seeds(5, "one jump", index=8000), events=1
    )
    ends = [np.argwhere(state == 0)[0] for state in walk.states]
    ends, counts = np.unique(ends, axis=0, return_counts=True)
    assert len(ends) == 8
    np.testing.assert_allclose(np.sort(counts / 8000), np.sort(rates / rates.sum()), atol=0.02)


@pytest.mark.parametrize("vacancies", [1, 3])
def test_composition_is_kept_and_walks_can_be_repeated(model, alloys, vacancies):
    states = alloys(5, (4, 5, 6), vacancies)
    kept = states.copy()
    kinetics = Kinetics(model, 1e13)
    keys = seeds(1, "walk", index=5)
    walk = kinetics.walk(states, HOT, keys, events=200)
    np.testing.assert_array_equal(states, kept)
    np.testing.assert_array_equal(counted(walk.states), counted(states))
    assert (walk.states != states).any(axis=(1, 2, 3, 4)).all()
    again = kinetics.walk(states[3:4], HOT, keys[3:4], events=200)
    np.testing.assert_array_equal(again.states[0], walk.states[3])
    assert again.times[0] == walk.times[3]


def test_the_cache_changes_nothing_but_the_work(model, alloys):
    states = alloys(2, (5, 5, 5), 2)
    keys = seeds(2, "walk", index=2)
    with_, without = (
        Kinetics(model, 1e13, cache=cache).walk(states, 600.0, keys, events=3000)
        for cache in (True, False)
    )
    np.testing.assert_array_equal(with_.states, without.states)
    np.testing.assert_array_equal(with_.times, without.times)
    assert with_.evaluations.sum() < 0.5 * without.evaluations.sum()


def test_a_walk_ends_at_its_time(model, alloys):
    states = alloys(3, (5, 5, 5))
    keys = seeds(4, "walk", index=3)
    kinetics = Kinetics(model, 1e13)
    whole = kinetics.walk(states, HOT, keys, events=50)
    walk = kinetics.walk(states, HOT, keys, duration=whole.times[1])
    assert (walk.times == whole.times[1]).all() and (walk.ended == TIME).all()
    assert walk.jumps[1] in (49, 50)
    shorter = kinetics.walk(states[1:2], HOT, keys[1:2], events=49)
    late = kinetics.walk(states[1:2], HOT, keys[1:2], duration=shorter.times[0] * (1 + 1e-12))
    np.testing.assert_array_equal(late.states, shorter.states)


def test_surroundings_of_a_window_are_frozen(model, alloys):
    kinetics = Kinetics(model, 1e13)
    margin = kinetics.margin
    side = 2 + 2 * margin
    states = alloys(20, (side, side, side), 6)
    inside = 3 * (slice(margin, margin + 2),)
    for state in states:
        state[0, margin, margin, margin] = 0
    walk = kinetics.walk(states, HOT, seeds(6, "window", index=20), events=40, inside=inside)
    changed = walk.states != states
    assert changed.any(axis=(1, 2, 3, 4)).all()
    changed[(slice(None), slice(None), *inside)] = False
    assert not changed.any()


def test_a_window_without_its_margin_is_refused(model, alloys):
    kinetics = Kinetics(model, 1e13)
    with pytest.raises(ValueError, match="beyond each end"):
        kinetics.walk(
            alloys(1, (6, 6, 6)), HOT, seeds(0, "w", index=1), events=1, inside=3 * (slice(1, 5),)
        )


def test_without_a_vacancy_nothing_happens(model):
    full = np.ones((1, 2, 4, 4, 4), np.uint8)
    walk = Kinetics(model, 1e13).walk(full, HOT, seeds(0, "w", index=1), duration=1.0)
    assert walk.ended[0] == STUCK and walk.jumps[0] == 0 and walk.times[0] == 1.0


def test_a_walk_needs_an_end(model, alloys):
    with pytest.raises(ValueError, match="duration or a number of events"):
        Kinetics(model, 1.0).walk(alloys(1, (4, 4, 4)), HOT, seeds(0, "w", index=1))
