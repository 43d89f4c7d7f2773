"""Predictions beside direct simulation: times, what is refused, and what an exact model scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from macrodyn.evaluation import align, sampling_error, trajectory_errors
from macrodyn.methods.partial_evolution.cases import Case
from macrodyn.methods.partial_evolution.compare import compare_horizon, order_of_case
from macrodyn.methods.partial_evolution.compare_members import late_distances, member_merits
from macrodyn.methods.partial_evolution.config import HorizonConfig
from macrodyn.methods.partial_evolution.sample import horizon_times, record_times
from macrodyn.pipeline.metrics import plain
from macrodyn.storage.errors import StoreError
from macrodyn.storage.netcdf import read_dataset, write_dataset

HORIZON = HorizonConfig(spacing=0.5, points=6)
STATES = [[0.45, 0.05], [0.45, 0.1], [0.55, 0.1]]


def stores(folder, shift=0.0, replicas=20, states=STATES):
    """A reference on a finer grid of times, and a prediction of two members."""
    rng = np.random.default_rng(3)
    times = record_times({"a": HORIZON.model_dump(), "b": {"spacing": 0.25, "points": 4}})
    initial = {"initial_values": (("initial", "component"), states)}
    coords = {"component": ["mean", "amplitude"]}
    values = 1 + 0.1 * rng.standard_normal((len(states), 20, len(times), 2))
    reference = xr.Dataset(
        {"observables": (("initial", "replica", "time", "observable"), values), **initial},
        coords={**coords, "time": times, "observable": ["prey", "predator"]},
    )
    z = 1 + shift + 0.1 * rng.standard_normal((2, len(states), replicas, HORIZON.points, 3))
    dims = ("member", "initial", "replica", "time", "variable")
    prediction = xr.Dataset(
        {"z": (dims, z), "z_mean_model": (dims[1:], z[0]), **initial},
        coords={
            **coords,
            "time": horizon_times(HORIZON),
            "variable": ["prey", "predator", "closure_0"],
        },
        attrs={"outside": 0.25, "initial_outside": 0.125},
    )
    path = folder / f"{shift}-{replicas}.nc"
    write_dataset(prediction, path, {})
    return reference, path


def test_record_times_are_the_union_of_all_horizons():
    horizons = {"a": {"spacing": 0.1, "points": 4}, "b": {"spacing": 0.3, "points": 2}}
    # 3 * 0.1 is not 0.3 in binary: rounding makes one time of the two.
    assert record_times(horizons) == [0.0, 0.1, 0.2, 0.3]
    for horizon in horizons.values():
        assert set(horizon_times(HorizonConfig(**horizon))) <= set(record_times(horizons))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_record_times_are_those_of_any_unit(scale):
    """Multiples of the spacing to the last bit or two, and equal ones of two horizons are equal."""
    horizon = HorizonConfig(spacing=0.1 * scale, points=2001)
    times = np.array(horizon_times(horizon))
    np.testing.assert_allclose(times, 0.1 * scale * np.arange(2001), rtol=1e-15, atol=0)
    threefold = HorizonConfig(spacing=float(f"{0.3 * scale:.15g}"), points=600)
    assert set(horizon_times(threefold)) <= set(times)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_times_that_differ_are_told_in_any_unit(tmp_path, scale):
    reference, path = stores(tmp_path)
    prediction = read_dataset(path)
    time = prediction.time.values * scale
    reference = reference.sel(time=prediction.time).assign_coords(time=time)
    align(prediction.assign_coords(time=time), reference)
    with pytest.raises(ValueError, match="differ in 'time'"):
        align(prediction.assign_coords(time=1.01 * time), reference)


def test_a_prediction_that_does_not_say_what_lies_outside_is_refused(tmp_path):
    reference, path = stores(tmp_path)
    silent = read_dataset(path)
    del silent.attrs["outside"]
    write_dataset(silent, path, {})
    with pytest.raises(StoreError, match="does not say what share"):
        compare_horizon(reference, {"ours": path}, HORIZON, 0.5, seed=1)


def test_predictions_are_compared_from_vectors_of_initial_values(tmp_path):
    reference, exact = stores(tmp_path)
    shifted = stores(tmp_path, shift=0.2)[1]
    files = {"ours": exact, "naive": shifted}
    comparison, metrics = compare_horizon(reference, files, HORIZON, 0.5, seed=1)
    np.testing.assert_array_equal(comparison.initial, STATES)
    assert comparison.components == ("mean", "amplitude")
    assert comparison.reference.shape == (3, 20, 6, 2)
    assert comparison.predictions["ours"].shape == (2, 3, 20, 6, 2)
    ours, naive = metrics["ours"]["mmd"], metrics["naive"]["mmd"]
    assert set(ours) == {"mean", "members", "null_mean", "null_q95", "bandwidth_factors"}
    assert len(ours["members"]) == 2
    assert metrics["naive"]["range"] == {"outside": 0.25, "initial_outside": 0.125}
    assert ours["mean"] < ours["null_q95"] < 0.1 * naive["mean"]
    # Here the mean model is the first member.
    assert metrics["naive"]["mean_model"] == pytest.approx(
        {key: metrics["naive"][key]["members"][0] for key in ("test_error", "spread_error", "mmd")}
    )
    assert metrics["ours"]["members"]["outliers"] == [] and metrics["ours"]["members"]["kept"] == 2
    # The same reference, and so the same null.
    assert (ours["null_mean"], ours["null_q95"]) == (naive["null_mean"], naive["null_q95"])
    json.dumps(plain(metrics), allow_nan=False)


def test_sampling_error_is_what_an_exact_model_of_as_many_trajectories_scores(tmp_path):
    states = [[0.4 + 0.01 * i, 0.1] for i in range(40)]
    reference, ours = stores(tmp_path, replicas=8, states=states)
    files = {"naive": stores(tmp_path, replicas=30, states=states)[1], "ours": ours}
    comparison, metrics = compare_horizon(reference, files, HORIZON, 0.5, seed=1)
    expected = sampling_error(comparison.reference, seed=1, prediction_replicas=8)
    assert metrics["sampling_error"] == expected.summary()
    scores = trajectory_errors(comparison.predictions["ours"], comparison.reference)[0]
    # The two members of an initial state share its reference.
    by_initial = scores.by_initial.mean(axis=0)
    error = by_initial.std(ddof=1) / np.sqrt(len(states))
    assert abs(metrics["sampling_error"]["mean"] - by_initial.mean()) < 5 * error
    assert metrics["ours"]["test_error"]["mean"] == pytest.approx(by_initial.mean())


def test_sampling_error_without_ours_is_that_of_the_first_method(tmp_path):
    reference, path = stores(tmp_path, replicas=8)
    comparison, metrics = compare_horizon(reference, {"naive": path}, HORIZON, 0.5, seed=1)
    expected = sampling_error(comparison.reference, seed=1, prediction_replicas=8)
    assert metrics["sampling_error"] == expected.summary()


def test_prediction_from_other_initial_values_is_refused(tmp_path):
    reference, path = stores(tmp_path)
    moved = reference.assign(initial_values=reference.initial_values + 0.1)
    with pytest.raises(ValueError, match="differ in 'initial_values'"):
        compare_horizon(moved, {"ours": path}, HORIZON, 0.5, seed=1)


def wandering(members=5, shift=0.0, seed=0):
    """Members' trajectories about 1, [member, initial, replica, time, observable]."""
    rng = np.random.default_rng(seed)
    z = 1 + 0.1 * rng.standard_normal((members, 3, 50, 8, 2))
    z += 0.01 * rng.standard_normal((members, 1, 1, 1, 2))
    # One initial macrostate ends elsewhere, in one observable.
    z[-1, 1, :, 4:, 0] += shift
    return z


def test_member_that_ends_elsewhere_is_named_by_its_late_means():
    assert late_distances(wandering(shift=0.9), 0.25).outliers == [4]
    named = sum(bool(late_distances(wandering(seed=s), 0.25).outliers) for s in range(200))
    # At most 1 % by construction: more than 7 of 200 have p < 0.002.
    assert named <= 7


def test_members_that_left_are_out_of_the_means_that_say_so():
    z = wandering(shift=0.9)
    error = {"members": [1.0, 2.0, 3.0, 6.0, 100.0], "mean": 22.4}
    merits = {"test_error": error, "spread_error": None, "mmd": error}
    found = member_merits(z, merits, named=[0], fraction=0.25)
    assert found["outliers"] == [0, 4] and found["kept"] == 3
    assert found["test_error"] == pytest.approx(11 / 3) and found["spread_error"] is None
    z[2, 0, 0, -1] = np.nan
    lost = member_merits(z, merits, named=[], fraction=0.25)
    assert 2 in lost["outliers"] and lost["late"]["distance"][2] == np.inf


@pytest.mark.parametrize("solved", [True, False])
def test_where_no_density_is_solved_for_late_trajectories_stand(make_ising, solved):
    """The last two of four times, of two members; what came before does not count."""
    case = Case(name="late", horizon="late", reference="", equilibrium="e", place="", large=(4, 4))
    chains = xr.Dataset(
        {
            "observables": (
                ("initial", "replica", "sample", "observable"),
                np.random.default_rng(0).uniform(-1, 1, (1, 3, 20, 2)),
            )
        }
    )
    z = np.zeros((2, 1, 5, 4, 3))
    z[..., 2:, 0] = np.array([0.5, 0.7])[:, None, None, None]
    density = xr.Dataset()
    if solved:
        value, shape = np.linspace(-1, 1, 21), (2, 2, 21)
        density["stationary_value"] = (("variable", "point"), np.stack([value, value]))
        density["stationary_density"] = (("member", "variable", "point"), np.ones(shape))
    found = order_of_case(case, make_ising(), chains, density, z, 0.5)["moments"]["magnetisation"]
    assert set(found) == {"sampled", "predicted" if solved else "late"}
    if not solved:
        assert found["late"]["absolute"]["value"] == pytest.approx(0.6)
        assert found["late"]["variance"]["value"] == pytest.approx(0.0, abs=1e-12)
