"""Rates of the observables from pairs, as closure variables by prediction are trained on them."""

from __future__ import annotations

import numpy as np

from macrodyn.dynamics.compensation import mean_increment
from macrodyn.dynamics.latents import LatentArrays
from macrodyn.methods.partial_evolution.encoding import encode
from macrodyn.methods.partial_evolution.learn import closure
from macrodyn.methods.partial_evolution.pairs import martingales, observable_rates, rate_excess
from macrodyn.storage.netcdf import write_dataset


def test_rates_are_those_of_the_latents_of_the_observables_alone(
    make_plan, sample, make_job, tmp_path
):
    """The same compensation over every lag, before there is a closure."""
    plan = make_plan({"closure": {"dimension": 0}, "simulate": {"groups": 8}, "baselines": []})
    data = sample(plan, 1)
    pairs = data["evolve:ours"]
    rates = observable_rates(pairs, seed=3)
    lags = pairs.sizes["lag"]
    assert rates.shape == (pairs.sizes["sample"], lags, 2) and lags > 1
    states, file = tmp_path / "states.nc", tmp_path / "pairs.nc"
    write_dataset(data["upsample"], states, {})
    write_dataset(pairs, file, {})
    trained = make_job(plan["closure"], tmp_path / "closure", {"data": states})
    closure(trained)
    inputs = {"pairs": file, "states": states, "closure": trained.outputs}
    latents = encode(make_job(plan["latents/ours"], tmp_path / "encode", inputs))
    for lag in range(lags):
        arrays = LatentArrays.from_dataset(latents, lag=lag)
        expected = mean_increment(arrays, seed=3) / arrays.elapsed.mean(axis=1)[:, None]
        np.testing.assert_allclose(rates[:, lag], expected, rtol=1e-12, atol=1e-14)


def test_without_what_is_known_of_the_noise_rates_are_increments_over_time(make_plan, sample):
    pairs = sample(make_plan({"baselines": []}), 1)["evolve:ours"]
    assert martingales(pairs) is not None and rate_excess(pairs) is not None
    bare = pairs.drop_vars(["compensators", "rate_excess"])
    assert martingales(bare) is None and rate_excess(bare) is None
    plain = bare.increments.values.mean(axis=1) / bare.elapsed.values.mean(axis=1)[..., None]
    np.testing.assert_allclose(observable_rates(bare, seed=0), plain)
    # What is known of the noise makes a difference, and the smaller scatter.
    left = observable_rates(pairs, seed=0)
    assert left.std() < plain.std()
