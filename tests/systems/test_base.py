"""What every system has from the interface: names, labels, its device and what was prepared."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from macrodyn.systems import Component, Grid, Observable, Parameters, PatchSystem, System
from macrodyn.systems.registry import prepared_stages


class Rate(Parameters):
    rate: float = 1.0


class Declared(System):
    """Says something, and does nothing."""

    space = Grid("species", 1, channels=2, species=3, labels={0: "empty"})
    observables = (
        Observable("density", (0.0, 1.0), r"density $\rho$"),
        Observable("mean_energy", unit="eV"),
        Observable("plain"),
    )
    macrostate = (Component("density", 0.0, 1.0), Component("width", label="width $w$"))
    devices = ("cpu", "cuda")
    Parameters = Rate

    def initial_states(self, macrostate, shape, seeds):
        raise NotImplementedError

    def observe(self, states):
        raise NotImplementedError


class Prepared(Declared):
    """Needs a table."""

    @classmethod
    def prepare(cls, parameters, planner):
        first = planner.stage("table", {"rate": parameters.rate})
        return {"table": first, "fit": planner.stage("fit", {}, {"table": first})}


class Sites(PatchSystem, Declared):
    """The same on patches."""

    space = Declared.space
    evolve = evolve_patch = observe_patch = observable_increment = Declared.observe


TABLE = {"table": {"data": Path("table.nc")}}


def test_names_bounds_and_labels_follow_from_the_declarations():
    system = Declared(Rate())
    assert system.observable_names == ("density", "mean_energy", "plain")
    assert system.bounds == ((0.0, 1.0), *[(-math.inf, math.inf)] * 2)
    assert system.component_names == ("density", "width")
    assert system.labels == {
        "density": r"density $\rho$",
        "mean_energy": "mean energy [eV]",
        "width": "width $w$",
    }


def test_a_component_is_written_by_its_own_label_unless_an_observable_has_another():
    class Other(Declared):
        observables = (Observable("density"),)
        macrostate = (Component("density", label="$c$"),)

    assert Other(Rate()).labels == {"density": "$c$"}


def test_what_is_asked_of_grids_is_what_their_space_says():
    system = Sites(Rate())
    assert (system.kind, system.dimension, system.channels, system.species) == ("species", 1, 2, 3)
    assert system.dtype == np.uint8 and system.state_labels == {0: "empty"}


def test_other_parameters_keep_the_device_and_what_was_prepared():
    system = Prepared(Rate(), device="cuda", prepared=TABLE)
    changed = system.with_parameters(rate=2.0)
    assert type(changed) is Prepared and changed.parameters.rate == 2.0
    assert changed.device == "cuda" and changed.prepared == TABLE
    assert system.parameters.rate == 1.0


def test_a_device_without_kernels_is_refused():
    with pytest.raises(ValueError, match=r"^Declared runs on cpu, cuda only$"):
        Declared(Rate(), device="tpu")


def test_a_system_is_ready_when_what_it_must_prepare_is_at_hand():
    assert Declared(Rate()).is_ready
    assert not Prepared(Rate()).is_ready
    assert Prepared(Rate(), prepared=TABLE).is_ready


class Planner:
    """Stands for the planner: a stage is what it was asked for."""

    def stage(self, kind, config, parents=None):
        return kind, config, parents or {}


def test_stages_that_a_system_prepares_are_planned(monkeypatch):
    monkeypatch.setattr("macrodyn.systems.registry.system_class", lambda _: Prepared)
    table = ("table", {"rate": 3.0}, {})
    expected = {"table": table, "fit": ("fit", {}, {"table": table})}
    assert prepared_stages("own:Prepared", {"rate": 3}, Planner()) == expected
    # The check of the configuration says what is wrong with parameters.
    assert prepared_stages("own:Prepared", {"rate": "fast"}, Planner()) == {}
    monkeypatch.setattr("macrodyn.systems.registry.system_class", lambda _: Declared)
    assert prepared_stages("own:Declared", {}, Planner()) == {}


def test_built_in_systems_are_not_loaded_for_what_they_do_not_prepare(monkeypatch):
    monkeypatch.setattr("macrodyn.systems.registry.system_class", None)
    assert prepared_stages("ising", {"temperature": 2.5}, Planner()) == {}
