"""Groups of small simulations: which initial macrostate and which conditions each has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import generator
from macrodyn.systems import PatchSystem, System


@dataclass(frozen=True)
class Groups:
    """Initial macrostates and conditions of groups of replicas.

    Attributes:
        index: Global numbers of the groups, shape [group].
        components: Names of the numbers that describe a macrostate.
        macrostate: Initial macrostate of each, shape [group, component].
        condition_names: Names of the conditions: parameters of the system.
        condition_values: Their values, shape [group, condition].
    """

    index: NDArray[np.int64]
    components: tuple[str, ...]
    macrostate: NDArray[np.float64]
    condition_names: tuple[str, ...]
    condition_values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, which: slice | NDArray[np.int64]) -> Groups:
        """Return some of the groups."""
        return Groups(
            self.index[which],
            self.components,
            self.macrostate[which],
            self.condition_names,
            self.condition_values[which],
        )

    def shard(self, number: int, total: int) -> Groups:
        """Return the groups of one shard: every ``total``-th, so that all cover the range."""
        return self.take(slice(number, None, total))


def make_groups(
    number: int,
    ranges: Mapping[str, tuple[float, float]],
    conditions: Mapping[str, Sequence[float]],
    seed: int,
) -> Groups:
    """Spread initial macrostates over their ranges, for every combination of conditions.

    The range of each component is cut into ``number`` equal parts, and each part belongs to one
    group, which draws its value from it uniformly; the parts of the first component are dealt out
    in order, those of the others at random (a Latin hypercube). So the groups of a small and of a
    large study both cover the ranges.

    Args:
        number: Groups for each combination of conditions.
        ranges: Lowest and highest value of each component of the initial macrostate.
        conditions: Values of each condition.
        seed: The study's seed.
    """
    names = tuple(sorted(conditions))
    combinations = list(product(*(conditions[name] for name in names)))
    parts = np.empty((len(combinations), number, len(ranges)))
    for c in range(len(combinations)):
        for k, (low, high) in enumerate(ranges.values()):
            rng = generator(seed, "groups", c, *([k] if k else []))
            stratum = rng.permutation(number) if k else np.arange(number)
            parts[c, :, k] = low + (stratum + rng.random(number)) / number * (high - low)
    macrostate = parts.reshape(-1, len(ranges))
    values = np.repeat(
        np.array(combinations, dtype=float).reshape(len(combinations), -1), number, 0
    )
    return Groups(np.arange(len(macrostate)), tuple(ranges), macrostate, names, values)


def initial_ranges(
    system: System, given: Sequence[float] | Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of each component of the initial macrostates.

    Args:
        system: The system, which names the components.
        given: By component; or two numbers where there is one component.

    Raises:
        ValueError: If a component is missing or unknown.
    """
    return {name: (float(low), float(high)) for name, (low, high) in _named(system, given).items()}


def initial_values(
    system: System, given: Sequence[float] | Mapping[str, Sequence[float]]
) -> NDArray[np.float64]:
    """Initial macrostates of a comparison: every combination of the components' values.

    Args:
        system: The system, which names the components.
        given: Values by component; or a list of numbers where there is one component.

    Returns:
        Shape [initial, component]; the first component varies slowest.

    Raises:
        ValueError: If a component is missing or unknown.
    """
    return np.array(list(product(*_named(system, given).values())), dtype=np.float64)


def _named(
    system: System, given: Sequence[float] | Mapping[str, Sequence[float]]
) -> dict[str, Sequence[float]]:
    names = list(system.component_names)
    if not isinstance(given, Mapping):
        if len(names) == 1:
            return {names[0]: given}
        example = ", ".join(f"{name}: [...]" for name in names)
        raise ValueError(
            f"an initial macrostate is {len(names)} numbers: give each by name, as {{{example}}}"
        )
    if set(given) != set(names):
        raise ValueError(f"names {sorted(given)}, but an initial macrostate is {names}")
    return {name: given[name] for name in names}


def by_condition(
    system: PatchSystem, names: Sequence[str], values: NDArray[np.float64]
) -> Iterator[tuple[PatchSystem, NDArray[np.int64]]]:
    """Yield, for each distinct row of conditions, the system under them and the rows' numbers.

    Args:
        system: The system with its own parameters.
        names: Names of the conditions.
        values: Conditions of each state, shape [batch, condition].
    """
    if not names:
        yield system, np.arange(len(values))
        return
    rows, inverse = np.unique(values, axis=0, return_inverse=True)
    for r, row in enumerate(rows):
        changed = system.with_parameters(**dict(zip(names, map(float, row), strict=True)))
        yield changed, np.flatnonzero(inverse.reshape(-1) == r)
