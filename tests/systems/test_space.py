"""Declarations of states, observables and macrostates refuse what does not go together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from macrodyn.systems import (
    Component,
    Grid,
    Observable,
    Particles,
    UnknownSystemError,
    system_class,
)


@pytest.mark.parametrize(
    ("grid", "dtype"),
    [
        (Grid("spin", 2), np.int8),
        (Grid("field", 1), np.float64),
        (Grid("field", 1, dtype=np.float32), np.float32),
        (Grid("species", 3, channels=2, species=3), np.uint8),
        (Grid("species", 1, species=300, dtype="uint16"), np.uint16),
        (Grid("species", 1, species=256), np.uint8),
    ],
    ids=lambda value: value.kind if isinstance(value, Grid) else np.dtype(value).name,
)
def test_type_of_the_entries_follows_from_the_kind_unless_it_is_said(grid, dtype):
    assert grid.dtype == np.dtype(dtype)


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "kind misspelt": (Grid, {"kind": "spins"}, "kind is 'spins': it should be 'spin', 'field' or"),
    "dimension four": (Grid, {"dimension": 4}, "dimension is 4: it should be 1, 2 or 3"),
    "dimension true": (Grid, {"dimension": True}, "dimension is True: it should be 1, 2 or 3"),
    "no channels": (Grid, {"channels": 0}, "channels is 0: it should be a whole number of 1 or"),
    "species not said": (Grid, {"kind": "species"}, "species is 0: it should be how many there"),
    "one species": (Grid, {"kind": "species", "species": 1}, "species is 1: it should be how"),
    "species a tuple": (Grid, {"kind": "species", "species": ("A", "B")}, "it should be how many"),
    "species of spins": (Grid, {"species": 2}, "species is 2: it should be left out, as a spin"),
    "species uncounted": (
        Grid,
        {"kind": "species", "species": 257},
        "species is 257, more than uint8 counts to",
    ),
    "real species": (
        Grid,
        {"kind": "species", "species": 2, "dtype": float},
        "it should be a NumPy type that holds a species, such as np.uint8",
    ),
    "unsigned spins": (
        Grid,
        {"dtype": np.uint8},
        "a NumPy type that holds a spin, such as np.int8",
    ),
    "dtype bool": (Grid, {"kind": "field", "dtype": bool}, "holds a field, such as np.float64"),
    "dtype a word": (Grid, {"dtype": "number"}, "dtype is 'number': it should be a NumPy type"),
    "labels by name": (Grid, {"labels": {"up": "up"}}, "it should be {value of a site: text}"),
    "components a word": (
        Particles,
        {"components": "xy"},
        "components is 'xy': it should be a tup",
    ),
    "components twice": (Particles, {"components": ("x", "x")}, "a tuple of different names"),
    "no components": (Particles, {"components": ()}, "a tuple of different names"),
    "no name": (Observable, {"name": ""}, "name is '': it should be a name"),
    "a closure variable": (Observable, {"name": "closure_0"}, "closure variables are called"),
    "bounds turned": (Observable, {"bounds": (1.0, 0.0)}, "it should be (lowest, highest)"),
    "bounds no numbers": (Observable, {"bounds": (False, True)}, "it should be (lowest, highest)"),
    "one bound": (Observable, {"bounds": (1.0,)}, "it should be (lowest, highest)"),
    "bound not a number": (Observable, {"bounds": (math.nan, 1.0)}, "it should be (lowest, high"),
    "label no text": (Observable, {"label": None}, "label is None: it should be text"),
    "no unit": (Observable, {"unit": ""}, "unit is '': it should be the name of a unit"),
    "component turned": (Component, {"low": 1.0, "high": 0.0}, "1.0 to 0.0 is no range of"),
    "component no name": (Component, {"name": 3}, "name is 3: it should be a name"),
}
RIGHT: dict[Any, dict[str, Any]] = {
    Grid: {"kind": "spin", "dimension": 2},
    Particles: {"components": ("x", "v")},
    Observable: {"name": "density"},
    Component: {"name": "density"},
}


@pytest.mark.parametrize(("declaration", "given", "message"), WRONG.values(), ids=WRONG)
def test_wrong_declaration_is_refused(declaration, given, message):
    declaration(**RIGHT[declaration])
    with pytest.raises(ValueError) as refused:
        declaration(**{**RIGHT[declaration], **given})
    assert str(refused.value).startswith(f"{declaration.__name__}: ")
    assert message in str(refused.value)


def test_wrong_declaration_of_a_system_is_said_with_its_line(tmp_path, monkeypatch):
    code = "from macrodyn.systems import Grid\n\nSPACE = Grid('spins', 2)\n"
    (tmp_path / "own_space.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownSystemError, match=r"ValueError: Grid: kind is 'spins': .*py:3\)$"):
        system_class("own_space:Own")
