"""Systems are found by name, by ``module:Class``, and their parameters are checked."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from macrodyn.systems import UnknownSystemError, available_systems, registry, system_class
from macrodyn.systems.ising import Ising


def test_built_in_system_is_found():
    assert "ising" in available_systems()
    assert system_class("ising") is Ising


def test_class_is_found_by_its_module():
    assert system_class("macrodyn.systems.ising:Ising") is Ising


def test_class_is_looked_for_once(monkeypatch):
    """Each look reads the metadata of all installed packages, for each job of a study."""
    looks = []
    monkeypatch.setattr(registry, "entry_points", lambda **_: looks.append(1) or [])
    system_class.cache_clear()
    assert {system_class("ising") for _ in range(100)} == {Ising}
    assert len(looks) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("isng", "unknown system 'isng'; installed systems: .*ising"),
        ("no_such_package:System", "cannot load system"),
        ("macrodyn.systems.ising:Missing", "cannot load system"),
        (":Ising", "cannot load system"),
        (".ising:Ising", "cannot load system"),
        ("pathlib:Path", "not a subclass of macrodyn.systems.System"),
        ("macrodyn.systems.ising:kernels", "not a subclass"),
    ],
)
def test_unknown_systems_are_named_in_the_error(name, message):
    with pytest.raises(UnknownSystemError, match=message):
        system_class(name)


def test_changed_parameters_are_validated(make_ising):
    system = make_ising(temperature=2.5, field=0.1)
    changed = system.with_parameters(field=0.3)
    assert (changed.parameters.temperature, changed.parameters.field) == (2.5, 0.3)
    assert system.parameters.field == 0.1
    with pytest.raises(ValidationError, match="greater than 0"):
        system.with_parameters(temperature=-1.0)
    with pytest.raises(ValidationError, match="Extra inputs"):
        system.with_parameters(coupling=1.0)
