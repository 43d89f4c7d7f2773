"""The range of a model's data: what is outside of it, and how far predictions may go."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from macrodyn.dynamics import (
    Domain,
    DynamicsSettings,
    Ensemble,
    TransitionData,
    integrate,
    train_ensemble,
)

OPEN = (-math.inf, math.inf)
DOMAIN = Domain(low=(-1.0, 0.0), high=(1.0, 0.5), condition_low=(2.3,), condition_high=(2.8,))


def test_open_sides_end_half_the_range_beyond_the_data() -> None:
    assert DOMAIN.limits([OPEN, (0.0, math.inf)], [[0.0, 0.1]]) == [(-2.0, 2.0), (0.0, 0.75)]


def test_bounds_of_the_system_stay() -> None:
    bounds = [(-1.5, 1.5), (0.0, 5.0)]
    assert DOMAIN.limits(bounds, [[0.0, 0.1]]) == bounds


def test_a_prediction_may_begin_outside() -> None:
    assert DOMAIN.limits([OPEN, OPEN], [[0.0, 0.1], [3.0, 0.1]])[0] == (-2.0, 3.0)


def test_a_variable_without_a_range_is_told() -> None:
    domain = Domain(low=(0.0, 2.0), high=(1.0, 2.0))
    assert domain.limits([OPEN, (0.0, 5.0)], [[0.0, 2.0]])[1] == (0.0, 5.0)
    with pytest.raises(ValueError, match=r"Variable 1 has the same value, 2\.0"):
        domain.limits([OPEN, (0.0, math.inf)], [[0.0, 2.0]])


def test_outside_is_below_above_or_nowhere() -> None:
    z = [[-1.0, 0.5], [-1.01, 0.5], [0.0, 0.51], [math.nan, 0.1]]
    expected = [[False, False], [True, False], [False, True], [True, False]]
    np.testing.assert_array_equal(DOMAIN.outside(z), expected)


def test_the_ends_of_the_data_are_inside_in_single_precision() -> None:
    z = torch.tensor([[0.1], [0.7]], dtype=torch.float64).to(torch.float32)
    data = TransitionData(
        z=z,
        increment=torch.zeros(2, 1),
        elapsed=torch.ones(2),
        conditions=torch.zeros(2, 0),
        group=torch.arange(2),
    )
    assert not Domain.of(data).outside([[0.1], [0.7]]).any()


def test_conditions_outside_are_named() -> None:
    assert DOMAIN.conditions_outside(["temperature"], [2.8]) == {}
    assert DOMAIN.conditions_outside(["temperature"], [3.0]) == {
        "temperature": {"value": 3.0, "low": 2.3, "high": 2.8}
    }


def test_conditions_are_those_that_were_given() -> None:
    data = TransitionData(
        z=torch.zeros(2, 1),
        increment=torch.zeros(2, 1),
        elapsed=torch.ones(2),
        conditions=torch.tensor([[2.3, 0.1], [2.8, 1e-12]]),
        group=torch.arange(2),
    )
    domain = Domain.of(data)
    assert (domain.condition_low, domain.condition_high) == ((2.3, 1e-12), (2.8, 0.1))
    assert not domain.conditions_outside(["temperature", "field"], [2.3, 0.1])


def _double_well(seed: int) -> TransitionData:
    """dphi = phi (1 - phi^2) dt + noise: the mean of a phi^4 field, seen in [-1.5, 1.5]."""
    rng = np.random.default_rng(seed)
    phi = rng.uniform(-1.5, 1.5, (400, 1))
    noise = 0.02 * rng.normal(size=phi.shape)
    tensor = torch.as_tensor(phi, dtype=torch.float32)
    step = torch.as_tensor(0.1 * phi * (1 - phi**2) + noise, dtype=torch.float32)
    return TransitionData(
        z=tensor,
        increment=step,
        elapsed=torch.full((400,), 0.1),
        conditions=torch.zeros(400, 0),
        group=torch.arange(400) // 40,
    )


def test_an_unbounded_field_does_not_run_away(tmp_path: Path) -> None:
    """Trained on [-1.5, 1.5] and pushed out, it stays within half the range beyond."""
    train, validation = _double_well(0), _double_well(1)
    settings = DynamicsSettings(members=2, hidden=(8,), steps=20, batch=64, validation_every=10)
    model, _ = train_ensemble(train, validation, settings)
    states = torch.cat([train.z, validation.z])
    assert model.domain.low == (float(states.min()),)
    model.save(tmp_path / "model.safetensors")
    model = Ensemble.load(tmp_path / "model.safetensors")
    assert model.domain == Domain.of(train, validation)
    with torch.no_grad():
        # In standardised units: a drift that points outwards below -1, and goes on rising.
        model.parameters_by_name()["linear.weight"].add_(3.0)
    z0 = torch.linspace(-1.4, 1.4, 50)[:, None]
    times = torch.linspace(0, 20, 21)
    # Outside of the data a drift that leads back takes over.
    assert float(integrate(model, z0, times, step=0.1).abs().max()) < 2.2
    # A latent model that goes on by itself has no such help.
    model.continuation.low.fill_(-math.inf)
    model.continuation.high.fill_(math.inf)
    free = integrate(model, z0, times, step=0.1, on_divergence="nan")
    assert float(free.abs().nan_to_num(math.inf).max()) > 10
    limits = model.domain.limits([OPEN], z0)
    kept = integrate(model, z0, times, step=0.1, bounds=limits).numpy()
    assert np.abs(kept).max() <= 3.001
    assert 0.5 < model.domain.outside(kept).mean() < 1


def test_an_untrained_ensemble_has_no_domain() -> None:
    with pytest.raises(ValueError, match="what range of data"):
        _ = Ensemble(variables=1, members=1).domain
