"""What the stages of partial forces promise: the forces they read, and what they make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from macrodyn.closure.encoders import jacobian, load_encoder, macrostates
from macrodyn.dynamics.ensemble import Ensemble
from macrodyn.dynamics.force_forms import ForceProducts
from macrodyn.methods.partial_forces.displaced import draw_displacements
from macrodyn.methods.partial_forces.learn import read_products
from macrodyn.methods.partial_forces.sample import draw_coordinates, spread_runs
from macrodyn.systems import system_class
from macrodyn.systems.predator_prey_pde import PredatorPreyPDE

from .bench import Bench


@pytest.fixture
def system():
    cls = system_class("predator-prey-pde")
    return cls(cls.Parameters(step=0.02))


@pytest.fixture
def counted(monkeypatch):
    """Numbers of forces that a system is asked for, call by call."""
    found = []
    forces = PredatorPreyPDE.forces

    def count(self, states, coordinates):
        found.append(coordinates.size)
        return forces(self, states, coordinates)

    monkeypatch.setattr(PredatorPreyPDE, "forces", count)
    return found


@pytest.mark.parametrize("loss", ["microscopic", "latent", "controlled"])
@pytest.mark.parametrize("encoder", ["modes", "dense"])
def test_no_force_is_read_but_those_that_were_drawn(tmp_path, counted, loss, encoder):
    """Scaling, encoders and validation included: 30 configurations, 4 coordinates each."""
    fresh = Bench(tmp_path)
    changes = {"dynamics": {"loss": loss}, "closure": {"encoder": encoder}}
    fresh.made("model", changes)
    assert sum(counted) == 30 * 4
    fresh.made("forecast", changes)  # what it leaves unresolved is no matter of learning
    assert sum(counted) == 30 * 4 + 6 * 20


def test_trajectories_are_those_of_the_system(bench, system):
    data = bench.made("trajectories")
    assert dict(data.sizes) == {
        "run": 8, "time": 6, "particle": 10, "state": 2, "observable": 2, "component": 2,
    }  # fmt: skip
    states = data.states.values
    np.testing.assert_array_equal(
        system.observe(states.reshape(-1, 10, 2)).reshape(8, 6, 2), data.observables
    )
    again = system.trajectories(states[:, 0], np.arange(6) * 0.2, np.zeros(8, np.uint64))
    np.testing.assert_allclose(again, states, rtol=1e-9)
    low, high = data.initial_values.min("run"), data.initial_values.max("run")
    assert (low.values < [0.47, 0.07]).all() and (high.values > [0.53, 0.13]).all()


@pytest.mark.parametrize("component", [0, 1])
def test_first_runs_are_spread_over_all_of_the_range(component):
    ranges = {"mean": (0.4, 0.6), "amplitude": (0.0, 0.2)}
    values = spread_runs(60, ranges, 3, "training").macrostate[:, component]
    low, high = list(ranges.values())[component]
    parts = np.sort(np.floor((values - low) / (high - low) * 60).astype(int))
    np.testing.assert_array_equal(parts, np.arange(60))  # one in each part of the range
    assert np.ptp(values[:6]) > 0.4 * (high - low)


def test_held_out_trajectories_are_others(bench):
    one, other = bench.made("trajectories"), bench.made("held-out")
    assert not set(one.initial_values.values[:, 0]) & set(other.initial_values.values[:, 0])
    # More runs of the same kind leave both sets different as well.
    many = bench.made("held-out", {"evaluate": {"runs": 8}})
    assert not set(one.initial_values.values[:, 0]) & set(many.initial_values.values[:, 0])


def test_forces_are_those_on_the_drawn_coordinates(bench, system):
    data, source = bench.made("forces"), bench.made("trajectories")
    assert data.sizes["sample"] == 30 and data.attrs["evaluations_each"] == 4
    states = source.states.values[data.run, data.record]
    drawn = data.coordinates.values.astype(int)
    np.testing.assert_array_equal(data.forces, system.forces(states, drawn))
    assert (np.diff(drawn, axis=1) > 0).all() and len(np.unique(drawn)) == 20
    assert len({tuple(row) for row in drawn}) > 25


def test_first_configurations_are_in_the_order_of_the_runs(bench):
    data = bench.made("forces", {"forces": {"draw": "first"}})
    np.testing.assert_array_equal(data.run.values * 6 + data.record.values, np.arange(30))
    random = bench.made("forces")
    assert set(random.run.values) == set(range(8))


def test_records_end_where_an_observable_has_fallen(bench):
    changes = {
        "simulate": {"while_above": {"prey": 0.48}}, "forces": {"configurations": "all"},
    }  # fmt: skip
    data, source = bench.made("forces", changes), bench.made("trajectories")
    above = source.observables.values[..., 0] > 0.48
    expected = np.logical_and.accumulate(above, axis=1).sum()
    assert 0 < data.sizes["sample"] == expected < 48


def test_products_are_those_of_the_forces(bench, system):
    data, forces = bench.made("products"), bench.made("forces")
    encoder = load_encoder(bench.path(bench.plan()["encoder"]) / "model.safetensors")
    states = bench.made("trajectories").states.values[forces.run, forces.record]
    np.testing.assert_allclose(data.z, macrostates(system, encoder, states), rtol=1e-12)
    expected = ForceProducts.of(
        jacobian(system, encoder, states),
        forces.coordinates.values.astype(int),
        forces.forces.values,
        np.array([], dtype=int),
        np.empty((30, 0)),
    )
    found = read_products(data)
    assert found.share == expected.share == 0.2
    for name in ("gram", "chosen", "push", "size"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)


def test_forecast_begins_where_the_trajectories_do_and_follows_the_model(bench):
    data = bench.made("forecast")
    assert dict(data.sizes) | {"configuration": 6} == {
        "member": 2, "run": 3, "time": 6, "variable": 4, "component": 2, "configuration": 6,
    }  # fmt: skip
    np.testing.assert_allclose(
        data.z[:, :, 0], data.encoded.expand_dims(member=2)[:, :, 0], rtol=1e-6
    )
    held_out = bench.made("held-out")
    np.testing.assert_allclose(data.encoded[..., :2], held_out.observables)
    model = Ensemble.load(bench.path(bench.plan()["model"]) / "model.safetensors")
    z = torch.as_tensor(data.z.values[:, :, 0])
    slope = (data.z.values[:, :, 1] - data.z.values[:, :, 0]) / 0.2
    drift = model.drift(z).detach().numpy()
    np.testing.assert_allclose(slope, drift, atol=0.2 * np.abs(slope).max())
    assert model.metadata["variables"] == ["prey", "predator", "closure_1", "closure_2"]


def test_metrics_tell_errors_beside_what_needs_no_forces(bench):
    metrics = bench.made("evaluation")
    names = {"interpolation", "nearest", "regression", "constant", "observables"}
    assert set(metrics["without_forces"]) == names
    for name in names - {"regression"}:  # of which there are too few runs
        each = [found["without_forces"][name] for found in metrics["by_observable"].values()]
        assert np.mean(each) == pytest.approx(metrics["without_forces"][name])
    assert metrics["forces"] == {"evaluations": 120, "configurations": 30, "each": 4}
    data, true = bench.made("forecast"), bench.made("held-out").observables.values
    gap = np.abs(data.z.values[..., :2] - true).sum(axis=2) / np.abs(true).sum(axis=1)
    members = gap.mean(axis=(1, 2))
    np.testing.assert_allclose(metrics["error"]["members"], members, rtol=1e-9)
    assert metrics["error"]["mean"] == pytest.approx(members.mean())
    assert 0 < metrics["unresolved"]["median"] < 1
    assert metrics["condition_number"]["median"] == pytest.approx(1.0)


@pytest.mark.parametrize("number", [3, "all"])
def test_particles_are_drawn_where_their_forces_come_together(number):
    class Atoms:
        space = type("Space", (), {"components": ("x", "y", "v_x", "v_y")})
        known, together = ("x", "y"), True

    drawn = draw_coordinates(Atoms(), 6, number, 1, [4, 9])
    atoms = 3 if number == 3 else 6
    assert drawn.shape == (2, 2 * atoms)
    assert (drawn % 4 >= 2).all()  # velocities alone
    for row in drawn:
        np.testing.assert_array_equal(row[::2] + 1, row[1::2])
    again = draw_coordinates(Atoms(), 6, number, 1, [9])
    np.testing.assert_array_equal(again[0], drawn[1])


def test_displaced_configurations_lie_beside_the_trajectories(tmp_path, counted, system):
    """Their forces and macroscopic states are those of where they lie; the others stay."""
    fresh = Bench(tmp_path)
    changes = {"forces": {"displaced": 0.4, "displacement": 0.05}}
    states = fresh.made("trajectories").states.values
    forces = fresh.made("forces", changes)
    products = fresh.made("products", changes)
    assert sum(counted) == 30 * 4
    moved = (forces.factor != 0).any("pair").values
    assert moved.sum() == 12
    path = fresh.path(fresh.plan(changes)["encoder"])
    found = load_encoder(path / "model.safetensors", system)
    for k in range(30):
        own = forces.isel(sample=k)
        here = states[int(own.run), int(own.record)].copy()
        there = here.copy()
        for pair in (0, 1):
            one, other = (
                states[int(own.other_run[pair, end]), int(own.other_record[pair, end])]
                for end in (0, 1)
            )
            there += float(own.factor[pair]) * (one - other)
        assert (there != here).any() == moved[k]
        drawn = own.coordinates.values.astype(np.int64)
        np.testing.assert_allclose(own.forces, system.forces(there[None], drawn[None])[0], 1e-12)
        np.testing.assert_allclose(
            products.z[k], macrostates(system, found, there[None])[0], atol=1e-12
        )


def test_displacements_have_the_covariance_of_the_configurations():
    """Of numbers with unit variance: 2 distance^2, as differences have twice the variance."""
    values = np.random.default_rng(1).standard_normal(40_000)
    others, factors = draw_displacements(len(values), 0.5, 0.1, 7)
    moved = factors.any(axis=1)
    assert moved.sum() == 20_000
    shift = (factors * (values[others[..., 0]] - values[others[..., 1]])).sum(axis=1)
    assert not shift[~moved].any()
    assert shift[moved].var() == pytest.approx(2 * 0.1**2, rel=0.05)
    assert draw_displacements(10, 0.0, 0.1, 7)[1].any() == np.False_
