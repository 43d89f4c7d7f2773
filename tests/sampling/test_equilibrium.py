"""Equilibrium by moves that are no dynamics: the distribution, and the bookkeeping of chains."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from macrodyn.sampling.equilibrium import sample_equilibrium
from macrodyn.sampling.work import Work
from macrodyn.streams import seeds
from macrodyn.systems.curie_weiss import CurieWeiss
from macrodyn.systems.ising import Ising, IsingParameters
from macrodyn.systems.ising.clusters import cluster_updates

SHAPE = (3, 4)


def weights(temperature, field):
    """Boltzmann weights of all states of a small lattice, by magnetisation and energy."""
    states = np.array(list(product([-1, 1], repeat=12)), np.int8).reshape(-1, *SHAPE)
    bonds = sum((states * np.roll(states, 1, axis)).sum((1, 2), dtype=int) for axis in (1, 2))
    total = states.sum((1, 2), dtype=int)
    weight = np.exp((bonds + field * total) / temperature)
    return states, weight / weight.sum()


@pytest.mark.parametrize("field", [0.0, 0.3, -0.1])
def test_clusters_have_boltzmanns_distribution(field):
    temperature = 2.4
    states, weight = weights(temperature, field)
    number = {state.tobytes(): k for k, state in enumerate(states)}
    now = np.ones((200, *SHAPE), np.int8)
    keys, counts = seeds(1, "clusters", index=200), np.zeros(len(states))
    for step in range(150):
        now = cluster_updates(now, temperature, field, 2, keys + np.uint64(step))
        if step >= 10:
            np.add.at(counts, [number[state.tobytes()] for state in now], 1)
    # By magnetisation and energy: single states are too rare.
    bonds = sum((states * np.roll(states, 1, axis)).sum((1, 2), dtype=int) for axis in (1, 2))
    classes = np.unique(
        np.stack([states.sum((1, 2), dtype=int), bonds]), axis=1, return_inverse=True
    )[1].ravel()
    found, expected = (np.bincount(classes, values) for values in (counts, weight * counts.sum()))
    often = expected > 10
    found, expected = (np.r_[v[often], v[~often].sum()] for v in (found, expected))
    assert stats.chisquare(found, expected).pvalue > 1e-3


def test_states_are_left_unchanged_and_streams_are_their_own():
    now = np.ones((5, 8, 8), np.int8)
    keys = seeds(2, "clusters", index=5)
    after = cluster_updates(now, 2.5, 0.1, 3, keys)
    assert (now == 1).all() and (after != 1).any()
    np.testing.assert_array_equal(cluster_updates(now[3:], 2.5, 0.1, 3, keys[3:]), after[3:])


def sampled(numbers, work=None, samples=30):
    system = Ising(IsingParameters(temperature=2.4, field=0.1))
    return sample_equilibrium(
        system,
        (8, 8),
        initial=np.where(numbers % 2, 0.9, -0.9)[:, None],
        numbers=numbers,
        burn_in=50,
        samples=samples,
        spacing=5,
        seed=3,
        work=work or Work(),
    )


def test_samples_do_not_depend_on_how_chains_are_cut():
    whole = sampled(np.arange(6))
    part = sampled(np.arange(6)[1::2])
    np.testing.assert_array_equal(part.observables, whole.observables[1::2])
    assert list(part.number) == [1, 3, 5]


def test_chains_forget_where_they_began_and_agree_with_the_dynamics():
    numbers = np.arange(40)
    found = sampled(numbers).observables.values.mean(1)
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    low, high = found[::2].mean(0), found[1::2].mean(0)
    assert (np.abs(high - low) < 4 * np.sqrt(2) * np.sqrt(2) * error).all()
    system = Ising(IsingParameters(temperature=2.4, field=0.1))
    states = system.initial_states(np.full((300, 1), 0.5), (8, 8), seeds(1, "i", index=300))
    late = system.observe(system.evolve(states, 400.0, seeds(2, "e", index=300)))
    late_error = late.std(0) / np.sqrt(300)
    assert (np.abs(late.mean(0) - found.mean(0)) < 4 * np.hypot(error, late_error)).all()


def test_sweeps_are_counted():
    work = Work()
    sampled(np.arange(2), work, samples=4)
    assert work.cost.site_updates == 2 * 64 * (50 + 3 * 5)


def test_a_system_says_whether_it_has_such_moves():
    assert Ising(IsingParameters(temperature=2.0)).knows_equilibrium
    other = CurieWeiss(CurieWeiss.Parameters(temperature=1.5))
    assert not other.knows_equilibrium
    with pytest.raises(NotImplementedError, match="no moves but its dynamics"):
        other.equilibrate(np.ones((1, 1, 4, 4), np.int8), 1, seeds(1, "e", index=1))
