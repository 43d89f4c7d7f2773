"""What is wrong across the keys of a run of partial forces is told before any job."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from macrodyn.config.load import ConfigError, load_study, merge
from macrodyn.systems import (
    Component,
    ForceSystem,
    Observable,
    Parameters,
    Particles,
    registry,
)

from .bench import BASE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forces": {"runs": 9}}, r"forces\.runs: 9 is more than simulate\.runs \(8\)"),
        ({"forces": {"runs": 1}}, r"forces\.runs: 1 is too few"),
        ({"forces": {"configurations": 49}}, r"49 is more than there are \(8 runs of 6 records\)"),
        ({"closure": {"dimension": 18}}, r"closure\.dimension: 18 variables and the observables"),
        ({"closure": {"snapshots": 2}}, r"closure\.dimension: 2 variables cannot be found"),
        ({"dynamics": {"validation_every": 21}}, r"21 is more than dynamics\.steps \(20\)"),
        ({"size": [5, 5]}, r"simulate\.times: size is \[5, 5\]: give the number of sites"),
        (
            {"simulate": {"initial_range": {"mean": [0.6, 0.5], "amplitude": [0.05, 0.1]}}},
            r"simulate\.initial_range: \[0\.6, 0\.5\] is empty \(mean\)",
        ),
        (
            {"evaluate": {"initial_range": {"mean": [0.4, 1.5], "amplitude": [0.05, 0.1]}}},
            r"evaluate\.initial_range: \[0\.4, 1\.5\] is outside \[0\.0, 1\.0\]",
        ),
        ({"simulate": {"initial_range": [0, 1]}}, r"an initial macrostate is 2 numbers"),
        ({"simulate": {"while_above": {"wolves": 1}}}, r"while_above\.wolves: is no observable"),
        (
            {"simulate": {"runs": 100000, "times": {"points": 10000}}},
            r"simulate\.runs: 100000 runs of 10000 records .* 160 GB",
        ),
        (
            {"system": {"name": "ising", "parameters": {"temperature": 2.5}}},
            r"Ising: is a PatchSystem: derive it from ForceSystem",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    content = merge(BASE, {k: v for k, v in changes.items() if k != "system"})
    content |= {k: v for k, v in changes.items() if k == "system"}
    with pytest.raises(ConfigError, match=message):
        load_study(content)


def test_base_is_right():
    assert list(load_study(BASE).runs) == ["base"]


class Drops(ForceSystem):
    """Numbers that decay, each at the rate 1."""

    space = Particles(("x",))
    observables = (Observable("mean"),)
    macrostate = (Component("mean", 0.0, 2.0),)
    Parameters = Parameters

    def initial_states(self, macrostate, shape, seeds):
        rng = [np.random.default_rng(int(s)) for s in seeds]
        return macrostate[:, :, None] + 0.1 * np.array([r.normal(size=(*shape, 1)) for r in rng])

    def trajectories(self, states, times, seeds):
        return states[:, None] * np.exp(-times)[:, None, None]

    def observe(self, states):
        return states.mean(axis=1)

    def forces(self, states, coordinates):
        return -np.take_along_axis(states[..., 0], coordinates, axis=1)

    descriptor_names = ("square", "cube")

    def descriptors(self, complement):
        return np.stack([(complement[..., 0] ** k).sum(1) for k in (2, 3)], axis=1)

    def descriptor_rows(self, complement):
        return np.stack([k * complement ** (k - 1) for k in (2, 3)], axis=1)

    def gradient(self, states):
        return np.full((len(states), 1, *states.shape[1:]), 1 / states.shape[1])


def wrong(name):
    """A class with one fault."""

    class Wrong(Drops):
        pass

    def forces(self, states, coordinates):
        return Drops.forces(self, states, coordinates) * (1 + (coordinates.shape[1] < 8))

    faults = {
        "gradient": lambda self, states: 2 * Drops.gradient(self, states),
        "forces": forces,
        "pull_back": lambda self, states, modes: np.broadcast_to(
            2 * modes, (len(states), *modes.shape)
        ),
        "observe": lambda self, states: states.mean(axis=(1, 2)),
        "trajectories": lambda self, states, times, seeds: states,
        "descriptors": lambda self, y: y[:, :2, 0],
        "descriptor_rows": lambda self, y: 2 * Drops.descriptor_rows(self, y),
    }
    setattr(Wrong, name, faults[name])
    return Wrong


@pytest.fixture
def own(monkeypatch):
    """A module of the user's, and the study of a class in it."""
    module = types.ModuleType("own_drops")
    monkeypatch.setitem(sys.modules, "own_drops", module)

    def study(cls):
        cls.__module__ = "own_drops"
        module.Drops = cls
        registry.system_class.cache_clear()
        return BASE | {
            "size": [8],
            "system": {"name": "own_drops:Drops", "parameters": {}},
            "simulate": BASE["simulate"] | {"initial_range": [0.5, 1.5]},
        }

    return study


def test_own_system_that_is_right_passes(own):
    load_study(own(type("Right", (Drops,), {})))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gradient", "gradient gives no derivatives of what observe gives"),
        ("forces", "forces on some coordinates are other than on all"),
        ("pull_back", "pull_back gives no derivatives of what complement gives"),
        ("observe", "observe"),
        ("trajectories", "trajectories"),
        ("descriptors", "descriptors change when particles are exchanged"),
        ("descriptor_rows", "descriptor_rows gives no derivatives of what descriptors gives"),
    ],
)
def test_own_system_is_tried(own, name, message):
    with pytest.raises(ConfigError, match=message):
        load_study(own(wrong(name)))


def test_too_many_descriptors_are_refused(own):
    study = own(type("Right", (Drops,), {}))
    load_study(study | {"closure": {"encoder": "descriptors", "dimension": 2}})
    with pytest.raises(ConfigError, match=r"3 is more than the 2 descriptors of own_drops:Drops"):
        load_study(study | {"closure": {"encoder": "descriptors", "dimension": 3}})
    with pytest.raises(ConfigError, match=r"closure\.encoder: predator-prey-pde has no descript"):
        load_study(BASE | {"closure": {"encoder": "descriptors"}})
