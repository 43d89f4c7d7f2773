"""Groups of small simulations: which initial macrostate and which conditions each has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from macrodyn.streams import generator
from macrodyn.systems import System


@dataclass(frozen=True)
class Groups:
    """Initial macrostates and conditions of groups of replicas.

    Attributes:
        index: Global numbers of the groups, shape [group].
        macrostate: Initial macrostate of each, shape [group].
        condition_names: Names of the conditions: parameters of the system.
        condition_values: Their values, shape [group, condition].
    """

    index: NDArray[np.int64]
    macrostate: NDArray[np.float64]
    condition_names: tuple[str, ...]
    condition_values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, which: slice | NDArray[np.int64]) -> Groups:
        """Return some of the groups."""
        return Groups(
            self.index[which],
            self.macrostate[which],
            self.condition_names,
            self.condition_values[which],
        )

    def shard(self, number: int, total: int) -> Groups:
        """Return the groups of one shard: every ``total``-th, so that all cover the range."""
        return self.take(slice(number, None, total))


def make_groups(
    number: int,
    initial_range: tuple[float, float],
    conditions: dict[str, Sequence[float]],
    seed: int,
) -> Groups:
    """Spread initial macrostates over a range, for every combination of conditions.

    The range is cut into ``number`` equal parts; each group's macrostate is drawn uniformly from
    its part, so that the groups of a small and of a large study both cover the range.

    Args:
        number: Groups for each combination of conditions.
        initial_range: Lowest and highest initial macrostate.
        conditions: Values of each condition.
        seed: The study's seed.
    """
    low, high = initial_range
    names = tuple(sorted(conditions))
    combinations = list(product(*(conditions[name] for name in names)))
    parts = []
    for c in range(len(combinations)):
        jitter = generator(seed, "groups", c).random(number)
        parts.append(low + (np.arange(number) + jitter) / number * (high - low))
    macrostate = np.concatenate(parts)
    values = np.repeat(
        np.array(combinations, dtype=float).reshape(len(combinations), -1), number, 0
    )
    return Groups(np.arange(len(macrostate)), macrostate, names, values)


def by_condition(
    system: System, names: Sequence[str], values: NDArray[np.float64]
) -> Iterator[tuple[System, NDArray[np.int64]]]:
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
