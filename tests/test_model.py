"""A trained model asked by a user: against exact results of the Curie-Weiss model."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from scipy.linalg import solve_continuous_lyapunov

import macrodyn
from macrodyn.closure.layers import Architecture
from macrodyn.closure.model import PatchAutoencoder
from macrodyn.dynamics import DynamicsSettings, TransitionData
from macrodyn.dynamics.polynomial_fit import fit_polynomials
from macrodyn.model import MacroModel, ModelError
from macrodyn.storage.errors import StoreError
from macrodyn.systems.curie_weiss import CurieWeiss, CurieWeissParameters
from macrodyn.systems.ising import Ising, IsingParameters

mpl.use("Agg")
SIDE = (16, 16)
SITES = 256


def learned(system, temperatures=None):
    """Polynomials learned from exact drift and covariance, with a little noise in the drift."""
    rng = np.random.default_rng(4)
    m = np.tile(np.linspace(-0.99, 0.99, 400), 5)
    conditions = np.zeros((len(m), 0))
    systems = {None: system}
    if temperatures is not None:
        chosen = rng.choice(temperatures, len(m))
        conditions = chosen[:, None]
        systems = {t: system.with_parameters(temperature=t) for t in temperatures}
    drift, rate = np.zeros(len(m)), np.zeros(len(m))
    for value, one in systems.items():
        rows = slice(None) if value is None else chosen == value
        b, d = one.exact_moments(m[rows, None], SIDE)
        drift[rows], rate[rows] = b[:, 0], d[:, 0, 0]
    dt = 0.05
    increment = (drift + rng.normal(0, 2e-4, len(m))) * dt

    def tensor(values):
        return torch.as_tensor(np.asarray(values), dtype=torch.float32)

    data = TransitionData(
        z=tensor(m[:, None]),
        increment=tensor(increment[:, None]),
        elapsed=tensor(np.full(len(m), dt)),
        conditions=tensor(conditions),
        group=torch.arange(len(m)) % 40,
        scatter=tensor(np.sqrt(rate)[:, None, None]),
        compensated=tensor(increment[:, None]),
        known=True,
    )
    settings = DynamicsSettings(model="polynomial", members=3)
    ensemble, _, _ = fit_polynomials(*data.split(0.2, seed=1), settings, seed=0)
    ensemble.metadata.update(dt=dt, sites=SITES)
    architecture = Architecture(
        kind="spin", patch=(4, 4), state_channels=1, observables=1, closure_dim=0
    )
    return MacroModel(
        ensemble=ensemble,
        closure=PatchAutoencoder(architecture, seed=0).eval(),
        system=system,
        large=SIDE,
        patch=(4, 4),
        conditions=() if temperatures is None else ("temperature",),
        origin={"study": "exact", "run": "one", "system": "curie-weiss"},
    )


def make(temperature=0.93, field=0.0):
    return CurieWeiss(CurieWeissParameters(temperature=temperature, field=field))


@pytest.fixture(scope="module")
def bistable():
    return learned(make())


@pytest.fixture(scope="module")
def warm():
    return learned(make(temperature=1.3, field=0.1))


def chain(system, sites=SITES):
    """Values of m, and the rates of one spin more and one less up, of the exact chain."""
    m = np.linspace(-1, 1, sites + 1)
    jump = 2.0 / sites
    b, d = system.exact_moments(m[:, None], (sites, 1))
    b, d = b[:, 0], d[:, 0, 0]
    return m, 0.5 * (d / jump**2 + b / jump), 0.5 * (d / jump**2 - b / jump)


def exact_distribution(system, sites=SITES):
    m, up, down = chain(system, sites)
    log = np.concatenate([[0.0], np.cumsum(np.log(up[:-1]) - np.log(down[1:]))])
    weight = np.exp(log - log.max())
    return m, weight / weight.sum()


def exact_passage(system, target):
    """Mean times of the chain until it first is at the target or above, by its equations."""
    m, up, down = chain(system)
    inside = np.flatnonzero(m < target - 1e-12)
    matrix = np.zeros((len(inside), len(inside)))
    for i in inside:
        matrix[i, i] = -(up[i] + down[i])
        if i + 1 < len(inside):
            matrix[i, i + 1] = up[i]
        if i > 0:
            matrix[i, i - 1] = down[i]
    return m[inside], np.linalg.solve(matrix, -np.ones(len(inside)))


def test_drift_and_covariance_are_those_it_was_learned_from(warm):
    m = np.linspace(-0.8, 0.8, 9)
    drift, rate = warm.system.exact_moments(m[:, None], SIDE)
    np.testing.assert_allclose(warm.drift(m[:, None]), drift, atol=2e-3)
    np.testing.assert_allclose(warm.covariance(m[:, None]), rate, rtol=0.01)
    np.testing.assert_allclose(
        warm.covariance([0.1], size=(32, 32)), warm.covariance([0.1]) / 4, rtol=1e-6
    )
    module = warm.to_torch()
    found, factor = module(torch.tensor([[0.1]]))
    np.testing.assert_allclose(found.detach(), warm.drift([[0.1]]), rtol=1e-5)
    np.testing.assert_allclose(factor.detach() ** 2, warm.covariance([[0.1]]), rtol=1e-5)


@pytest.mark.parametrize("side", [(16, 16), (32, 32)])
def test_the_stationary_density_is_the_exact_one(warm, side):
    m, weight = exact_distribution(warm.system, side[0] * side[1])
    found = warm.stationary(size=side)
    mean = (m * weight).sum()
    std = np.sqrt((weight * (m - mean) ** 2).sum())
    assert float(found["mean"][0]) == pytest.approx(mean, abs=0.003)
    assert float(found["std"][0]) == pytest.approx(std, rel=0.03)
    value, density = found.value[0].values, found.density[0].values
    assert np.trapezoid(density, value) == pytest.approx(1.0, abs=1e-3)
    exact = np.interp(value, m, weight / (m[1] - m[0]))
    assert np.abs(density - exact).max() < 0.03 * exact.max()


def test_of_two_states_both_are_told_with_their_weights(bistable):
    m, weight = exact_distribution(bistable.system)
    found = bistable.stationary()
    assert float(found["mean"][0]) == pytest.approx(0.0, abs=0.05)
    exact_std = np.sqrt((weight * m**2).sum())
    assert float(found["std"][0]) == pytest.approx(exact_std, rel=0.02)
    value, density = found.value[0].values, found.density[0].values
    exact = np.interp(value, m, weight / (m[1] - m[0]))
    error = np.maximum(3 * found.density_error[0].values, 0.05 * exact.max())
    assert (np.abs(density - exact) < error)[20:-20].all()
    well = bistable.potential()
    barrier = np.interp(0.0, well.value, well.values)
    middle = -np.log(weight[SITES // 2] / weight.max())
    assert barrier == pytest.approx(middle, abs=0.15)


def test_mean_first_passage_times_are_the_exact_ones(bistable):
    """From the lower state over the barrier, and on to the upper one."""
    m, weight = exact_distribution(bistable.system)
    lower = float(m[: SITES // 2][weight[: SITES // 2].argmax()])
    starts, times = exact_passage(bistable.system, 0.4)
    exact = float(np.interp(lower, starts, times))
    found = bistable.first_passage(
        {"magnetisation": (0.4, np.inf)}, [[lower]], until=20 * exact, replicas=150, step=0.1
    )
    assert float(found.reached.min()) == 1.0
    quadrature = found.mean_by_quadrature.values[:, 0]
    np.testing.assert_allclose(quadrature, exact, rtol=0.05)
    simulated = found["mean"].values[-1, 0]
    error = found.standard_error.values[-1, 0]
    assert abs(simulated - quadrature[-1]) < 4 * error + 0.03 * exact
    # The same downwards, by symmetry.
    down = bistable.first_passage(
        {"magnetisation": (-np.inf, -0.4)}, [[-lower]], until=1.0, replicas=2, step=0.05
    )
    np.testing.assert_allclose(down.mean_by_quadrature.values[:, 0], exact, rtol=0.08)


def test_who_does_not_arrive_is_told(bistable):
    found = bistable.first_passage(
        {"magnetisation": (0.4, 1)}, [[-0.5], [0.5]], until=0.5, replicas=5
    )
    assert found.time.shape == (4, 2, 5)
    assert float(found.reached[-1, 0]) == 0.0 and np.isnan(found["mean"].values[-1, 0])
    assert (found.time.values[:, 1] == 0).all() and float(found["mean"][-1, 1]) == 0.0
    assert "mean_by_quadrature" not in found


def test_predictions_are_those_of_direct_simulation(warm):
    start, times = {"mean_spin": [-0.6, 0.3]}, [0.5, 2.0, 8.0]
    name = warm.system.component_names[0]
    found = warm.predict({name: start["mean_spin"]}, times, replicas=400, seed=3)
    assert found.z.dims == ("member", "initial", "replica", "time", "variable")
    keys = np.arange(400, dtype=np.uint64)
    for k, m in enumerate(start["mean_spin"]):
        states = warm.system.initial_states(np.full((400, 1), m), SIDE, keys)
        for place, time in enumerate(times):
            direct = warm.system.observe(warm.system.evolve(states, time, keys + 1))[:, 0]
            made = found.z_mean_model.values[k, :, place, 0]
            error = np.hypot(direct.std(), made.std()) / 20
            assert abs(direct.mean() - made.mean()) < 4.5 * error
            assert made.std() == pytest.approx(direct.std(), rel=0.2)


def test_the_noise_goes_with_the_size(warm):
    spreads = {
        side: float(
            warm.predict([[0.3]], [10.0], replicas=400, size=(side, side)).z_mean_model.std()
        )
        for side in (16, 32, 64)
    }
    assert spreads[16] / spreads[32] == pytest.approx(2.0, rel=0.1)
    assert spreads[32] / spreads[64] == pytest.approx(2.0, rel=0.1)


def test_states_and_z_are_taken_as_they_are(warm):
    rng = np.random.default_rng(1)
    states = np.where(rng.random((3, 1, *SIDE)) < 0.7, 1, -1).astype(np.int8)
    z = warm.encode(states)
    np.testing.assert_allclose(z[:, 0], states.mean(axis=(1, 2, 3)))
    one = warm.predict(states, [0, 1], replicas=2)
    other = warm.predict(z, [0, 1], replicas=2)
    np.testing.assert_array_equal(one.z.values, other.z.values)
    np.testing.assert_allclose(one.z.values[0, :, 0, 0], z, rtol=1e-6)
    again = warm.predict(z, [0, 1], replicas=2, seed=1)
    assert not np.array_equal(again.z.values[..., 1, :], other.z.values[..., 1, :])


def test_what_is_a_guess_is_told(warm):
    assert warm.predict([0.2], [1.0]).outside == 0.0
    assert warm.predict([0.999], [0.05]).initial_outside == 1.0


def test_conditions_are_inputs():
    model = learned(make(temperature=1.5), temperatures=[1.2, 1.5, 1.8])
    drifts = [model.drift([0.5], {"temperature": t})[0] for t in (1.2, 1.8)]
    exact = [
        model.system.with_parameters(temperature=t).exact_moments(np.array([[0.5]]), SIDE)[0][0, 0]
        for t in (1.2, 1.8)
    ]
    np.testing.assert_allclose(drifts, exact, atol=0.01)
    assert model.drift([0.5]) == model.drift([0.5], {"temperature": 1.5})
    assert model.predict([0.5], [1.0], conditions={"temperature": 1.9}).conditions_outside == (
        "temperature"
    )
    densities = [model.stationary({"temperature": t})["std"].values for t in (1.2, 1.8)]
    assert densities[0] > 1.2 * densities[1]
    with pytest.raises(ModelError, match=r"field: no condition of this model \(temperature\)"):
        model.drift([0.5], {"field": 1.0})
    with pytest.raises(ModelError, match="does not take"):
        model.sample_initial([0.1], conditions={"temperature": -1.0})


def test_rates_among_the_variables_are_those_under_the_conditions():
    model = replace(
        learned(make(temperature=1.5), temperatures=[1.2, 1.8]), features=("generator",)
    )
    states = make().initial_states(np.full((4, 1), 0.4), SIDE, np.arange(4, dtype=np.uint64))
    for temperature in (1.2, 1.8):
        there = make(temperature=temperature)
        asked = {"conditions": {"temperature": temperature}}
        z = model.initial(states, **asked)
        drift = there.exact_moments(there.observe(states), SIDE)[0]
        np.testing.assert_allclose(z[:, 1:], drift, atol=1e-12)
        drawn = model.sample_initial([0.4], 3, **asked)
        np.testing.assert_allclose(
            drawn[:, 1:], there.exact_moments(drawn[:, :1], SIDE)[0], atol=1e-12
        )


WRONG = {
    "z": (lambda m: m.drift([1.0, 2.0]), r"z is \[\.\.\., 1\], of magnetisation"),
    "states": (lambda m: m.encode(np.ones((2, 3, 8, 8))), r"states are \[batch, 1, side x side\]"),
    "component": (lambda m: m.predict({"m": 0.1}, [1.0]), "the initial macrostate names"),
    "times": (lambda m: m.predict([0.1], [1.0, 0.5]), "times must grow"),
    "before": (lambda m: m.predict([0.1], [-1.0, 0.5]), "begin at 0 or later"),
    "replicas": (lambda m: m.predict([0.1], [1.0], replicas=0), "replicas is 0"),
    "size": (lambda m: m.predict([0.1], [1.0], size=(16,)), "no lattice of 2 dimension"),
    "region": (lambda m: m.first_passage({"rho": (0, 1)}, [0.1], 1.0), "the region names rho"),
    "empty": (lambda m: m.first_passage({"magnetisation": (1, 0)}, [0.1], 1.0), "is empty"),
    "no region": (lambda m: m.first_passage({}, [0.1], 1.0), "names no variable"),
    "short": (
        lambda m: m.first_passage({"magnetisation": (0, 1)}, [0.1], 1e-3),
        "more than one step",
    ),
    "points": (lambda m: m.stationary(points=1), "points is 1"),
    "files": (lambda m: m.save("nowhere"), "read from no files"),
    "portrait": (lambda m: m.plot.phase_portrait("rho"), "rho: the variables are magnetisation"),
}


@pytest.mark.parametrize(("ask", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_asked_is_said(warm, ask, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message):
        ask(warm)


def test_pictures(warm, tmp_path):
    figures = [
        warm.plot.trajectories(warm.predict([[-0.5], [0.5]], np.linspace(0, 5, 11), replicas=5)),
        warm.plot.phase_portrait(),
        warm.plot.stationary(points=50),
    ]
    for number, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000


@pytest.fixture(scope="module")
def two_variables():
    """An Ornstein-Uhlenbeck process in (m, rho) of an Ising model: its moments are known."""
    rng = np.random.default_rng(2)
    z = rng.normal([0.2, 0.4], [0.05, 0.02], (6000, 2))
    relax, root = np.array([[1.0, 0.2], [0.0, 2.0]]), np.array([[0.05, 0.0], [-0.01, 0.03]])
    drift = -(z - [0.2, 0.4]) @ relax.T
    dt = 0.05

    def tensor(values):
        return torch.as_tensor(np.asarray(values), dtype=torch.float32)

    data = TransitionData(
        z=tensor(z),
        increment=tensor(drift * dt),
        elapsed=tensor(np.full(len(z), dt)),
        conditions=tensor(np.zeros((len(z), 0))),
        group=torch.arange(len(z)) % 40,
        scatter=tensor(np.tile(root, (len(z), 1, 1))),
        compensated=tensor(drift * dt + 1e-5 * rng.normal(size=z.shape)),
        known=True,
    )
    settings = DynamicsSettings(model="polynomial", members=2, polynomial={"degrees": (1,)})
    ensemble, _, _ = fit_polynomials(*data.split(0.2, seed=1), settings, seed=0)
    ensemble.metadata.update(dt=dt, sites=SITES)
    architecture = Architecture(
        kind="spin", patch=(4, 4), state_channels=1, observables=2, closure_dim=0
    )
    model = MacroModel(
        ensemble=ensemble,
        closure=PatchAutoencoder(architecture, seed=0).eval(),
        system=Ising(IsingParameters(temperature=2.5, field=0.1)),
        large=SIDE,
        patch=(4, 4),
    )
    return model, relax, root


def test_of_several_variables_trajectories_tell(two_variables):
    model, relax, root = two_variables
    found = model.stationary(until=40.0, settle=8.0, replicas=60)
    step = np.eye(2) - relax * 0.05
    # Of the scheme at its step: C = A C A^T + S h.
    operator = np.eye(4) - np.kron(step, step)
    exact = np.linalg.solve(operator, (root @ root.T * 0.05).ravel()).reshape(2, 2)
    np.testing.assert_allclose(found["mean"], [0.2, 0.4], atol=0.005)
    np.testing.assert_allclose(found["std"], np.sqrt(np.diag(exact)), rtol=0.08)
    assert bool(found.settled.all())
    errors = (found["mean"] - [0.2, 0.4]) / found.mean_error
    assert float(np.abs(errors).max()) < 5
    with pytest.raises(ModelError, match="of a model of one variable"):
        model.potential()
    assert model.plot.phase_portrait() is not None


def test_of_two_variables_the_density_is_the_exact_one(two_variables):
    model, relax, root = two_variables
    found = model.stationary()
    exact = solve_continuous_lyapunov(relax, root @ root.T)
    np.testing.assert_allclose(found["mean"], [0.2, 0.4], atol=0.005)
    np.testing.assert_allclose(found["std"], np.sqrt(np.diag(exact)), rtol=0.05)
    for k in range(2):
        assert np.trapezoid(found.density[k], found.value[k]) == pytest.approx(1.0, abs=2e-3)
    cell = float(found.first[1] - found.first[0]) * float(found.second[1] - found.second[0])
    weight = found.joint_density.values * cell
    assert weight.sum() == pytest.approx(1.0)
    apart = np.outer(found.first - found["mean"][0], found.second - found["mean"][1])
    assert (weight * apart).sum() == pytest.approx(
        exact[0, 1], abs=0.1 * np.sqrt(exact[0, 0] * exact[1, 1])
    )
    larger = model.stationary(size=tuple(2 * side for side in SIDE))
    np.testing.assert_allclose(larger["std"], found["std"] / 2, rtol=0.03)


def test_a_model_that_has_not_settled_says_so(two_variables):
    model, *_ = two_variables
    assert not bool(model.stationary(until=2.0, settle=0.0, replicas=60).settled.all())


def test_names_of_nothing_are_refused(tmp_path):
    with pytest.raises(ModelError, match="neither a model nor the results of a study"):
        macrodyn.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"kind": "other"}), encoding="utf-8")
    with pytest.raises(StoreError, match=r"model\.json"):
        macrodyn.load(tmp_path)


def test_members_that_leave_the_others_do_not_count(warm):
    left = replace(warm)
    left.ensemble.metadata["members"] = {"outliers": [1]}
    try:
        assert left.kept == (0, 2)
    finally:
        del left.ensemble.metadata["members"]
