"""What is wrong with what a class says of itself is said before any job, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field, field_validator

from macrodyn.systems import (
    ForceSystem,
    Observable,
    Parameters,
    Particles,
    PatchSystem,
    System,
    registry,
    system_class,
)
from macrodyn.systems.trial.declarations import WHERE, check_class

from .own import REMOVED, Own, problems

ATTRIBUTES: dict[str, tuple[dict[str, Any], str]] = {
    "no observables": ({"observables": REMOVED}, "the attribute observables is missing"),
    "no space": ({"space": REMOVED}, "the attribute space is missing: it should be what a state"),
    "no Parameters": ({"Parameters": REMOVED}, "the attribute Parameters is missing"),
    "no evolve": ({"evolve": REMOVED}, "the method evolve is missing"),
    "space of particles": (
        {"space": Particles(("x", "v"))},
        "space is Particles(components=('x', 'v')), but it should be what a state is, as Grid(",
    ),
    "observables a string": ({"observables": "density"}, "observables is 'density', but it should"),
    "observables twice": (
        {"observables": (Observable("density"), Observable("density", (0.0, 1.0)))},
        "but it should be a tuple of different ones, such as (Observable(",
    ),
    "halo negative": ({"halo": -1}, "halo is -1, but it should be a whole number of sites"),
    "stops a string": ({"stops": "time"}, "stops is 'time', but it should be a tuple with some of"),
    "unknown upsampling": ({"upsamplings": ("copy",)}, "some of 'tile', 'replicate'"),
    "no CPU": ({"devices": ("cuda",)}, "devices is ('cuda',), but it should be ('cpu',) or"),
    "macrostate a range": ({"macrostate": (0.0, 1.0)}, "such as (Component('density', 0.0, 1.0),)"),
    "parameters of another kind": ({"Parameters": dict}, "a subclass of macrodyn.systems.Par"),
    "version zero": ({"version": 0}, "version is 0, but it should be a whole number of 1 or more"),
}


@pytest.mark.parametrize(("members", "message"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_wrong_attribute_is_named(monkeypatch, members, message):
    text = problems(monkeypatch, members)
    assert "  system.name: Own: " in text
    assert message in text


def test_all_wrong_attributes_are_named_at_once(monkeypatch):
    text = problems(monkeypatch, {"halo": -1, "observables": REMOVED, "observe": REMOVED})
    for name in ("halo is -1", "observables is missing", "the method observe is missing"):
        assert name in text
    assert len(text.splitlines()) == 2


def takes_parameters_alone(self, parameters):
    self.parameters = parameters


# What systems said before, each with what to change.
FORMER: dict[str, tuple[dict[str, Any], str]] = {
    "names": (
        {"observables": ("density", "boundaries")},
        "observables is a tuple of names: give Observable objects",
    ),
    "bounds": (
        {"bounds": ((0.0, 1.0),)},
        "bounds are part of the observables: Observable(name, bounds=(lowest, highest))",
    ),
    "labels": (
        {"labels": {"density": "$d$"}},
        "labels are part of the observables: Observable(name, label=...)",
    ),
    "macrostates": (
        {"macrostates": {"density": (0.0, 1.0)}},
        "macrostates is macrostate now, a tuple of Component(name, lowest, highest)",
    ),
    "dimension": ({"dimension": 1}, "dimension is part of the space: space = Grid(kind, dim"),
    "channels": ({"channels": 2}, "channels is part of the space: space = Grid(kind, dimension, "),
    "kind": ({"kind": "species"}, "kind is part of the space: space = Grid(kind, dimension, chan"),
    "species": ({"species": 2}, "species is part of the space: space = Grid(kind, dimension, cha"),
    "dtype": ({"dtype": np.uint8}, "dtype is part of the space and follows from its kind"),
    "state_labels": (
        {"state_labels": {0: "empty"}},
        "state_labels are part of the space: Grid(labels={value: text})",
    ),
    "on": ({"on": lambda self, device: self}, "on is not called: __init__ takes the device"),
    "__init__": (
        {"__init__": takes_parameters_alone},
        "__init__ takes no device or prepared: write __init__(self, parameters, **named)",
    ),
}


@pytest.mark.parametrize(("members", "message"), FORMER.values(), ids=FORMER)
def test_what_a_system_of_the_former_interface_must_change_is_said(monkeypatch, members, message):
    text = problems(monkeypatch, members)
    assert f"  system.name: Own: {message}" in text
    assert text.endswith("(docs/own-system.md#what-the-class-says)")


def test_a_system_of_the_former_interface_is_told_all_at_once(monkeypatch):
    former = {name: value for members, _ in FORMER.values() for name, value in members.items()}
    members = {"space": REMOVED, "macrostate": REMOVED, **former}
    text = problems(monkeypatch, members, base_class=System)
    assert (
        "  system.name: Own: is a System: derive it from PatchSystem (docs/own-system.md#" in text
    )
    assert "the attribute space is missing: it should be what a state is, as Grid(" in text
    for _, message in FORMER.values():
        assert message in text
    assert len(text.splitlines()) == 2


def observing(self, *arguments):
    """Stand for any method."""


def test_a_system_of_another_method_is_refused():
    class Forces(ForceSystem):
        space, observables, Parameters = Particles(("x",)), (Observable("mean"),), Parameters
        initial_states = observe = trajectories = forces = gradient = observing
        dimension = 3  # its own affair

    ((_, said),) = check_class(Forces, PatchSystem)
    assert said == f"Forces: is a ForceSystem: derive it from PatchSystem ({WHERE})"
    assert list(check_class(Forces)) == []
    assert list(check_class(Own, PatchSystem)) == list(check_class(Own)) == []


def test_page_that_messages_name_has_the_section():
    page = Path(__file__).parents[3] / "docs" / "own-system.md"
    assert "\n## What the class says\n" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_built_in_systems_are_complete(name):
    assert list(check_class(system_class(name))) == []


class Doubling(Parameters):
    """Each reading doubles the rate."""

    rate: float = 1.0

    @field_validator("rate")
    @classmethod
    def _double(cls, rate):
        return 2 * rate


class Closed(Parameters):
    """Writes what it does not read: a rate above its own limit."""

    rate: float = Field(default=1.0, lt=2)

    @field_validator("rate", mode="after")
    @classmethod
    def _double(cls, rate):
        return 2 * rate


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Doubling, "its Parameters make rate 4.0 of their own 2.0: a validator must leave"),
        (Closed, "its Parameters cannot read what they wrote: 1 validation error"),
    ],
)
def test_parameters_that_change_when_they_are_read_again_are_named(monkeypatch, model, expected):
    """Each job reads them again, and conditions do."""
    given = {"system": {"name": "own", "parameters": {"rate": 1.0}}}
    assert expected in problems(monkeypatch, {"Parameters": model}, given)
