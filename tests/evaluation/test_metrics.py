"""Errors of trajectories against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from macrodyn.evaluation.metrics import (
    align,
    mean_error,
    spread_error,
    trajectory_errors,
)

REFERENCE = np.array([[[1.0, 2.0], [3.0, 4.0]], [[2.0, 0.0], [0.0, 1.0]]])  # initial, time, obs


def test_mean_error_by_hand() -> None:
    prediction = np.stack([REFERENCE, REFERENCE])
    prediction[0, 0, 0, 0] += 3.0  # 9 / (1 + 4 + 9 + 16)
    prediction[1, 1, 1, 1] += 2.0  # 4 / (4 + 1)
    error = mean_error(prediction, REFERENCE)
    np.testing.assert_allclose(error.by_initial, [[0.3, 0.0], [0.0, 0.8]])
    np.testing.assert_allclose(error.members, [0.15, 0.4])
    assert error.mean == pytest.approx(0.275)
    assert error.std == pytest.approx(0.25 / np.sqrt(2))
    # The ensemble's mean trajectory is off by 1.5 and 1.0.
    np.testing.assert_allclose(error.ensemble_by_initial, [2.25 / 30, 1 / 5])
    assert error.ensemble == pytest.approx((2.25 / 30 + 1 / 5) / 2)
    np.testing.assert_allclose(error.by_observable[0, 0], [9 / 10, 0.0])
    np.testing.assert_allclose(error.by_observable[1, 1], [0.0, 4.0])


def test_members_that_err_oppositely_cancel_in_the_ensemble() -> None:
    error = mean_error(np.stack([REFERENCE + 0.5, REFERENCE - 0.5]), REFERENCE)
    assert error.ensemble == pytest.approx(0.0)
    assert error.mean == pytest.approx((4 * 0.25 / 30 + 4 * 0.25 / 5) / 2)


def test_closure_variables_are_ignored() -> None:
    closure = np.full((1, 2, 2, 3), 1e6)
    prediction = np.concatenate([REFERENCE[None], closure], axis=-1)
    assert mean_error(prediction, REFERENCE).mean == 0.0


def test_spread_error_pools_variances_of_the_members() -> None:
    error = spread_error(np.stack([0.6 * REFERENCE, 0.8 * REFERENCE]), REFERENCE)
    np.testing.assert_allclose(error.members, [0.16, 0.04])
    assert error.ensemble == pytest.approx((1 - np.sqrt(0.5)) ** 2)


def test_trajectories_give_mean_and_unbiased_spread() -> None:
    reference = np.array([1.0, 3.0]).reshape(1, 2, 1, 1)  # mean 2, std sqrt(2)
    prediction = np.array([1.0, 2.0, 6.0]).reshape(1, 1, 3, 1, 1)  # mean 3, std sqrt(7)
    mean, spread = trajectory_errors(prediction, reference)
    assert mean.mean == pytest.approx(0.25)
    assert spread.mean == pytest.approx((np.sqrt(7) - np.sqrt(2)) ** 2 / 2)
    assert mean.std == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_member_is_not_skipped(bad: float) -> None:
    prediction = np.stack([REFERENCE, REFERENCE])
    prediction[1, 0, 1, 0] = bad
    error = mean_error(prediction, REFERENCE)
    assert error.members[0] == 0.0
    assert error.mean == error.ensemble == np.inf


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        (np.ones((1, 2, 3, 2)), REFERENCE, "same grid"),
        (np.ones((1, 2, 2, 1)), REFERENCE, "same grid"),
        (REFERENCE, REFERENCE, "same grid"),
        (np.ones((1, 1, 2, 2)), np.zeros((1, 2, 2)), "zero throughout"),
        (np.ones((1, 1, 2, 2)), np.full((1, 2, 2), np.nan), "not finite"),
    ],
    ids=["times", "observables", "dimensions", "vanishing", "nan"],
)
def test_unusable_input_is_refused(
    prediction: np.ndarray, reference: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mean_error(prediction, reference)


def _stores() -> tuple[xr.Dataset, xr.Dataset]:
    common = {"initial_values": (("initial", "component"), [[0.5, 0.1], [0.4, 0.1]])}
    prediction = xr.Dataset(
        {
            "z": (("time", "member", "initial", "replica", "variable"), np.ones((2, 3, 2, 4, 2))),
            **common,
        },
        coords={
            "time": [0.0, 1.0],
            "component": ["mean", "amplitude"],
            "variable": ["m", "closure_0"],
        },
    )
    reference = xr.Dataset(
        {"observables": (("initial", "replica", "time", "observable"), np.ones((2, 5, 2, 1))),
         **common},
        coords={"time": [0.0, 1.0], "component": ["mean", "amplitude"], "observable": ["m"]},
    )  # fmt: skip
    return prediction, reference


def test_align_orders_dimensions() -> None:
    prediction, reference = _stores()
    ours, direct = align(prediction, reference)
    assert ours.shape == (3, 2, 4, 2, 1)
    assert direct.shape == (2, 5, 2, 1)
    turned = prediction.assign(initial_values=prediction.initial_values.T)
    assert align(turned, reference)[0].shape == ours.shape


def test_align_refuses_other_times_states_and_variables() -> None:
    prediction, reference = _stores()
    with pytest.raises(ValueError, match="differ in 'time'"):
        align(prediction.assign_coords(time=[0.0, 2.0]), reference)
    moved = prediction.initial_values + np.array([[0, 0], [0, 0.01]])
    with pytest.raises(ValueError, match="differ in 'initial_values'"):
        align(prediction.assign(initial_values=moved), reference)
    with pytest.raises(ValueError, match="differ in 'initial_values'"):
        align(prediction.isel(initial=[0]), reference)
    with pytest.raises(ValueError, match=r"\['mean', 'phase'\]"):
        align(prediction.assign_coords(component=["mean", "phase"]), reference)
    with pytest.raises(ValueError, match="begin with the observables"):
        align(prediction.assign_coords(variable=["closure_0", "m"]), reference)
