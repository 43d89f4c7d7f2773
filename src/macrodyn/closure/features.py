"""Features: closure variables that are known beforehand, by their names in a configuration.

| name          | variables             | what it is                                             |
|---------------|-----------------------|--------------------------------------------------------|
| generator     | generator_<obs.>      | L phi, the generator's action: the expected rate of    |
|               |                       | change of each observable                              |
| correlation-r | correlation_r         | mean over sites and axes of s_i s_{i+r}; for species   |
|               |                       | how often the two are equal                            |
| moment-p      | moment_p_<obs.>       | mean over the tiling's patches of the p-th power of a  |
|               |                       | patch's own observable                                 |

`generator:<observable>` and `moment-p:<observable>` are those of one observable. A state of several
channels has a correlation for each, correlation_r_<channel>.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from macrodyn.lattice import Boundary, Shape, fitting_origins
from macrodyn.systems.patch_system import PatchSystem

PATTERN = r"^(generator(:.+)?|correlation-[1-9][0-9]{0,5}|moment-[234](:.+)?)$"
FeatureName = Annotated[str, Field(pattern=PATTERN)]
Kind = Literal["generator", "correlation", "moment"]


@dataclass(frozen=True)
class Feature:
    """One variable of a feature.

    Attributes:
        kind: What it is.
        number: Distance of a correlation, power of a moment; 0 for the generator's action.
        index: Of the observable, or of the channel of a correlation.
        variable: Its name.
        bounds: Its lowest and highest possible value; infinite where they are not known.
        given: As the configuration names it.
    """

    kind: Kind
    number: int
    index: int
    variable: str
    bounds: tuple[float, float]
    given: str


def features_of(names: Sequence[str], system: PatchSystem) -> tuple[Feature, ...]:
    """Say what variables some features have.

    Args:
        names: As a configuration names them, see the module's table.
        system: The system that they are of.

    Raises:
        ValueError: If one is none of this system's, or a variable is given twice.
    """
    features = tuple(feature for name in names for feature in _variables(name, system))
    counts = Counter(feature.variable for feature in features)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is given twice")
    taken = sorted(counts.keys() & set(system.observable_names))
    if taken:
        raise ValueError(f"{', '.join(taken)} is an observable's name already: rename the one")
    return features


def _variables(given: str, system: PatchSystem) -> Iterator[Feature]:
    if not re.fullmatch(PATTERN, given):
        raise ValueError(f"{given!r} is no feature: use generator, correlation-4, moment-2 ...")
    word, _, observable = given.partition(":")
    kind, _, digits = word.partition("-")
    if kind == "correlation":
        bounds = {"spin": (-1.0, 1.0), "species": (0.0, 1.0), "field": (-math.inf, math.inf)}
        for channel in range(system.channels):
            name = f"correlation_{digits}" + (f"_{channel}" if system.channels > 1 else "")
            yield Feature("correlation", int(digits), channel, name, bounds[system.kind], given)
        return
    names = system.observable_names
    if observable and observable not in names:
        raise ValueError(f"{given}: the observables are {', '.join(names)}")
    if kind == "generator" and not system.knows_rates:
        raise ValueError(
            f"{given}: {type(system).__name__} does not say its expected rates of change"
        )
    for index, name in enumerate(names):
        if observable in ("", name):
            if kind == "generator":
                yield Feature("generator", 0, index, f"generator_{name}", _OPEN, given)
            else:
                power, variable = int(digits), f"moment_{digits}_{name}"
                ends = _powers(system.bounds[index], power)
                yield Feature("moment", power, index, variable, ends, given)


_OPEN = (-math.inf, math.inf)


def _powers(bounds: tuple[float, float], power: int) -> tuple[float, float]:
    """Bounds of the mean of the powers of what lies within bounds."""
    ends = sorted(end**power for end in bounds)
    if power % 2 == 0 and bounds[0] < 0 < bounds[1]:
        return 0.0, ends[1]
    return ends[0], ends[1]


def check_features(
    names: Sequence[str],
    system: PatchSystem,
    *,
    lattices: Sequence[Shape],
    patch: Shape,
    boundary: Boundary,
) -> None:
    """Refuse features that the lattices have no room for, or that the observables fix.

    Args:
        names: As a configuration names them.
        system: The system.
        lattices: Sites along each axis of every lattice on which they are measured.
        patch: Sites along each axis of a patch.
        boundary: Surroundings of an evolved patch: periodic patches are lattices of their own.

    Raises:
        ValueError: If there is one; the message says which and why.
    """
    features = features_of(names, system)
    closed = [(lattice, system.periodic) for lattice in lattices]
    if boundary == "periodic":
        closed.append((patch, True))
    for feature in features:
        if feature.kind == "correlation":
            for lattice, periodic in closed:
                _check_reach(feature, lattice, periodic)
        if feature.kind == "moment":
            for lattice in lattices:
                if len(fitting_origins(lattice, patch)) < 2:
                    raise ValueError(
                        f"{feature.given}: the lattice {list(lattice)} holds fewer than two "
                        f"patches {list(patch)}, so that moments are powers of observables: choose "
                        "a smaller sizes.patch, or leave out what uses that lattice (the baseline "
                        "naive uses the small one)"
                    )
    _check_relations(features, system)


def _check_reach(feature: Feature, lattice: Shape, periodic: bool) -> None:
    shortest = min(lattice)
    most = shortest // 2 if periodic else shortest - 1
    if feature.number > most:
        which = "that closes on itself" if periodic else "with ends"
        raise ValueError(
            f"{feature.given}: reaches too far for a lattice {list(lattice)} {which}, where {most} "
            "is the most; small systems (baseline naive) and periodic patches are such lattices too"
        )


def _check_relations(features: Sequence[Feature], system: PatchSystem) -> None:
    """The generator's actions on observables that obey a relation obey one as well."""
    relations = system.relations()
    if relations is None:
        return
    known = {feature.index for feature in features if feature.kind == "generator"}
    for row in np.atleast_2d(relations[0]):
        bound = set(np.flatnonzero(row).tolist())
        if bound <= known:
            names = [system.observable_names[index] for index in sorted(bound)]
            raise ValueError(
                f"generator: {', '.join(names)} obey a linear relation, and so do their rates: "
                f"name them one by one, as generator:{names[0]}, and leave one out"
            )
