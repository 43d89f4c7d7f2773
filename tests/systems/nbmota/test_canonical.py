"""Canonical Monte Carlo against exact weights, and against the kinetics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from macrodyn.streams import seeds
from macrodyn.systems.nbmota.barriers import BOLTZMANN
from macrodyn.systems.nbmota.bonds import bonds
from macrodyn.systems.nbmota.canonical import Canonical
from macrodyn.systems.nbmota.kinetics import Kinetics
from tests.systems.nbmota.conftest import number_of_pair, pair_in_a_small_cell


def test_pairs_are_occupied_by_their_boltzmann_weights(model):
    """Two odd atoms among 54 sites: 53 distances, weighted by the energy alone."""
    temperature = 300.0
    states, weight = pair_in_a_small_cell(model, 3, temperature)
    assert weight.max() / weight.min() > 5
    counts = np.zeros(53)
    now, keys = np.repeat(states[:1], 400, axis=0), seeds(1, "swaps", index=400)
    for step in range(40):
        now, _ = Canonical(model).exchange(now, temperature, 10, keys + np.uint64(step))
        if step < 4:
            continue
        for state in now:
            counts[number_of_pair(state, 3)] += 1
    assert stats.chisquare(counts, weight * counts.sum()).pvalue > 1e-3


def test_kinetics_and_exchanges_lead_to_the_same_order(model, alloys):
    states = alloys(60, (4, 4, 4), 2)
    hot = 2500.0
    swapped, accepted = Canonical(model).exchange(states, hot, 100, seeds(1, "s", index=60))
    # At a time, not after a jump: states that are left soon are seen less.
    duration = 5000 * np.exp(1.0 / (BOLTZMANN * hot))
    walk = Kinetics(model, 1.0).walk(states, hot, seeds(2, "w", index=60), duration=duration)
    assert walk.jumps.mean() > 4000
    assert (accepted > 0.2).all()
    found = [bonds(s) * 3 / states[0].size for s in (swapped, walk.states)]
    mean, error = (
        np.array([f(part) for part in found])
        for f in (lambda x: x.mean(0), lambda x: x.std(0) / np.sqrt(60))
    )
    assert (np.abs(mean[1] - mean[0]) < 3.5 * np.hypot(*error)).all()
    assert stats.ks_2samp(*(model.energy(s) for s in (swapped, walk.states))).pvalue > 1e-3


def test_composition_is_kept_and_it_repeats(model, alloys):
    states = alloys(3, (4, 5, 6), 2)
    kept, keys = states.copy(), seeds(4, "s", index=3)
    first, _ = Canonical(model).exchange(states, 500.0, 5, keys)
    np.testing.assert_array_equal(states, kept)
    assert (first != states).any(axis=(1, 2, 3, 4)).all()
    for before, after in zip(states, first, strict=True):
        np.testing.assert_array_equal(np.bincount(before.flat), np.bincount(after.flat))
    again, _ = Canonical(model).exchange(states[1:], 500.0, 5, keys[1:])
    np.testing.assert_array_equal(again, first[1:])


def test_the_colder_the_lower_the_energy(model, alloys):
    states = alloys(4, (4, 4, 4))
    energies = [
        model.energy(Canonical(model).exchange(states, t, 100, seeds(1, "s", index=4))[0]).mean()
        for t in (3000.0, 1000.0, 300.0)
    ]
    assert energies[0] > energies[1] > energies[2]


def test_barriers_without_an_energy_have_no_equilibrium(model):
    free = replace(model, shells=model.shells[:0], energies=model.energies[:0])
    with pytest.raises(ValueError, match="without an energy"):
        Canonical(free)


def test_cells_that_are_too_small_are_refused(model, alloys):
    with pytest.raises(ValueError, match="too small for these energies"):
        Canonical(model).exchange(alloys(1, (2, 4, 4)), 500.0, 1, seeds(1, "s", index=1))
