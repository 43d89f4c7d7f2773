"""Reading latents and dividing them by group."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.dynamics import TransitionData

from .conftest import PATCHES, OrnsteinUhlenbeck


def test_synchronous_patches_are_averaged(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    latents = ornstein_uhlenbeck(samples=50, evolved=4)
    data = TransitionData.from_latents(latents, dtype=torch.float64)
    assert len(data) == 50
    assert data.factor == PATCHES / 4
    expected = latents["increment"].isel(lag=0).mean("patch").values
    np.testing.assert_allclose(data.increment.numpy(), expected)
    np.testing.assert_array_equal(data.group.numpy(), latents["group"].values)
    assert data.conditions.shape == (50, 0)


def test_patches_of_different_times_stand_alone(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    times = np.random.default_rng(0).uniform(0.01, 0.03, (50, 4))
    latents = ornstein_uhlenbeck(samples=50, evolved=4, elapsed=times)
    data = TransitionData.from_latents(latents, dtype=torch.float64)
    assert len(data) == 200
    assert data.factor == PATCHES
    np.testing.assert_allclose(data.elapsed.numpy().reshape(50, 4), times)
    np.testing.assert_allclose(
        data.increment.numpy().reshape(50, 4), latents["increment"].values[:, :, 0, 0]
    )
    np.testing.assert_allclose(data.z.numpy()[::4], latents["z"].values)
    np.testing.assert_array_equal(data.group.numpy()[1::4], latents["group"].values)


def test_the_lag_is_chosen(ornstein_uhlenbeck: OrnsteinUhlenbeck) -> None:
    latents = ornstein_uhlenbeck(samples=10)
    with pytest.raises(ValueError, match="lag index 1"):
        TransitionData.from_latents(latents, lag=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"elapsed": torch.zeros(5)}, "elapsed", id="no-time"),
        pytest.param({"increment": torch.full((5, 2), np.nan)}, "increment", id="nan"),
        pytest.param({"group": torch.zeros(4, dtype=torch.int64)}, "group", id="shape"),
        pytest.param({"factor": 0.0}, "factor", id="factor"),
    ],
)
def test_useless_values_are_named(change: dict, message: str) -> None:
    values = {
        "z": torch.zeros(5, 2),
        "increment": torch.zeros(5, 2),
        "elapsed": torch.ones(5),
        "conditions": torch.zeros(5, 0),
        "group": torch.zeros(5, dtype=torch.int64),
    }
    with pytest.raises(ValueError, match=message):
        TransitionData(**{**values, **change})


@pytest.mark.parametrize(
    "name",
    ["z", "increment", "elapsed", "condition_values", "group", "variable", "lag", "condition"],
)
def test_what_is_missing_is_named(ornstein_uhlenbeck: OrnsteinUhlenbeck, name: str) -> None:
    latents = ornstein_uhlenbeck(samples=10).drop_vars(name)
    with pytest.raises(ValueError, match=f"lacks .*{name}"):
        TransitionData.from_latents(latents)


@pytest.mark.parametrize("name", ["patches_total", "n_observables"])
def test_a_missing_attribute_is_named(ornstein_uhlenbeck: OrnsteinUhlenbeck, name: str) -> None:
    latents = ornstein_uhlenbeck(samples=10)
    del latents.attrs[name]
    with pytest.raises(ValueError, match=f"lacks attribute {name}"):
        TransitionData.from_latents(latents)
