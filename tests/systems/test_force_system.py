"""The interface of systems with forces, on coupled oscillators: subsets, cost, and trajectories."""

from __future__ import annotations

import numpy as np
import pytest

from macrodyn.streams import seeds
from macrodyn.systems import Component, ForceSystem, Observable, Parameters, Particles
from macrodyn.systems.trial.declarations import check_class

POSITION, VELOCITY = 0, 1


class Chain(ForceSystem):
    """A ring of unit masses and springs: dx_i/dt = v_i, dv_i/dt = x_{i-1} - 2 x_i + x_{i+1}."""

    space = Particles(("x", "v"))
    known = ("x",)
    observables = (Observable("position"), Observable("energy", (0.0, np.inf)))
    macrostate = (Component("position", -1.0, 1.0),)
    Parameters = Parameters
    STEP = 0.005

    def __init__(self, parameters, **named):
        super().__init__(parameters, **named)
        self.evaluations = 0

    def initial_states(self, macrostate, shape, seeds):
        """Draw positions and velocities about the mean position."""
        noise = [np.random.default_rng(int(s)).normal(size=(*shape, 2)) for s in seeds]
        states = np.array(noise)
        states[..., POSITION] += macrostate[:, :1]
        return states

    def observe(self, states):
        """Measure mean position and energy per particle."""
        x, v = states[..., POSITION], states[..., VELOCITY]
        energy = 0.5 * (v**2 + (np.roll(x, -1, axis=1) - x) ** 2)
        return np.stack([x.mean(axis=1), energy.mean(axis=1)], axis=1)

    def forces(self, states, coordinates):
        """Compute some forces: a spring is looked at only if it ends at a chosen particle."""
        self.evaluations += coordinates.size
        particle, component = np.divmod(coordinates, 2)
        rows, n = np.arange(len(states))[:, None], states.shape[1]
        x = states[..., POSITION]
        left, right = x[rows, (particle - 1) % n], x[rows, (particle + 1) % n]
        spring = left - 2 * x[rows, particle] + right
        return np.where(component == POSITION, states[rows, particle, VELOCITY], spring)

    def trajectories(self, states, times, seeds):
        """Integrate by velocity Verlet in equal steps between the record times."""
        x, v = states[..., POSITION].copy(), states[..., VELOCITY].copy()
        recorded, now = [], 0.0
        for time in times:
            steps = round((time - now) / self.STEP)
            for _ in range(steps):
                v += 0.5 * self.STEP * self._springs(x)
                x += self.STEP * v
                v += 0.5 * self.STEP * self._springs(x)
            now = time
            recorded.append(np.stack([x, v], axis=-1))
        return np.stack(recorded, axis=1)

    def gradient(self, states):
        """Differentiate mean position and energy per particle."""
        n = states.shape[1]
        found = np.zeros((len(states), 2, n, 2))
        found[:, 0, :, POSITION] = 1 / n
        found[:, 1, :, POSITION] = -self._springs(states[..., POSITION]) / n
        found[:, 1, :, VELOCITY] = states[..., VELOCITY] / n
        return found

    def known_rates(self, states):
        """Read the velocities."""
        return states[..., VELOCITY:]

    @staticmethod
    def _springs(x):
        return np.roll(x, 1, axis=1) - 2 * x + np.roll(x, -1, axis=1)


@pytest.fixture
def chain():
    return Chain(Parameters())


@pytest.fixture
def states(chain):
    return chain.initial_states(np.array([[0.3], [-0.2]]), (6,), seeds(1, "chain", index=2))


def all_forces(chain, states):
    coordinates = np.tile(np.arange(states[0].size), (len(states), 1))
    return chain.forces(states, coordinates).reshape(states.shape)


def test_the_class_says_all_that_is_asked():
    assert list(check_class(Chain, ForceSystem)) == []


def test_some_forces_are_those_of_all_at_their_share_of_the_cost(chain, states):
    whole = all_forces(chain, states).reshape(len(states), -1)
    assert chain.evaluations == whole.size
    chosen = np.array([[3, 0, 11], [4, 7, 3]])
    np.testing.assert_array_equal(
        chain.forces(states, chosen), np.take_along_axis(whole, chosen, axis=1)
    )
    assert chain.evaluations == whole.size + chosen.size


def test_forces_are_the_rates_of_change_of_trajectories(chain, states):
    times = np.array([0.0, 2 * chain.STEP])
    start, end = np.moveaxis(chain.trajectories(states, times, seeds(1, index=2)), 1, 0)
    np.testing.assert_array_equal(start, states)
    middle = chain.trajectories(states, times[1:] / 2, seeds(1, index=2))[:, 0]
    np.testing.assert_allclose((end - start) / times[1], all_forces(chain, middle), atol=2e-4)


def test_gradients_are_the_derivatives_of_the_observables(chain, states):
    found, step = chain.gradient(states), 1e-6
    for particle, component in ((0, POSITION), (4, POSITION), (2, VELOCITY)):
        moved = np.zeros_like(states)
        moved[:, particle, component] = step
        change = (chain.observe(states + moved) - chain.observe(states - moved)) / (2 * step)
        np.testing.assert_allclose(found[..., particle, component], change, atol=1e-8)


def test_known_rates_are_forces(chain, states):
    whole = all_forces(chain, states)
    np.testing.assert_array_equal(chain.known_rates(states), whole[..., :1])


def test_a_system_that_knows_no_complement_pulls_modes_back_as_they_are(chain, states):
    modes = np.random.default_rng(3).normal(size=(3, 6, 2))
    np.testing.assert_array_equal(chain.complement(states), states)
    np.testing.assert_array_equal(chain.pull_back(states, modes), np.stack([modes, modes]))


def test_energy_is_kept_and_the_centre_moves_on(chain, states):
    found = chain.trajectories(states, np.array([5.0]), seeds(1, index=2))[:, 0]
    before, after = chain.observe(states), chain.observe(found)
    np.testing.assert_allclose(after[:, 1], before[:, 1], rtol=1e-4)
    drift = states[..., VELOCITY].mean(axis=1)
    np.testing.assert_allclose(after[:, 0], before[:, 0] + 5.0 * drift, atol=1e-10)
