"""How far predictions agree: against what independent trajectories give by theory."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.agreement import members_agreement, schemes_agreement
from macrodyn.evaluation.available import Unavailable

MEMBERS, REPLICAS, SPREAD = 4, 50, 0.3


@pytest.fixture
def equal():
    """Equal members, [member, initial, replica, time, observable], of mean 2 and spread 0.3."""
    rng = np.random.default_rng(3)
    return 2.0 + SPREAD * rng.normal(size=(MEMBERS, 5, REPLICAS, 200, 2))


def test_equal_members_differ_by_chance_alone(equal):
    found = members_agreement(equal)
    expected = (1 - 1 / MEMBERS) * SPREAD**2 / REPLICAS / 4.0
    assert found.chance == pytest.approx(expected, rel=0.02)
    assert found.members.mean() == pytest.approx(expected, rel=0.05)
    assert found.summary()["mean"] == pytest.approx(found.members.mean())


def test_a_member_that_is_elsewhere_is_told(equal):
    equal[1] += 0.4
    found = members_agreement(equal).members
    # The mean is pulled along by a quarter, to 2.1: it is 0.3 away. Chance adds its share.
    chance = (1 - 1 / MEMBERS) * SPREAD**2 / REPLICAS / 2.1**2
    assert found[1] == pytest.approx((0.3 / 2.1) ** 2 + chance, rel=0.02)
    assert found[[0, 2, 3]] == pytest.approx((0.1 / 2.1) ** 2 + chance, rel=0.05)


def test_a_member_that_diverged_is_infinitely_far_from_the_others(equal):
    whole = members_agreement(equal[:3]).members
    equal[3, 0, 0, 5:] = np.nan
    found = members_agreement(equal).members
    assert np.isinf(found[3])
    np.testing.assert_allclose(found[:3], whole)


def test_what_cannot_agree(equal):
    with pytest.raises(Unavailable, match="one member"):
        members_agreement(equal[:1])
    with pytest.raises(Unavailable, match="every member diverged"):
        members_agreement(np.full_like(equal, np.nan))
    with pytest.raises(Unavailable, match="zero throughout"):
        members_agreement(np.zeros_like(equal))


def test_schemes_are_compared_by_mean_and_by_spread(equal):
    rng = np.random.default_rng(4)
    same = 2.0 + SPREAD * rng.normal(size=equal.shape)
    found = schemes_agreement(equal, same)
    chance = 2 * SPREAD**2 / (REPLICAS * MEMBERS) / 4.0
    assert found.chance == pytest.approx(chance, rel=0.02)
    assert found.mean == pytest.approx(chance, rel=0.1)
    assert found.spread < 0.01
    other = 2.5 + 3 * SPREAD * rng.normal(size=(1, *equal.shape[1:]))
    found = schemes_agreement(equal, other)
    assert found.mean == pytest.approx(0.25**2 + found.chance, rel=0.05)
    assert found.spread == pytest.approx(4.0, rel=0.05)
