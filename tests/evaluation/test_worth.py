"""What closure variables are worth, on increments whose drift is known."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.worth import judge_variables, verdict

GROUPS, AGES, EACH = 24, 6, 12


def snapshots(seed=0, noise=0.05, dt=0.5):
    """dx = (-x + x^3/3 + 0.3 y) dt + noise; y relaxes with the age of the snapshot."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), AGES * EACH)
    age = np.tile(np.repeat(np.arange(AGES, dtype=float), EACH), GROUPS)
    x = rng.uniform(-1, 1, GROUPS)[group] * np.exp(-0.1 * age) + 0.1 * rng.normal(size=len(group))
    y = np.exp(-age) * (1 + 0.3 * rng.normal(size=len(group))) + x**2
    elapsed = np.full(len(group), dt)
    drift = -x + x**3 / 3 + 0.3 * y
    increment = drift * dt + noise * np.sqrt(dt) * rng.normal(size=len(group))
    common = {
        "conditions": np.empty((len(group), 0)),
        "increment": increment[:, None],
        "elapsed": elapsed,
        "age": age,
        "group": group,
    }
    return x, y, drift, rng, common


def test_a_variable_of_the_drift_is_worth_having_and_noise_is_not():
    x, y, drift, rng, common = snapshots()
    noise = rng.normal(size=len(x))
    variables = {"y": y, "noise": noise, "function": np.tanh(x)}
    judged = judge_variables({"x": x}, variables, {"also": 2 * y + 1}, **common)
    worth = {each.name: each for each in judged.each}
    assert worth["y"].verdict == "yes"
    assert "yes" not in (worth["noise"].verdict, worth["function"].verdict)
    # What y explains beyond x, known exactly: the drift left by its mean at given x.
    left = 0.3 * (y - x**2)
    expected = np.var(left - np.polyval(np.polyfit(x, left, 5), x)) / np.var(drift - left)
    assert worth["y"].gain[0] == pytest.approx(expected, rel=0.3)
    assert worth["y"].chi2_before[0] > 10 and worth["y"].chi2_after[0] < 2.5
    assert abs(worth["noise"].gain[0]) < 4 * worth["noise"].standard_error[0] + 1e-3
    assert worth["function"].gain[0] == pytest.approx(0, abs=1e-4)
    # Beside y in z the same in other units tells nothing.
    assert worth["also"].role == "candidate"
    assert worth["also"].gain[0] == pytest.approx(0, abs=2e-3)
    assert worth["also"].verdict != "yes"
    assert judged.gain_all[0] == pytest.approx(worth["y"].gain[0], rel=0.1)
    assert judged.chi2_all[0] < 2.5 < judged.chi2_observables[0]
    lines = judged.lines()
    assert lines[0].startswith("variable y: worth having: yes (x ")
    assert judged.summary()["variables"]["y"]["worth_having"] == "yes"


def test_candidates_are_judged_beside_z():
    x, y, _, _, common = snapshots(1)
    (worth,) = judge_variables({"x": x}, {}, {"y": y}, **common).each
    assert worth.role == "candidate" and worth.verdict == "yes"
    np.testing.assert_array_equal(worth.gain, worth.beside_others)


def test_two_that_tell_the_same_gain_alone_but_not_beside_each_other():
    x, y, _, _, common = snapshots(2)
    judged = judge_variables({"x": x}, {"y": y, "twin": y + 1e-3 * x}, {}, **common)
    for worth in judged.each:
        assert worth.verdict == "yes"
        assert worth.beside_others[0] < 0.02 * worth.gain[0]


def test_standard_error_is_that_over_repetitions():
    found = []
    for seed in range(30):
        x, _, _, rng, common = snapshots(seed, noise=0.5)
        weak = rng.normal(size=len(x))
        common["increment"] = common["increment"] + 0.5 * 0.1 * weak[:, None]
        (worth,) = judge_variables({"x": x}, {"weak": weak}, {}, **common).each
        found.append((worth.gain[0], worth.standard_error[0]))
    gains, errors = np.array(found).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(gains.std(), rel=0.4)


def test_one_of_those_that_tell_the_same_is_proposed():
    x, y, _, rng, common = snapshots()
    noise = rng.normal(size=len(x))
    told = {"noise": noise, "blurred": y + 0.3 * noise, "y": y, "twin": np.exp(y)}
    judged = judge_variables({"x": x}, {"noise": told.pop("noise")}, told, **common)
    assert judged.proposed in (("y",), ("twin",))
    assert judged.chi2_proposed[0] == pytest.approx(judged.chi2_observables[0])
    assert judged.chi2_proposed[0] > 10
    assert judged.chi2_proposed[1] < 2
    assert judged.summary()["proposed"]["names"] == list(judged.proposed)
    assert f"most: {judged.proposed[0]} (chi2 " in judged.lines()[-1]


def test_where_the_observables_close_the_dynamics_nothing_is_proposed():
    x, y, _, rng, common = snapshots()
    dt = common["elapsed"]
    closed = (-x + x**3 / 3) * dt + 0.05 * np.sqrt(dt) * rng.normal(size=len(x))
    judged = judge_variables({"x": x}, {}, {"y": y}, **{**common, "increment": closed[:, None]})
    assert judged.proposed == ()
    assert len(judged.chi2_proposed) == 1 and judged.chi2_proposed[0] < 2
    assert "most: none" in judged.lines()[-1]


def test_verdicts():
    def said(gain, error, before=1.0, after=1.0):
        arrays = (np.array([0.0, value]) for value in (gain, error, before, after))
        return verdict(*arrays, groups=50)

    assert said(0.01, 1e-3) == "yes"
    assert said(0.01, 0.01) == "cannot tell"
    assert said(1e-5, 1e-6) == "no"
    assert said(1e-5, 1e-6, before=4, after=2) == "yes"
    assert said(-1e-6, 1e-6, before=4, after=2) == "cannot tell"
    assert verdict(*[np.array([np.nan])] * 4, groups=9) == "cannot tell"


def test_what_too_few_samples_cannot_tell_is_unknown():
    x, y, _, _, common = snapshots()
    rows = np.arange(len(x)) % 36 == 0
    few = {name: values[rows] for name, values in common.items()}
    noise = np.random.default_rng(0).normal(size=(5, rows.sum()))
    (worth, *_) = judge_variables(
        {"x": x[rows]}, {"y": y[rows], **dict(zip("abcde", noise, strict=True))}, {}, **few
    ).each
    assert np.isnan(worth.gain).all() or np.isnan(worth.beside_others).all()
    still = {**common, "increment": np.random.default_rng(1).normal(size=(len(x), 1))}
    (worth,) = judge_variables({"x": x}, {"y": y}, {}, **still).each
    assert np.isnan(worth.gain).all() and worth.verdict == "cannot tell"


def test_too_few_groups_are_told():
    x, y, _, _, common = snapshots()
    rows = common["group"] < 3
    few = {name: values[rows] for name, values in common.items()}
    with pytest.raises(Unavailable, match="need 4 groups, there are 3"):
        judge_variables({"x": x[rows]}, {"y": y[rows]}, {}, **few)
