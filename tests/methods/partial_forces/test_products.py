"""Products of forces and modes, beside those of the Jacobian itself."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from macrodyn.closure.encoders import Modes, jacobian
from macrodyn.dynamics.force_forms import ForceProducts
from macrodyn.methods.partial_forces.products import Products
from macrodyn.methods.partial_forces.sample import draw_coordinates, known_coordinates
from macrodyn.streams import seeds
from macrodyn.systems import system_class

CASES = {
    "lennard-jones": ({}, (108,), [[0.7], [0.9], [1.2]]),
    "lennard-jones-thermo": ({"start": "independent"}, (108,), [[0.7], [0.9], [1.2]]),
    "allen-cahn": ({}, (16, 16), [[0.35, 0.12], [0.3, 0.1], [0.3, 0.15]]),
    "predator-prey-pde": ({}, (20,), [[0.5, 0.1], [0.45, 0.1], [0.55, 0.1]]),
}


@pytest.fixture(params=CASES)
def case(request):
    parameters, shape, macrostates = CASES[request.param]
    cls = system_class(request.param)
    system = cls(cls.Parameters.model_validate(parameters))
    states = system.initial_states(np.array(macrostates), shape, seeds(1, "p", index=3))
    rng = np.random.default_rng(1)
    states = states + 0.01 * rng.normal(size=states.shape)
    modes = np.linalg.qr(rng.normal(size=(states[0].size, 5)))[0].T
    return system, Modes(modes.reshape(5, *states.shape[1:]), 0 * states[0]), states


def products(case, number):
    """As they are made, and by the Jacobian."""
    system, modes, states = case
    particles = states.shape[1]
    drawn = draw_coordinates(system, particles, number, 3, np.arange(len(states)))
    forces = system.forces(states, drawn)
    known = np.flatnonzero(known_coordinates(system, particles))
    rates = system.known_rates(states).reshape(len(states), -1)
    phi = jacobian(system, modes, states)
    return (
        Products(system, modes, particles)(states, drawn, forces),
        ForceProducts.of(phi, drawn, forces, known, rates),
    )


@pytest.mark.parametrize("number", [7, "all"])
def test_they_are_those_of_the_jacobian(case, number):
    found, expected = products(case, number)
    assert found.share == expected.share
    for name in (f.name for f in fields(found) if f.name != "share"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.shape == other.shape, name
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10 * np.abs(other).max(initial=0))


def test_the_fluid_needs_no_jacobian(case, monkeypatch):
    system, modes, states = case
    where = "macrodyn.methods.partial_forces.products.jacobian"
    monkeypatch.setattr(where, lambda *_: pytest.fail("made a Jacobian"))
    if type(system).__name__ == "PredatorPreyPDE":
        pytest.skip("its modes lose their means, which is no projection of one direction")
    drawn = draw_coordinates(system, states.shape[1], 7, 3, np.arange(3))
    Products(system, modes, states.shape[1])(states, drawn, system.forces(states, drawn))


def test_each_state_s_are_its_own_to_the_bit(case):
    system, modes, states = case
    drawn = draw_coordinates(system, states.shape[1], 7, 3, np.arange(3))
    forces = system.forces(states, drawn)
    make = Products(system, modes, states.shape[1])
    whole, part = make(states, drawn, forces), make(states[1:2], drawn[1:2], forces[1:2])
    for name in (f.name for f in fields(whole) if f.name != "share"):
        np.testing.assert_array_equal(getattr(part, name)[0], getattr(whole, name)[1])


def test_known_rates_need_no_forces():
    cls = system_class("lennard-jones")
    system = cls(cls.Parameters())
    states = system.initial_states(np.array([[0.7]]), (108,), seeds(1, "p", index=1))
    modes = Modes(np.linalg.qr(np.ones((648, 1)))[0].T.reshape(1, 108, 6), 0 * states[0])
    with pytest.raises(ValueError, match="needs no force"):
        Products(system, modes, 108)(states, np.array([[0]]), np.ones((1, 1)))
