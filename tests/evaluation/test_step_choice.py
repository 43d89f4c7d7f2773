"""Noise, memory and boundary, each planted in data where the others are absent."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.step_choice import StepError, StepPairs, best

GROUPS, AGES, EACH = 40, 8, 10


@pytest.fixture
def planted():
    rng = np.random.default_rng(5)
    group, age, _ = (a.ravel() for a in np.mgrid[:GROUPS, :AGES, :EACH])
    z = rng.uniform(-1, 1, (len(group), 1))
    drift = np.concatenate([-z, 0.5 * z**2], axis=1)
    return z, age.astype(float), group, drift, rng


def test_noise_is_that_of_the_fit(planted):
    z, age, group, drift, rng = planted
    n, sigma = len(z), 2.0
    found = StepPairs(z, age, group, planned=10 * n).errors(
        drift + sigma * drift.std(axis=0) * rng.normal(size=drift.shape), None, dt=1, buffer=0
    )
    # Six coefficients of a polynomial of degree five.
    assert found.noise == pytest.approx(sigma * np.sqrt(6 / (10 * n)), rel=0.05)
    assert found.memory < 0.1
    assert np.isnan(found.boundary)


def test_memory_is_what_differs_between_ages(planted):
    z, age, group, drift, rng = planted
    shift = 0.2 * drift.std(axis=0) * np.where(age < AGES / 2, 1.0, -1.0)[:, None]
    noise = 0.1 * drift.std(axis=0) * rng.normal(size=drift.shape)
    found = StepPairs(z, age, group).errors(drift + shift + noise, None, dt=1, buffer=0)
    assert found.memory == pytest.approx(0.2, rel=0.05)
    none = StepPairs(z, age, group).errors(drift + noise, None, dt=1, buffer=0)
    assert none.memory < 0.02


def test_snapshots_of_a_group_are_no_independent_witnesses(planted):
    """What a group's snapshots of an age share is noise between groups, and no memory."""
    z, age, group, drift, rng = planted
    shared = 0.3 * drift.std(axis=0) * rng.normal(size=(GROUPS, AGES, 2))
    found = StepPairs(z, age, group).errors(
        drift + shared[group, age.astype(int)], None, dt=1, buffer=0
    )
    # Taken for independent, 0.3 / sqrt(40) = 0.047 of it would be left.
    assert found.memory < 0.03


def test_boundary_is_the_difference_to_the_widest_buffer(planted):
    z, age, group, drift, rng = planted
    noise = 0.2 * drift.std(axis=0) * rng.normal(size=(2, *drift.shape))
    biased = 0.95 * (drift - drift.mean(axis=0)) + drift.mean(axis=0)
    pairs = StepPairs(z, age, group)
    found = pairs.errors(biased + noise[0], drift + noise[1], dt=1, buffer=0)
    assert found.boundary == pytest.approx(0.05, rel=0.15)
    assert pairs.errors(drift + noise[0], drift + noise[1], dt=1, buffer=0).boundary < 0.02


def test_memory_is_that_of_the_widest_buffer(planted):
    z, age, group, drift, rng = planted
    shift = 0.2 * drift.std(axis=0) * np.where(age < AGES / 2, 1.0, -1.0)[:, None]
    noise = 0.1 * drift.std(axis=0) * rng.normal(size=(2, *drift.shape))
    pairs = StepPairs(z, age, group)
    hidden = pairs.errors(drift + noise[0], drift + shift + noise[1], dt=1, buffer=0)
    assert hidden.memory == pytest.approx(0.2, rel=0.05)
    spurious = pairs.errors(drift + shift + noise[0], drift + noise[1], dt=1, buffer=0)
    assert spurious.memory < 0.03


def test_no_number_depends_on_units(planted):
    z, age, group, drift, rng = planted
    rate = drift + 0.5 * rng.normal(size=drift.shape)
    one = StepPairs(z, age, group).errors(rate, 0.9 * rate, dt=1, buffer=0)
    other = StepPairs(z * 2.0**40, age * 8, group).errors(
        rate * 2.0**-50, 0.9 * rate * 2.0**-50, dt=1, buffer=0
    )
    assert one.as_dict() == pytest.approx(other.as_dict(), rel=1e-6)


def test_the_least_total_is_chosen_and_the_shorter_of_equals():
    def error(dt, buffer, noise, boundary=float("nan")):
        return StepError(dt=dt, buffer=buffer, noise=noise, memory=0.0, boundary=boundary)

    errors = [error(2, 1, 0.3), error(1, 1, 0.3), error(1, 0, 0.2, 0.5), error(4, 0, 0.9)]
    assert best(errors) == errors[1]
    assert errors[2].total == pytest.approx(np.hypot(0.2, 0.5))
    assert errors[0].as_dict()["boundary"] is None
