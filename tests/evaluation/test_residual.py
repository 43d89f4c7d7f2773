"""The residual by age: 1 for an exact Markov model, large where a hidden variable ages."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.evaluation.available import Unavailable
from macrodyn.evaluation.residual import residual_by_age

AGES = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
RATE, SEEDS = 0.2, 150


def snapshots(
    seed: int, *, groups: int = 12, each: int = 5, hidden: float = 0.0, unit: float = 1.0
):
    """Snapshots of z that relaxes, each with two increments dz = -RATE z dt + hidden + noise.

    The hidden part of the drift decays with age, as what z leaves out does.
    """
    rng = np.random.default_rng(seed)
    group, age, _ = np.meshgrid(np.arange(groups), AGES, np.arange(each), indexing="ij")
    group, age = group.ravel(), age.ravel()
    start = rng.normal(size=(groups, 2))
    z = start[group] * np.exp(-RATE * age)[:, None] + 0.1 * rng.normal(size=(len(age), 2))
    # Patches of one snapshot are evolved for times of their own, as where events stop them.
    elapsed = rng.uniform(0.1, 0.3, (len(age), 2))
    drift = -RATE * z
    true = drift + hidden * np.exp(-age)[:, None] * [1.0, 0.0]
    noise = 0.3 * np.sqrt(elapsed)[..., None] * rng.normal(size=(*elapsed.shape, 2))
    dz = true[:, None] * elapsed[..., None] + noise
    return {
        "increment": dz,
        "elapsed": unit * elapsed,
        "drift": drift / unit,
        "age": unit * age,
        "group": 7 * group,
    }


def chi2(make) -> np.ndarray:
    """Over seeds, mean and its error, [2]."""
    values = np.array([make(seed) for seed in range(SEEDS)])
    return values.mean(), values.std(ddof=1) / np.sqrt(SEEDS)


def test_exact_drift_has_one_per_degree() -> None:
    mean, error = chi2(
        lambda seed: residual_by_age(**snapshots(seed), fitted=False).chi2_per_degree.mean()
    )
    assert error < 0.06
    assert abs(mean - 1) < 4 * error


def test_a_fit_takes_one_degree() -> None:
    """A drift with a free constant: the mean over ages vanishes, whatever the data are."""

    def fitted(seed: int) -> float:
        data = snapshots(seed)
        wrong = data["increment"].sum(axis=1) - data["elapsed"].sum(axis=1)[:, None] * data["drift"]
        data["drift"] = data["drift"] + wrong.sum(axis=0) / data["elapsed"].sum()
        found = residual_by_age(**data, fitted=True)
        assert found.degrees_of_freedom == len(AGES) - 1
        return float(found.chi2_per_degree.mean())

    mean, error = chi2(fitted)
    assert abs(mean - 1) < 4 * error
    assert mean * (len(AGES) - 1) / len(AGES) < 1 - 2 * error, "the fit takes nothing"


def test_snapshots_of_one_group_are_not_independent() -> None:
    """What all snapshots of a group and age share, 25 of them, leaves the expectation at 1."""

    def correlated(seed: int, clustered: bool) -> float:
        data = snapshots(seed, each=25)
        rng = np.random.default_rng(10_000 + seed)
        shared = rng.normal(size=(12, len(AGES), 1, 2)) * np.ones((1, 1, 25, 1))
        data["increment"] = data["increment"] + 0.3 * data["elapsed"][..., None] * shared.reshape(
            -1, 1, 2
        )
        if not clustered:
            data["group"] = np.arange(len(data["group"]))
        return float(residual_by_age(**data, fitted=False).chi2_per_degree.mean())

    mean, error = chi2(lambda seed: correlated(seed, clustered=True))
    assert abs(mean - 1) < 4 * error
    assert chi2(lambda seed: correlated(seed, clustered=False))[0] > 2


def test_a_hidden_variable_that_decays_with_age_is_seen() -> None:
    data = snapshots(1, each=40, hidden=0.3)
    found = residual_by_age(**data, fitted=False)
    assert found.chi2_per_degree[0] > 10 and found.chi2_per_degree[1] < 3
    expected = 0.3 * np.exp(-AGES)
    assert (np.abs(found.residual[:, 0] - expected) < 4 * found.standard_error[:, 0]).all()


def test_a_hidden_variable_is_seen_by_a_drift_that_was_fitted_to_it() -> None:
    def fitted(seed: int, hidden: float) -> float:
        data = snapshots(seed, each=40, hidden=hidden)
        z = data["drift"] / -RATE
        waited = data["elapsed"].sum(axis=1)[:, None]
        basis = np.concatenate([np.ones((len(z), 1)), z, z**2, z[:, :1] * z[:, 1:]], axis=1)
        goal = data["increment"].sum(axis=1) / np.sqrt(waited)
        data["drift"] = basis @ np.linalg.lstsq(basis * np.sqrt(waited), goal)[0]
        return float(residual_by_age(**data, fitted=True).chi2_per_degree[0])

    closed = [fitted(seed, hidden=0.0) for seed in range(60)]
    aged = [fitted(seed, hidden=0.3) for seed in range(20)]
    assert 0.5 < np.mean(closed) < 1.2
    assert np.mean(aged) > 6 * np.mean(closed)


def test_the_unit_of_time_makes_no_difference() -> None:
    one = residual_by_age(**snapshots(2), fitted=False)
    other = residual_by_age(**snapshots(2, unit=1e-12), fitted=False)
    np.testing.assert_allclose(other.chi2_per_degree, one.chi2_per_degree, rtol=1e-9)
    np.testing.assert_allclose(other.residual * 1e-12, one.residual, rtol=1e-9)


def test_summary_is_by_variable() -> None:
    found = residual_by_age(**snapshots(3), fitted=True)
    summary = found.summary(["m", "rho"])
    assert summary["age"] == AGES.tolist()
    assert summary["residual"]["rho"] == found.residual[:, 1].tolist()
    assert summary["standard_error"]["m"] == found.standard_error[:, 0].tolist()
    assert summary["chi2_per_degree_all"] == pytest.approx(found.chi2_per_degree.mean())
    assert (summary["degrees_of_freedom"], summary["groups"]) == (len(AGES) - 1, 12)


def test_a_variable_that_never_changes_has_none() -> None:
    data = snapshots(4)
    data["increment"][..., 1] = 0
    data["drift"][:, 1] = 0
    found = residual_by_age(**data, fitted=True)
    summary = found.summary(["m", "rho"])
    assert list(found.undefined(["m", "rho"])) == ["chi2_per_degree.rho"]
    assert np.isnan(summary["chi2_per_degree"]["rho"])
    assert summary["chi2_per_degree_all"] == summary["chi2_per_degree"]["m"]


def test_too_few_groups_or_ages_are_said() -> None:
    few = residual_by_age(**snapshots(5, groups=3), fitted=False)
    assert np.isfinite(few.standard_error).all()
    reasons = few.undefined(["m", "rho"])
    assert set(reasons) == {"chi2_per_degree.m", "chi2_per_degree.rho", "chi2_per_degree_all"}
    assert reasons["chi2_per_degree.m"].startswith("errors by group need 4 groups, there are 3")
    data = snapshots(5)
    young = data["age"] == 0
    data = {name: values[young] for name, values in data.items()}
    assert (
        "one age"
        in residual_by_age(**data, fitted=True).undefined(["m", "rho"])["chi2_per_degree_all"]
    )
    free = residual_by_age(**data, fitted=False)
    assert free.degrees_of_freedom == 1 and free.undefined(["m", "rho"]) == {}
    with pytest.raises(Unavailable, match="two groups or more at one age"):
        residual_by_age(**{**data, "group": np.zeros(len(data["age"]))}, fitted=False)
    with pytest.raises(ValueError, match="expected increments"):
        residual_by_age(**{**data, "drift": data["drift"][:, 0]}, fitted=False)
