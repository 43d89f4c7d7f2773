"""Late trajectories beside a sampled equilibrium."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.sampled import relaxation_times, sampled_equilibrium

TIME = np.linspace(0, 50, 101)


def relaxing(rng, begin, tau, replicas, end=1.0, noise=0.2):
    """Ornstein-Uhlenbeck trajectories of one variable, [initial, replica, time, 1]."""
    dt = TIME[1]
    keep = np.exp(-dt / tau)
    x = np.repeat(np.asarray(begin, float)[:, None], replicas, 1)
    found = [x]
    for _ in TIME[1:]:
        x = end + (x - end) * keep + noise * np.sqrt(1 - keep**2) * rng.normal(size=x.shape)
        found.append(x)
    return np.stack(found, axis=-1)[..., None]


@pytest.fixture
def made():
    rng = np.random.default_rng(1)
    chains = 1.0 + 0.2 * rng.normal(size=(2, 10, 40, 1))
    direct = relaxing(rng, [-1.0, 3.0], 4.0, 100)
    predicted = np.stack([relaxing(rng, [-1.0, 3.0], 4.0, 50) for _ in range(3)])
    return chains, direct, predicted


def test_means_and_errors(made):
    found = sampled_equilibrium(*made, TIME, fraction=0.25)
    chains, direct, _ = made
    assert found.mean[0] == pytest.approx(chains.mean())
    means = chains.mean(2).ravel()
    assert found.error[0] == pytest.approx(means.std(ddof=1) / np.sqrt(20))
    assert found.spread[0] == pytest.approx(0.2, rel=0.1)
    assert found.direct[0] == pytest.approx(direct[:, :, -25:].mean())
    assert abs(found.direct[0] - 1.0) < 4 * found.direct_error[0]
    assert found.predicted.shape == (3, 1)
    assert abs(found.predicted.mean() - 1.0) < 4 * found.ensemble_error[0]
    assert found.starts[0] < 3
    assert found.late == TIME[-25]
    summary = found.summary(["a"])["a"]
    assert summary["starts_agree"] is True
    assert summary["relaxation_time"] == pytest.approx(4.0, abs=0.6)
    assert found.undefined(["a"]) == {}


def test_chains_that_remember_their_start_are_told(made):
    chains, direct, predicted = made
    chains = chains + np.array([0.0, 0.3])[:, None, None, None]
    found = sampled_equilibrium(chains, direct, predicted, TIME, fraction=0.25)
    assert found.summary(["a"])["a"]["starts_agree"] is False


def test_one_start_tells_nothing(made):
    chains, direct, predicted = made
    found = sampled_equilibrium(chains[:1], direct, predicted, TIME, fraction=0.25)
    assert found.summary(["a"])["a"]["starts_agree"] is None
    assert "a.starts_agree" in found.undefined(["a"])


def test_a_member_that_differs_widens_the_error(made):
    chains, direct, predicted = made
    same = sampled_equilibrium(chains, direct, predicted, TIME, fraction=0.25)
    predicted = predicted + np.array([0.0, 0.0, 0.4])[:, None, None, None, None]
    found = sampled_equilibrium(chains, direct, predicted, TIME, fraction=0.25)
    assert found.ensemble_error[0] > 5 * same.ensemble_error[0]


def test_a_member_that_diverges_has_no_late_mean(made):
    chains, direct, predicted = made
    predicted = predicted.copy()
    predicted[1, 0, 0, -1] = np.inf
    with pytest.raises(Unavailable, match="diverged"):
        sampled_equilibrium(chains, direct, predicted, TIME, fraction=0.25)


def test_relaxation_is_that_of_the_slowest_start_that_is_away():
    rng = np.random.default_rng(2)
    slow = relaxing(rng, [3.0], 8.0, 200)
    fast = relaxing(rng, [3.0], 2.0, 200)
    still = relaxing(rng, [1.0], 8.0, 200)
    both = np.concatenate([slow, fast, still])
    assert relaxation_times(both, [1.0], TIME)[0] == pytest.approx(8.0, abs=1.0)
    assert np.isnan(relaxation_times(still, [1.0], TIME)[0])
    frozen = relaxing(rng, [3.0], 1e6, 200)
    assert np.isinf(relaxation_times(frozen, [1.0], TIME)[0])


def test_without_direct_trajectories_the_rest_is_told(made):
    chains, direct, predicted = made
    whole = sampled_equilibrium(chains, direct, predicted, TIME, fraction=0.25).summary(["a"])["a"]
    found = sampled_equilibrium(chains, None, predicted, TIME, fraction=0.25)
    alone = found.summary(["a"])["a"]
    unknown = {key for key, value in alone.items() if value is None}
    assert unknown == {"direct", "direct_standard_error", "relaxation_time"}
    assert all(alone[key] == whole[key] for key in alone.keys() - unknown)
    reasons = found.undefined(["a"])
    assert {key.removeprefix("a.") for key in reasons} == unknown
    assert set(reasons.values()) == {"the system was not simulated directly"}


def test_stationary_densities_take_the_place_of_late_predictions(made):
    found = sampled_equilibrium(*made, TIME, fraction=0.25, stationary=[[0.9], [1.0], [1.4]])
    assert found.predicted[:, 0].tolist() == [0.9, 1.0, 1.4]
    # The data make all members alike: their scatter is no error of a mean.
    assert found.ensemble_error[0] == pytest.approx(np.std([0.9, 1.0, 1.4], ddof=1))
    summary = found.summary(["a"])["a"]
    assert summary["predicted"] == pytest.approx(1.1)
    assert summary["predicted_by"] == "stationary density"
    plain = sampled_equilibrium(*made, TIME, fraction=0.25).summary(["a"])["a"]
    assert plain["predicted_by"] == "late trajectories"
