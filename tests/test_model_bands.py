"""What a prediction does not know: noise, members and bands, apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from macrodyn.evaluation.conformal import Calibration, calibrate
from macrodyn.model import ModelError
from macrodyn.model_spread import calibration_for, mean_and_spreads, scale_of
from tests.test_model import SIDE, learned, make


@pytest.fixture(scope="module")
def warm():
    return learned(make(temperature=1.3, field=0.1))


def calibration(factor=2.0, until=4.0, name="transient"):
    return Calibration(
        name=name,
        level=0.9,
        factor=factor,
        floor=(0.01,),
        calibrated=100,
        tested=100,
        coverage=0.91,
        until=until,
        spacing=0.5,
    )


def test_noise_and_members_are_told_apart():
    """Of a nested model both variances are known; the replicas' share is taken off the members'."""
    rng = np.random.default_rng(1)
    shape = (400, 3, 10, 2, 1)
    members = rng.normal(0, 0.3, (400, 3, 1, 1, 1)) + rng.normal(0, 2.0, shape)
    centre, noise, between = mean_and_spreads(members, 1.0 + members[0])
    np.testing.assert_allclose(centre, 1.0 + members[0].mean(axis=1))
    np.testing.assert_allclose(noise, members[0].std(axis=1, ddof=1))
    # Without what is taken off it would be 0.7.
    assert np.sqrt(np.square(between).mean()) == pytest.approx(0.3, rel=0.25)
    assert not mean_and_spreads(members[:1], members[0])[2].any()
    np.testing.assert_allclose(scale_of(np.array([3.0]), np.array([4.0])), 5.0)


def test_a_prediction_says_what_it_does_not_know(warm):
    found = warm.predict([[-0.5], [0.3]], [0.0, 1.0, 4.0], replicas=200)
    for name in ("mean", "noise_std", "member_std"):
        assert found[name].dims == ("initial", "time", "variable")
    np.testing.assert_allclose(found["mean"], found.z_mean_model.mean("replica"), rtol=1e-5)
    assert (found.noise_std[:, 0] == 0).all() and (found.noise_std[:, 1:] > 0).all()
    # Members that learned from exact moments agree; what they cannot know is noise alone.
    assert (found.member_std < found.noise_std)[:, 1:].all()
    assert "band_low" not in found and "not compared with a reference" in found.band_missing


def test_bands_hold_the_exact_process(warm):
    """Calibrated by direct simulation, they hold further trajectories of it."""
    times, m = np.linspace(0.0, 4.0, 9), np.array([[-0.5], [0.3]])
    predicted = warm.predict(m, times, replicas=300, seed=1)
    direct = simulated(warm, m, times, 200, seed=2)
    scale = scale_of(predicted.noise_std.values, predicted.member_std.values)
    found = calibrate(direct, predicted["mean"].values, scale, times, name="transient", seed=0)
    assert abs(found.coverage - 0.9) < 4 * found.coverage_error
    model = replace(warm, calibrations=(found,))
    again = model.predict(m, times, replicas=300, seed=3)
    assert again.band_low.dims == ("initial", "time", "observable")
    assert (again.band_level, again.band_from) == (0.9, "transient")
    assert again.band_coverage == found.coverage
    fresh = simulated(warm, m, times, 200, seed=4)
    low, high = again.band_low.values[:, None], again.band_high.values[:, None]
    inside = ((fresh >= low) & (fresh <= high)).all(axis=(2, 3)).mean()
    assert abs(inside - 0.9) < 4 * np.hypot(found.coverage_error, 0.02)
    assert (again.band_low >= -1).all() and (again.band_high <= 1).all()
    assert model.plot.trajectories(again) is not None


def simulated(model, m, times, replicas, seed):
    keys = np.arange(replicas, dtype=np.uint64) + np.uint64(10_000 * seed)
    found = np.empty((len(m), replicas, len(times), 1))
    for k, value in enumerate(m):
        # As z is given, the observable begins at the lattice's nearest value.
        states = model.system.initial_states(np.full((replicas, 1), value), SIDE, keys)
        for place, time in enumerate(times):
            evolved = model.system.evolve(states, time, keys + 1) if time else states
            found[k, :, place] = model.system.observe(evolved)
    return found


def test_of_several_calibrations_the_widest_that_reaches_counts():
    short, long = calibration(3.0, 1.0, "short"), calibration(2.0, 10.0, "long")
    assert calibration_for((short, long), 1.0, 20)[0] is short
    assert calibration_for((short, long), 5.0, 20)[0] is long
    assert calibration_for((short, long), 11.0, 20) == (None, "bands were calibrated until 10")
    assert calibration_for((short, long), 1.0, 19) == (None, "bands need 20 replicas")


def test_a_step_is_as_long_as_asked(warm):
    one, half, usual = (
        warm.predict([0.3], [1.0], replicas=4, step=step).z.values for step in (0.05, 0.025, None)
    )
    np.testing.assert_array_equal(one, usual)
    assert not np.array_equal(one, half)
    with pytest.raises(ModelError, match="step is 0"):
        warm.predict([0.3], [1.0], step=0.0)


def test_the_card_says_how_the_bands_did(warm):
    model = replace(warm, calibrations=(calibration(),))
    assert "| transient | 90% | 91.0% ±" in model.card()
    assert "It has no bands" in warm.card() and "It has no bands" not in model.card()
