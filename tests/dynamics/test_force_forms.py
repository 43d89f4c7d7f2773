"""Losses of partial forces: quadratic forms, what they mean on average, and their metric."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from macrodyn.dynamics.force_forms import ForceProducts, unresolved_fraction

N, D, KNOWN = 7, 2, np.array([1, 5])
UNKNOWN = np.setdiff1d(np.arange(N), KNOWN)
NONE = np.array([], dtype=int)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def case(rng):
    """Jacobians, rates of change and drifts of 5 configurations."""
    return rng.normal(size=(5, D, N)), rng.normal(size=(5, N)), rng.normal(size=(5, D))


def products(jacobian, rates, chosen, known=NONE):
    coordinates = np.tile(np.asarray(chosen), (len(rates), 1))
    return ForceProducts.of(jacobian, coordinates, rates[:, chosen], known, rates[:, known])


def lifted(jacobian, drift):
    """psi' g, written out by the pseudo-inverse."""
    return np.array([np.linalg.pinv(j) @ g for j, g in zip(jacobian, drift, strict=True)])


@pytest.mark.parametrize("known", [NONE, KNOWN], ids=["none known", "some known"])
def test_quadratic_form_is_the_plain_sum_of_squares(case, known):
    jacobian, rates, drift = case
    chosen = np.setdiff1d([0, 2, 6], known)
    residual = rates - lifted(jacobian, drift)
    weight = (N - len(known)) / len(chosen)
    plain = weight * np.square(residual[:, chosen]).sum(1) + np.square(residual[:, known]).sum(1)
    found = products(jacobian, rates, chosen, known).microscopic()(drift)
    np.testing.assert_allclose(found, plain, rtol=1e-12)


def test_known_rates_can_be_left_out(case):
    jacobian, rates, drift = case
    found = products(jacobian, rates, [0, 2], KNOWN).microscopic(known=False)(drift)
    residual = (rates - lifted(jacobian, drift))[:, [0, 2]]
    np.testing.assert_allclose(found, (N - 2) / 2 * np.square(residual).sum(1), rtol=1e-12)


@pytest.mark.parametrize("known", [NONE, KNOWN], ids=["none known", "some known"])
def test_microscopic_loss_averages_over_subsets_to_that_of_all(case, known):
    """Theorem 1 of arXiv:2410.23938: in value, and so in its gradient by any parameter."""
    jacobian, rates, drift = case
    free = np.setdiff1d(np.arange(N), known)
    whole = products(jacobian, rates, free, known).microscopic()
    draws = [products(jacobian, rates, list(s), known).microscopic() for s in combinations(free, 3)]
    np.testing.assert_allclose(np.mean([f(drift) for f in draws], 0), whole(drift), rtol=1e-12)
    for name in ("matrix", "vector"):  # of which the gradient is made
        mean = np.mean([getattr(f, name) for f in draws], 0)
        np.testing.assert_allclose(mean, getattr(whole, name), rtol=1e-9, atol=1e-12)


def test_latent_loss_averages_over_subsets_to_that_of_all_but_for_a_constant(case, rng):
    jacobian, rates, drift = case
    whole = products(jacobian, rates, UNKNOWN, KNOWN).latent()
    draws = [products(jacobian, rates, list(s), KNOWN).latent() for s in combinations(UNKNOWN, 2)]
    gap = np.mean([f(drift) for f in draws], 0) - whole(drift)
    other = rng.normal(size=drift.shape)
    np.testing.assert_allclose(np.mean([f(other) for f in draws], 0) - whole(other), gap)
    assert (gap > 0.1).all()  # the noise of the estimate, which L_{x,p} has not


def test_latent_loss_of_all_forces_is_the_distance_from_the_rate_of_z(case):
    jacobian, rates, drift = case
    rate = np.einsum("nij,nj->ni", jacobian, rates)
    found = products(jacobian, rates, UNKNOWN, KNOWN).latent()(drift)
    np.testing.assert_allclose(found, np.square(drift - rate).sum(1), rtol=1e-11)


def test_microscopic_loss_of_all_forces_is_the_latent_one_in_its_metric(case):
    """L_x = (phi' f - g)^T G^-1 (phi' f - g) + const."""
    jacobian, rates, drift = case
    found = products(jacobian, rates, UNKNOWN, KNOWN)
    gap = np.einsum("nij,nj->ni", jacobian, rates) - drift
    metric = np.einsum("ni,nij,nj->n", gap, np.linalg.inv(found.gram), gap)
    constant = np.square(rates).sum(1) * unresolved_fraction(found)
    np.testing.assert_allclose(found.microscopic()(drift), metric + constant, rtol=1e-10)


def test_controlled_target_has_the_rate_of_z_as_its_mean_and_no_noise_at_the_truth(case):
    jacobian, rates, drift = case
    rate = np.einsum("nij,nj->ni", jacobian, rates)

    def targets(rates, drift, size):
        for chosen in combinations(UNKNOWN, size):
            p, t = products(jacobian, rates, list(chosen), KNOWN).controlled()
            yield drift + t - np.einsum("nij,nj->ni", p, drift)

    np.testing.assert_allclose(np.mean(list(targets(rates, drift, 2)), 0), rate, atol=1e-12)
    resolved = lifted(jacobian, drift)  # rates that the encoder resolves in full
    for target in targets(resolved, drift, 2):
        np.testing.assert_allclose(target, drift, atol=1e-12)


def test_unresolved_fraction_is_what_a_projection_leaves(case):
    jacobian, rates, _ = case
    left = rates - lifted(jacobian, np.einsum("nij,nj->ni", jacobian, rates))
    expected = np.square(left).sum(1) / np.square(rates).sum(1)
    found = unresolved_fraction(products(jacobian, rates, UNKNOWN, KNOWN))
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    with pytest.raises(ValueError, match="all coordinates"):
        unresolved_fraction(products(jacobian, rates, [0, 2], KNOWN))


def test_minimiser_of_all_forces_is_the_rate_of_z(case):
    jacobian, rates, _ = case
    rate = np.einsum("nij,nj->ni", jacobian, rates)
    found = products(jacobian, rates, UNKNOWN, KNOWN).microscopic().minimisers(ridge=0.0)
    np.testing.assert_allclose(found, rate, rtol=1e-10)


def test_scaled_form_is_of_the_drift_in_those_units(case):
    jacobian, rates, drift = case
    form, scale = products(jacobian, rates, [0, 3]).microscopic(), np.array([3.0, 0.2])
    np.testing.assert_allclose(form.scaled(scale)(drift / scale), form(drift), rtol=1e-12)


def test_condition_numbers_are_those_of_scaled_rows(case):
    jacobian, rates, _ = case
    scale = np.array([2.0, 0.5])
    expected = np.linalg.cond(jacobian * scale[:, None]) ** 2
    found = products(jacobian, rates, [0]).condition_numbers(scale)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_known_coordinate_is_not_drawn(case):
    with pytest.raises(ValueError, match="needs no force"):
        products(*case[:2], [1, 2], KNOWN)


def test_parts_are_joined_and_taken(case):
    jacobian, rates, drift = case
    whole = products(jacobian, rates, [0, 2], KNOWN)
    joined = ForceProducts.join([whole[:2], whole[2:]])
    assert len(joined) == 5 and joined.share == whole.share
    np.testing.assert_array_equal(joined.microscopic()(drift), whole.microscopic()(drift))
