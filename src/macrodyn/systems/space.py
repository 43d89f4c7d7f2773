"""What a system says of its states and of the numbers that describe them.

What is wrong with a declaration is said where it is made, so that the message names its line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

StateKind = Literal["spin", "field", "species"]
STATE_KINDS: tuple[StateKind, ...] = get_args(StateKind)

_DTYPES = {"spin": np.int8, "field": np.float64, "species": np.uint8}


@dataclass(frozen=True)
class Grid:
    """States on the sites of a lattice, or on sites that are merely numbered by one.

    A state is an array ``[channel, *lattice]``. A lattice with a basis is the cubic lattice of its
    conventional cells, with the sites of the basis as channels.

    Attributes:
        kind: What a channel holds: ``spin``, -1 and +1; ``field``, real numbers; ``species``, 0 to
            species - 1. It chooses the closure's reconstruction loss.
        dimension: Dimension of the lattice.
        channels: Numbers at each site.
        species: Number of species that every channel counts, for the kind ``species`` alone. Those
            that the data happen to hold may be fewer.
        dtype: Type of a state's entries; int8 for spins, float64 for fields and uint8 for species
            if left out.
        labels: What the values of a site are called in figures, by value, where they are few, e.g.
            ``{0: "empty", 1: "occupied"}``. Without a label, the value is written.

    Raises:
        ValueError: If they do not go together.
    """

    kind: StateKind
    dimension: int
    _: KW_ONLY
    channels: int = 1
    species: int = 0
    dtype: Any = None
    labels: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find out the type, and refuse what does not go together."""
        _require(self.kind in STATE_KINDS, self, "kind", "'spin', 'field' or 'species'")
        _require(is_whole(self.dimension, 1, 3), self, "dimension", "1, 2 or 3")
        _require(is_whole(self.channels, 1), self, "channels", "a whole number of 1 or more")
        if self.kind == "species":
            right, what = is_whole(self.species, 2), "how many there are, 2 or more"
        else:
            right, what = self.species == 0, f"left out, as a {self.kind} has none"
        _require(right, self, "species", what)
        numbers = {"spin": "if", "field": "iuf", "species": "iu"}[self.kind]
        try:
            dtype = np.dtype(self.dtype or _DTYPES[self.kind])
        except TypeError:
            dtype = np.dtype(object)
        _require(
            dtype.kind in numbers,
            self,
            "dtype",
            f"a NumPy type that holds a {self.kind}, such as np.{_DTYPES[self.kind].__name__}",
        )
        if self.kind == "species" and self.species - 1 > np.iinfo(dtype).max:
            raise ValueError(f"Grid: species is {self.species}, more than {dtype} counts to")
        named = isinstance(self.labels, Mapping) and all(map(_is_text, self.labels.values()))
        _require(
            named and all(isinstance(value, int) for value in self.labels),
            self,
            "labels",
            "{value of a site: text}",
        )
        object.__setattr__(self, "dtype", dtype)


@dataclass(frozen=True)
class Particles:
    """States of particles without a lattice: arrays ``[particle, component]`` of float64.

    Attributes:
        components: Names of the numbers that a state holds of each particle, in order, such as
            ``("x", "y", "v_x", "v_y")``.

    Raises:
        ValueError: If they are not different names.
    """

    components: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse what are no names."""
        right = isinstance(self.components, tuple) and all(map(_is_text, self.components))
        different = right and 0 < len(self.components) == len(set(self.components))
        _require(different, self, "components", "a tuple of different names, such as ('x', 'v')")


Space = Grid | Particles


@dataclass(frozen=True)
class Observable:
    """A macroscopic observable.

    Attributes:
        name: Its name.
        bounds: Lowest and highest possible value; predicted trajectories keep them.
        label: How it is written in figures, e.g. ``order parameter $m$``; what stands between
            dollar signs, in TeX, is the symbol. Without one, the name is written.
        unit: Name of its unit.

    Raises:
        ValueError: If one of them is wrong.
    """

    name: str
    bounds: tuple[float, float] = (-math.inf, math.inf)
    label: str = ""
    unit: str = "1"

    def __post_init__(self) -> None:
        """Refuse wrong names and bounds."""
        _require(_is_text(self.name), self, "name", "a name")
        if re.fullmatch(r"closure_\d+", self.name):
            raise ValueError(f"Observable: closure variables are called {self.name}: rename it")
        _require(_is_range(self.bounds), self, "bounds", "(lowest, highest), such as (0.0, 1.0)")
        _require(isinstance(self.label, str), self, "label", "text")
        _require(_is_text(self.unit), self, "unit", "the name of a unit, '1' if there is none")


@dataclass(frozen=True)
class Component:
    """One of the numbers that describe an initial macrostate.

    Attributes:
        name: Its name.
        low: Lowest value.
        high: Highest value.
        label: How it is written in figures; see `Observable`.

    Raises:
        ValueError: If one of them is wrong.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf
    label: str = ""

    def __post_init__(self) -> None:
        """Refuse wrong names and ranges."""
        _require(_is_text(self.name), self, "name", "a name")
        if not _is_range((self.low, self.high)):
            raise ValueError(f"Component: {self.low!r} to {self.high!r} is no range of {self.name}")
        _require(isinstance(self.label, str), self, "label", "text")


def is_whole(value: Any, lowest: int, highest: float = math.inf) -> bool:
    """Whether something is a whole number in a range; True and False are none."""
    return type(value) is int and lowest <= value <= highest


def _require(right: bool, declaration: Any, name: str, what: str) -> None:
    if not right:
        given = getattr(declaration, name)
        raise ValueError(f"{type(declaration).__name__}: {name} is {given!r}: it should be {what}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_range(value: Any) -> bool:
    """Whether something is a lower and a higher number."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in value)
    return numbers and value[0] < value[1]
