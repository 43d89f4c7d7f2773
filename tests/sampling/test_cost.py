"""Site updates add up exactly, in any order and any unit of time."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from macrodyn.sampling.cost import Cost


@pytest.mark.parametrize("unit", [1e-300, 1e-12, 1.0, 1e12, 1e290])
def test_the_sum_is_exact_and_of_any_order(unit: float) -> None:
    durations = np.random.default_rng(0).exponential(size=5000) * unit
    one, other = Cost(), Cost()
    one.add(3, durations)
    for part in np.array_split(durations[::-1], 7):
        other.add(3, part)
    assert one.site_updates == other.site_updates
    exact = 3 * math.fsum(durations / unit) * unit
    assert one.site_updates == pytest.approx(exact, rel=1e-14)


def test_what_never_ends_costs_nothing() -> None:
    cost = Cost()
    cost.add(10, [0.5, math.inf, 0.0, 5e-324])
    assert cost.site_updates == 5.0


def test_a_checkpoint_goes_on_from_the_same_sum() -> None:
    cost, resumed = Cost(), Cost()
    cost.add(2, 0.1)
    resumed.restore(json.loads(json.dumps(cost.state())))
    for each in (cost, resumed):
        each.add(2, 0.2)
    assert resumed.site_updates == cost.site_updates == pytest.approx(0.6, rel=1e-15)
